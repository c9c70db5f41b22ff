"""Bugs of the status service under load: many streams, many watchers."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_STORED = "status_service/recording/stored_outcomes.py"
_QUEUE = "status_service/recording/frame_queue.py"
_TURNS = "status_service/recording/turns.py"
_LISTENER = "status_service/live/database_listener.py"
_LOOKS = "status_service/live/looks.py"
_WATCH = "status_service/live/watch.py"
_WRITER = "status_service/recording/group_commit.py"
_BLOCKS = "status_service/recording/block_size.py"
_GAPS = "status_service/recording/gaps.py"
_BY_HAND = "status_service/campaigns/mark_complete.py"

_LAYOUT = "tests/unit/test_status_stored_outcomes.py"
_LOOKING = "tests/unit/test_status_looks.py"
_WATCHES = "tests/unit/test_status_live.py"
_REPLICAS = "tests/integration/test_status_replicas.py"
_FAIR = "tests/unit/test_status_turns.py"
_WRITERS = "tests/integration/test_status_writer.py"
_SIZES = "tests/integration/test_status_block_sizes.py"
_MISSING = "tests/integration/test_status_missing_ranges.py"
_REFUSALS = "tests/integration/test_status_refusals.py"

LOAD_BUGS = (
    Mutant(
        name="streams-of-other-writers-unseen",
        invariant="L5",
        bug="What reports little waits for full transactions of another writer.",
        seen="Closeout itself, with two writers on PostgreSQL",
        edits=(Edit(_TURNS, "bool(little) or self._is_beside_little()", "bool(little)"),),
        test=f"{_FAIR}::test_l5_a_writer_s_transactions_are_short_beside_what_another_one_has",
    ),
    Mutant(
        name="stretch-ends-early",
        invariant="S2",
        bug="Of frames that overlap, the end of the longer one is not looked up: what is stored"
        " there counts as new.",
        seen="own: results of several streams are looked up in stretches",
        edits=(
            Edit(
                _STORED,
                "        self.last = max(self.last, last)\n",
                "        self.last = last\n",
            ),
        ),
        test=f"{_LAYOUT}::test_s2_every_sequence_is_looked_up_once",
    ),
    Mutant(
        name="first-come-first-served",
        invariant="L5",
        bug="Frames are written in the order in which they come: a full stream stands before"
        " all others.",
        seen="Closeout itself, before streams took turns",
        edits=(
            Edit(
                _WRITER,
                "        await self._queue.put(frame.origin, entry, frame.results.size)\n",
                "        await self._queue.put(None, entry, frame.results.size)\n",
            ),
        ),
        test=f"{_WRITERS}::test_l5_a_full_stream_stands_before_no_other",
    ),
    Mutant(
        name="served-again-first",
        invariant="L5",
        bug="Of more full streams than a transaction has room for, the same ones have every turn.",
        seen="own: streams take turns",
        edits=(
            Edit(
                _TURNS,
                "                self._lanes[stream] = self._lanes.pop(stream)\n",
                "",
            ),
        ),
        test=f"{_FAIR}::test_more_full_streams_than_a_transaction_has_room_for_take_turns",
    ),
    Mutant(
        name="ended-stream-reports-little",
        invariant="L5",
        bug="A full stream that has ended is taken for one that reports little: the transactions"
        " of all others are short until it is forgotten.",
        seen="Closeout itself: 14 small transactions whenever a large campaign ended",
        edits=(
            Edit(
                _TURNS,
                "        return self.waiting + max(self.recent, self.part)\n",
                "        return self.waiting + self.recent\n",
            ),
        ),
        test=f"{_FAIR}::test_a_full_stream_that_has_ended_is_none_that_reports_little",
    ),
    Mutant(
        name="frozen-copy-keeps-its-lock",
        invariant="B1",
        bug="An instance that is paused in the middle of a COPY keeps its campaigns locked until"
        " somebody wakes it: no server ends that.",
        seen="own: PostgreSQL copies new results",
        edits=(
            Edit(
                "service_runtime/database.py",
                "                await self.read(self._engines.free_locks)\n",
                "",
            ),
        ),
        test="tests/integration/test_postgresql_frozen_copy.py"
        "::test_what_stands_still_is_ended_by_who_waits_for_its_lock",
    ),
    Mutant(
        name="short-transactions-alone",
        invariant="L5",
        bug="Streams that report little have every transaction, and a full one has none.",
        seen="own: what reports little goes first",
        edits=(Edit(_TURNS, "bool(first) and not self._short_before and", "bool(first) and"),),
        test=f"{_FAIR}::test_l5_what_reports_little_goes_before_a_full_stream",
    ),
    Mutant(
        name="full-stream-takes-all-places",
        invariant="L5",
        bug="Beside a stream that fills the queue another one has one frame in it, whatever its"
        " share is, so each of its frames waits for a transaction of its own.",
        seen="own: transactions that are short beside streams that report little",
        edits=(
            Edit(
                _QUEUE,
                "        return has < max(1, self._places // (others + 1))\n",
                "        return has < min(1, others + 1)\n",
            ),
        ),
        test=f"{_FAIR}::test_l5_places_are_shared_between_the_streams",
    ),
    Mutant(
        name="watcher-goes-back",
        invariant="S16",
        bug="A watcher is shown what the database has, also where that is an older revision.",
        seen="own: a restored database, a failover that lost commits",
        edits=(Edit(_WATCH, "            if lowest < before:\n", "            if not lowest:\n"),),
        test=f"{_WATCHES}::test_s16_a_watch_ends_at_a_lower_revision",
    ),
    Mutant(
        name="first-snapshot-is-shared",
        invariant="S16",
        bug="Who begins to watch is shown what others were shown, which may be older than what it"
        " knows.",
        seen="own: one look at a campaign serves all who watch it",
        edits=(
            Edit(
                _LOOKS,
                "        watched.new.add(watcher)\n",
                "        if watched.shown is not None:\n"
                "            watcher.offer(watched.shown)\n"
                "        watched.new.add(watcher)\n",
            ),
        ),
        test=f"{_LOOKING}::test_s16_the_first_snapshot_was_read_after_the_watch_began",
    ),
    Mutant(
        name="last-counters-are-lost",
        invariant="API",
        bug="A change that comes while counters are spaced out is forgotten, and not only late.",
        seen="own: counters of a campaign are looked at ten times a second at most",
        edits=(
            Edit(
                _LOOKS,
                "        counters = set[CampaignKey]()\n",
                "        counters, changed = set[CampaignKey](), self._changed\n"
                "        self._changed = set()\n",
            ),
            Edit(
                _LOOKS,
                "            counters, self._changed = self._changed, set()\n",
                "            counters = changed\n",
            ),
        ),
        test=f"{_LOOKING}::test_counters_are_spaced_out_and_the_last_ones_come",
    ),
    Mutant(
        name="others-miss-what-a-newcomer-saw",
        invariant="API",
        bug="What a look for a new watcher finds counts as shown to all: the others lack it until"
        " the next change.",
        seen="own: one look at a campaign serves all who watch it",
        edits=(
            Edit(
                _LOOKS,
                "        if for_all or not others:\n",
                "        if not for_all:\n"
                "            watched.shown = row\n"
                "        elif for_all or not others:\n",
            ),
        ),
        test=f"{_LOOKING}::test_s16_the_first_snapshot_was_read_after_the_watch_began",
    ),
    Mutant(
        name="notified-counters-are-lost",
        invariant="API",
        bug="A notification that comes while reads are spaced out is forgotten: other instances"
        " show the last counters a second late.",
        seen="own: notifications of a busy campaign are read ten times a second at most",
        edits=(
            Edit(
                _LISTENER,
                "        if now >= self._next_read:\n",
                "        if now < self._next_read:\n"
                "            self._changed = set()\n"
                "        else:\n",
            ),
        ),
        test=f"{_WATCHES}::test_counters_are_read_now_and_then_and_states_at_once",
    ),
    Mutant(
        name="state-waits-for-counters",
        invariant="API",
        bug="A pause through another instance is read with the next counters, and not at once.",
        seen="own: notifications of a busy campaign are read ten times a second at most",
        edits=(Edit(_LISTENER, "            if state:\n", "            if state == revision:\n"),),
        test=f"{_REPLICAS}::test_a_state_through_another_service_does_not_wait_for_counters",
    ),
    Mutant(
        name="blocks-as-large-as-allowed",
        invariant="B1",
        bug="The transactions of long work are as large on a slow database as on a quick one.",
        seen="own: blocks of 5,000 held up others for a quarter of a second on a busy machine",
        edits=(
            Edit(
                _BLOCKS,
                "min(max(fitting, _LEAST), 2 * self.rows, self._most)",
                "min(2 * self.rows, self._most)",
            ),
        ),
        test=f"{_SIZES}::test_b1_the_blocks_of_a_slow_database_are_smaller",
    ),
    Mutant(
        name="last-chunk-taken-for-full",
        invariant="API",
        bug="Messages missing among the last results that are looked at are not listed.",
        seen="own: results are skipped in chunks on SQLite",
        edits=(
            Edit(
                _GAPS,
                "    WHERE last IS NULL OR last - first <> :chunk\n",
                "    WHERE last - first <> :chunk\n",
            ),
        ),
        test=f"{_MISSING}::test_missing_ranges_are_those_of_each_message",
    ),
    Mutant(
        name="refused-by-a-counter",
        invariant="S3",
        bug="MarkComplete of a large campaign is refused with counters that are wrong.",
        seen="own: what is missing is enough to refuse, without a count",
        edits=(
            Edit(
                _BY_HAND,
                "gaps.messages_in(missing.ranges) >= pending",
                "gaps.messages_in(missing.ranges) > 0",
            ),
        ),
        test=f"{_REFUSALS}::test_s3_a_wrong_counter_of_a_large_campaign_decides_nothing",
    ),
    Mutant(
        name="failures-found-among-all",
        invariant="B1",
        bug="On SQLite, a list of the few that failed goes through all that were sent.",
        seen="Closeout itself, where the index for it was not taken",
        edits=(
            Edit(
                "status_service/reads/some_results.py",
                "            query = query.where("
                "_COLUMNS.sequence.in_(self.sequences().limit(number)))\n",
                "            query = query.where(\n"
                "                _COLUMNS.sequence > self.after,"
                " _COLUMNS.outcome == self.outcome, NOT_SENT\n"
                "            ).limit(number)\n",
            ),
        ),
        test="tests/integration/test_status_failures.py::"
        "test_b1_what_is_not_sent_is_found_by_its_index",
    ),
)
