"""Bugs of who hands over a message: twice, after a pause, without a lease, or never."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_SHARDS = "sender_service/store/shards.py"
_KEEPER = "sender_service/delivery/lease_keeper.py"
_WORKERS = "sender_service/delivery/shard_workers.py"
_TRANSACTION = "sender_service/channels/email/transaction.py"
_POOL = "sender_service/channels/email/pool.py"

_LOST_TESTS = "tests/integration/test_sender_lost_commits.py"
_KEEPER_TESTS = "tests/unit/test_sender_lease_keeper.py"
_HANDOVER_TESTS = "tests/integration/test_sender_handovers.py"
_SMTP_TESTS = "tests/integration/test_channel_smtp.py"
_OURS = "Closeout itself: no test of its time saw it"

HANDOVER_BUGS = (
    Mutant(
        name="repeated-commit-takes-again",
        invariant="S10",
        bug="After a commit whose answer was lost, what the provider has is handed over again.",
        seen=_OURS,
        edits=(Edit(_SHARDS, ", deferrals.c.sequence.not_in(retrying)", ""),),
        test=f"{_LOST_TESTS}::test_s10_a_repeated_commit_takes_nothing_that_is_out",
    ),
    Mutant(
        name="retries-in-flight-are-forgotten",
        invariant="S10",
        bug="A run does not know which of its second tries are out when a commit is repeated.",
        seen=_OURS,
        edits=(
            Edit(
                "sender_service/delivery/shard_commits.py",
                "            retrying=frozenset(self._retrying),\n",
                "            retrying=frozenset(),\n",
            ),
        ),
        test=f"{_LOST_TESTS}::test_s10_a_lost_answer_of_a_commit_sends_nothing_twice",
    ),
    Mutant(
        name="odd-answer-is-a-deferral",
        invariant="S10",
        bug="An answer to the message's data that SMTP does not know asks for another try.",
        seen=_OURS,
        edits=(
            Edit(
                _TRANSACTION,
                "    if response.code < _TRANSIENT:  # no answer to a message",
                "    if response.code < 0:  # no answer to a message",
            ),
        ),
        test=f"{_SMTP_TESTS}::test_answer_means_what_the_server_did",
    ),
    Mutant(
        name="lease-counts-from-the-answer",
        invariant="S9",
        bug="A renewed lease is believed to last from its answer, which may have taken long.",
        seen=_OURS,
        edits=(
            Edit(
                _KEEPER,
                "requested_at + self._lease_seconds",
                "time.monotonic() + self._lease_seconds",
            ),
        ),
        test=f"{_KEEPER_TESTS}::test_s9_a_renewed_lease_counts_from_when_it_was_asked_for",
    ),
    Mutant(
        name="heartbeat-does-not-see-the-loss",
        invariant="S9",
        bug="A heartbeat that finds the lease lost passes for one that failed.",
        seen=_OURS,
        edits=(
            Edit(
                _KEEPER,
                "                self.lost = True\n                raise\n",
                "                continue\n",
            ),
        ),
        test=f"{_KEEPER_TESTS}::test_s9_a_heartbeat_that_finds_the_lease_lost_says_so",
    ),
    Mutant(
        name="pause-unseen-behind-the-limit",
        invariant="S17",
        bug="Who waited for a free call of the channel hands over its message, paused or not.",
        seen=_OURS,
        edits=(
            Edit(
                _WORKERS,
                "                    if not self._queue or not self._may_dispatch():\n",
                "                    if not self._queue:\n",
            ),
        ),
        test=f"{_HANDOVER_TESTS}::test_s17_who_waited_for_a_free_call_looks_again",
    ),
    Mutant(
        name="downtime-is-an-outage",
        invariant="S18",
        bug="The time in which no sender ran counts for the deadline of its provider.",
        seen=_OURS,
        edits=(
            Edit(
                "sender_service/store/outages.py",
                "since=None if pause is None else since + pause",
                "since=since",
            ),
        ),
        test="tests/integration/test_sender_outage_times.py"
        "::test_the_time_without_a_process_counts_for_no_deadline",
    ),
    Mutant(
        name="cut-connect-keeps-its-place",
        invariant="L3",
        bug="A connect that is cut off by its time keeps its place among the connections.",
        seen=_OURS,
        edits=(
            Edit(
                _POOL,
                "        finally:\n            if connection is None:\n",
                "        except OSError:\n            if connection is None:\n",
            ),
        ),
        test=f"{_SMTP_TESTS}::test_a_cancelled_connect_leaves_the_pool_whole",
    ),
    Mutant(
        name="due-on-every-instance",
        invariant="S14",
        bug="Instances that start one due campaign at once do not lock it: one of them fails.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/campaigns/lifecycle.py",
                "        .where(campaigns.c.campaign == number, _is_due())\n"
                "        .with_for_update(skip_locked=True)\n",
                "        .where(campaigns.c.campaign == number, _is_due())\n",
            ),
        ),
        test="tests/integration/test_status_schedules.py"
        "::test_s14_instances_that_start_one_due_campaign_at_once_start_it_once",
    ),
)
