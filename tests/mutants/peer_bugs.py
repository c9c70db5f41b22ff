"""Bugs of what bounds peers and stops: who waits for whom, and for how long."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_PROCESS = "service_runtime/process.py"
_STOPS = "tests/acceptance/test_hanging_stops.py"
_GRACE = "tests/unit/test_runtime_grace.py"

STOP_BUGS = (
    Mutant(
        name="stop-waits-for-the-database",
        invariant="L7",
        bug="A stop has no end of its own: it waits for threads of the database.",
        seen="Closeout itself, while a completion by force was written",
        edits=(Edit(_PROCESS, '        os.write(self._waking, b".")\n', ""),),
        test=f"{_STOPS}::test_l7_a_stop_of_the_sender_ends_while_a_write_hangs",
    ),
    Mutant(
        name="signals-heard-by-the-loop-alone",
        invariant="L7",
        bug="A signal waits for an event loop that stands still.",
        seen="Closeout itself, while its stop waited for the database on the loop",
        edits=(
            Edit(
                _PROCESS,
                "signal.signal(number, stop.received)",
                "asyncio.get_running_loop().add_signal_handler(number, stop.received)",
            ),
        ),
        test=f"{_STOPS}::test_l7_a_stop_ends_while_a_write_hangs",
    ),
    Mutant(
        name="database-closed-without-limit",
        invariant="L7",
        bug="A stop waits for the transaction that runs, however long that is.",
        seen="Closeout itself, before the database was closed beside the loop",
        edits=(
            Edit(
                "service_runtime/database.py",
                "asyncio.wait([asyncio.wrap_future(closing)], timeout=seconds)",
                "asyncio.wait([asyncio.wrap_future(closing)])",
            ),
        ),
        test=f"{_GRACE}::test_l7_a_database_that_hangs_is_left_by_a_stop",
    ),
    Mutant(
        name="flush-without-end",
        invariant="L7",
        bug="What the writer has is waited for after the time for it is over.",
        seen="Closeout itself",
        edits=(
            Edit(
                "status_service/recording/group_commit.py",
                "if not await self._written(_LAST_WRITE_SECONDS):",
                "if not await self._queue.join():",
            ),
        ),
        test=f"{_GRACE}::test_l7_a_writer_whose_database_hangs_is_left_by_a_stop",
    ),
)

EVIDENCE_BUGS = (
    Mutant(
        name="scheduled-and-full-waits",
        invariant="L1",
        bug="A scheduled campaign takes its last result and stays open until its time.",
        seen="Closeout itself",
        edits=(
            Edit(
                "status_service/domain.py",
                "        (State.SCHEDULED, State.COMPLETED),\n",
                "",
            ),
        ),
        test=(
            "tests/integration/test_status_schedules.py"
            "::test_l1_a_scheduled_campaign_that_is_full_is_completed"
        ),
    ),
)

PEER_BUGS = STOP_BUGS + EVIDENCE_BUGS
