"""Bugs of the status service: results counted wrong or lost."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_MERGING = "status_service/recording/merge.py"
_WRITER = "status_service/recording/group_commit.py"
_RECORDER = "status_service/recording/recorder.py"
_SQLITE = "service_runtime/sqlite.py"

_STREAMS = "tests/integration/test_status_streams.py"
_PROPERTIES = "tests/integration/test_status_properties.py"
_ORDER = "tests/unit/test_status_order.py"
_PROCESS = "tests/acceptance/test_status_process.py"
_STORE = "tests/unit/test_runtime_database.py"

RESULT_BUGS = (
    Mutant(
        name="raised-stays-in-its-group",
        invariant="S1",
        bug="A result that turns out better is still counted among those of its old code.",
        seen="own: groups of results by code are kept beside the counters",
        edits=(
            Edit(
                _MERGING,
                "replaced = [sequence for sequence in changed if sequence in stored_before]",
                "replaced: list[int] = []",
            ),
        ),
        test="tests/integration/test_status_failures.py::test_s2_a_better_result_leaves_its_group",
    ),
    Mutant(
        name="duplicate-counts-twice",
        invariant="S1",
        bug="The counter moves for each result that comes, the set of results only once.",
        seen="sidekiq/sidekiq #6852, #4361, laravel/framework #38139",
        edits=(
            Edit(
                _MERGING,
                "                receipt.duplicate += 1\n",
                "                receipt.duplicate += 1\n                deltas[outcome] += 1\n",
            ),
        ),
        test=f"{_PROPERTIES}::test_s2_any_split_order_and_repetition_ends_in_the_same_rows",
    ),
    Mutant(
        name="last-writer-wins",
        invariant="S2",
        bug="A later result replaces a better one: what was sent becomes failed.",
        seen="useSend `email-queue-service.ts`",
        edits=(
            Edit(_MERGING, "elif outcome > before:", "elif outcome != before:"),
            Edit(
                "status_service/recording/result_rows.py",
                "excluded.outcome > results.outcome",
                "excluded.outcome <> results.outcome",
            ),
        ),
        test=f"{_PROPERTIES}::test_s2_every_merge_of_up_to_three_results",
    ),
    Mutant(
        name="texts-are-copied-unescaped",
        invariant="S2",
        bug="A backslash in what a provider said is one of COPY: the text is stored changed, or"
        " the transaction fails for all.",
        seen="own: PostgreSQL copies new results",
        edits=(
            Edit(
                "status_service/recording/result_columns.py",
                '_ESCAPES = (("\\\\", "\\\\\\\\"), ',
                "_ESCAPES = (",
            ),
        ),
        test="tests/integration/test_status_result_texts.py::test_s2_every_text_is_stored_as_it_is",
    ),
    Mutant(
        name="acknowledged-before-commit",
        invariant="S7",
        bug="A frame is acknowledged when it is queued, before it is stored.",
        seen="sidekiq/sidekiq #5143",
        edits=(
            Edit(
                _WRITER,
                "        await self._queue.put(frame.origin, entry, frame.results.size)\n",
                "        await self._queue.put(frame.origin, entry, frame.results.size)\n"
                "        receipt.set_result(ledger.FrameReceipt(new=frame.results.size))\n",
            ),
        ),
        test=f"{_PROCESS}::test_s7_s15_a_full_disk_loses_nothing_and_is_reported",
    ),
    Mutant(
        name="swallowed-update-error",
        invariant="S15",
        bug="A write that failed is logged, but its frames are acknowledged.",
        seen="listmonk `pipe.go`, Billionmail/BillionMail #368",
        edits=(
            Edit(
                _RECORDER,
                "                await self._wait(backoff)\n",
                "                return ledger.Recorded([ledger.FrameReceipt() for _ in frames])\n",
            ),
        ),
        test=f"{_PROCESS}::test_s7_s15_a_full_disk_loses_nothing_and_is_reported",
    ),
    Mutant(
        name="synchronous-normal",
        invariant="S7",
        bug="SQLite does not wait for the disk: a power cut takes back what was acknowledged.",
        seen="recipes for a fast SQLite; 500 of 500 commits were lost when it was tried",
        edits=(Edit(_SQLITE, '"synchronous=FULL"', '"synchronous=NORMAL"'),),
        test=f"{_STORE}::test_s7_commits_are_synchronous",
    ),
    Mutant(
        name="deferred-begin",
        invariant="S4",
        bug="A transaction that reads before it writes does not hold the lock from the start.",
        seen="SQLAlchemy's default for SQLite, celery/django-celery-results PR #144",
        edits=(Edit(_SQLITE, 'begin="BEGIN IMMEDIATE"', 'begin="BEGIN DEFERRED"'),),
        test=f"{_STORE}::test_s4_a_write_holds_the_lock_from_its_beginning",
    ),
    Mutant(
        name="pause-waits-for-a-frame",
        invariant="API",
        bug="A pause reaches a stream only when its next frame is answered.",
        seen="Notifuse/notifuse #303",
        edits=(
            Edit(
                "status_service/grpc_api/result_stream.py",
                "            self._notifier.add(key, self._on_change)\n",
                "",
            ),
        ),
        test=f"{_STREAMS}::test_a_frame_without_results_subscribes_the_stream",
    ),
    Mutant(
        name="last-state-heard-wins",
        invariant="S16",
        bug="A stream believes whatever state came last: a paused campaign is sent on.",
        seen="Closeout itself, before states had a revision beside them",
        edits=(
            Edit(
                "status_service/grpc_api/result_stream.py",
                "        if before is None or known.revision > before.revision:\n",
                "        if before is None or known != before:\n",
            ),
        ),
        test=f"{_ORDER}::test_s16_a_late_receipt_does_not_bring_an_older_state_back",
    ),
)
