"""Bugs of the status service under load: many streams, many watchers."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_STORED = "status_service/recording/stored_outcomes.py"
_TURNS = "status_service/recording/turns.py"
_WRITER = "status_service/recording/group_commit.py"

_LAYOUT = "tests/unit/test_status_stored_outcomes.py"
_FAIR = "tests/unit/test_status_turns.py"
_WRITERS = "tests/integration/test_status_writer.py"

LOAD_BUGS = (
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
        name="short-transactions-alone",
        invariant="L5",
        bug="Streams that report little have every transaction, and a full one has none.",
        seen="own: what reports little goes first",
        edits=(Edit(_TURNS, "bool(first) and not self._short_before and", "bool(first) and"),),
        test=f"{_FAIR}::test_l5_what_reports_little_goes_before_a_full_stream",
    ),
)
