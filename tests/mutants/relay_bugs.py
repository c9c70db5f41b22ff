"""Bugs of acknowledgements, on both sides of the stream, and of what is left behind."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_ACKNOWLEDGEMENTS = "sender_service/reporting/acknowledgements.py"
_STREAM = "status_service/grpc_api/result_stream.py"
_LOOKS = "status_service/live/looks.py"

_STORED = "tests/integration/test_sender_acknowledgements.py"
_ORDER = "tests/unit/test_status_order.py"
_LIVE = "tests/unit/test_status_live.py"
_OURS = "Closeout itself: no test of its time saw it"

ACKNOWLEDGEMENT_BUGS = (
    Mutant(
        name="older-acknowledgement-wins",
        invariant="L4",
        bug="After a failed write, the older acknowledgement takes the place of the newer.",
        seen=_OURS,
        edits=(Edit(_ACKNOWLEDGEMENTS, "reported | self._reported", "self._reported | reported"),),
        test=f"{_STORED}::test_s7_what_comes_while_the_store_fails_is_not_set_back",
    ),
    Mutant(
        name="acknowledged-before-the-loss",
        invariant="S7",
        bug="What was acknowledged before a loss is written down after it, and never reported.",
        seen=_OURS,
        edits=(
            Edit(_ACKNOWLEDGEMENTS, "            del self._reported[key]\n", "            pass\n"),
        ),
        test=f"{_STORED}::test_s7_a_loss_makes_void_what_is_not_written_down",
    ),
    Mutant(
        name="acknowledged-past-a-gap",
        invariant="S8",
        bug="A frame that is stored first acknowledges those before it, which may fail.",
        seen=_OURS,
        edits=(
            Edit(
                _STREAM,
                "        while self._waiting and self._waiting[0][2].done() and not"
                " self._waiting[0][2].exception():\n"
                "            frame, campaign_id, receipt = self._waiting.popleft()\n",
                "        for entry in [one for one in self._waiting if one[2].done()]:\n"
                "            frame, campaign_id, receipt = entry\n"
                "            if receipt.exception():\n"
                "                break\n"
                "            self._waiting.remove(entry)\n",
            ),
        ),
        test=f"{_ORDER}::test_s8_a_frame_that_is_stored_first_is_acknowledged_in_its_turn",
    ),
    Mutant(
        name="idle-counts-as-silence",
        invariant="L4",
        bug="Time without anything to report counts as silence: the next frame breaks the stream.",
        seen=_OURS,
        edits=(
            Edit(
                "sender_service/reporting/frame_writer.py",
                "            if not self._queue.in_flight:\n"
                "                self._progress_time = time.monotonic()\n",
                "",
            ),
        ),
        test="tests/unit/test_sender_frame_writer.py"
        "::test_only_frames_in_flight_make_a_stream_silent",
    ),
)

LEAK_BUGS = (
    Mutant(
        name="stream-leaves-its-listeners",
        invariant="B2",
        bug="A stream that ended goes on listening to its campaigns.",
        seen=_OURS,
        edits=(
            Edit(
                _STREAM,
                "            for key in self._listening:\n"
                "                self._notifier.remove(key, self._on_change)\n",
                "",
            ),
        ),
        test=f"{_ORDER}::test_s16_a_late_receipt_does_not_bring_an_older_state_back",
    ),
    Mutant(
        name="second-cancellation-leaves-listeners",
        invariant="B2",
        bug="A stream that is cancelled while it ends goes on listening to its campaigns.",
        seen="Closeout itself, found by a look for leaks after every test",
        edits=(
            Edit(
                _STREAM,
                "            # Before anything is awaited: the call may be cancelled a second time."
                "\n",
                "            await asyncio.gather(reader, stop, return_exceptions=True)\n",
            ),
        ),
        test=f"{_ORDER}::test_b2_a_stream_that_is_cancelled_twice_listens_to_nothing",
    ),
    Mutant(
        name="watch-leaves-its-listener",
        invariant="B2",
        bug="A campaign that nobody watches any more is listened to, and read, for ever.",
        seen=_OURS,
        edits=(
            Edit(
                _LOOKS,
                "                self._notifier.remove(key, self._on_change)\n",
                "",
            ),
        ),
        test=f"{_LIVE}::test_b2_a_watch_that_is_left_leaves_no_task_and_no_listener",
    ),
    Mutant(
        name="given-up-frame-is-pending",
        invariant="B2",
        bug="A frame that is given up before it is queued counts as one that is written, for ever.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/recording/writer_pool.py",
                "        except asyncio.CancelledError:\n"
                "            self._done(frame.key, campaign)\n",
                "        except asyncio.CancelledError:\n",
            ),
        ),
        test="tests/unit/test_status_writer_pool.py"
        "::test_b2_a_frame_that_is_given_up_before_it_is_queued_is_forgotten",
    ),
    Mutant(
        name="revisions-are-remembered",
        invariant="B3",
        bug="The last revision of a campaign is kept when nobody listens to it any more.",
        seen=_OURS,
        edits=(
            Edit(
                "status_service/recording/notifier.py",
                "            self._revisions.pop(key, None)\n",
                "",
            ),
        ),
        test=f"{_ORDER}::test_b3_nothing_is_remembered_of_campaigns_that_nobody_listens_to",
    ),
    Mutant(
        name="failed-write-goes-on",
        invariant="API",
        bug="A write that failed counts as one that runs: ten seconds later nothing is served.",
        seen=_OURS,
        edits=(
            Edit(
                "service_runtime/database.py",
                "            try:\n"
                "                return _transaction(self._engines.writer, work)\n"
                "            finally:\n"
                "                del self._write_begins[thread]\n",
                "            result = _transaction(self._engines.writer, work)\n"
                "            del self._write_begins[thread]\n"
                "            return result\n",
            ),
        ),
        test="tests/unit/test_runtime_database.py"
        "::test_a_write_counts_as_running_to_its_end_whatever_that_is",
    ),
)

RELAY_BUGS = ACKNOWLEDGEMENT_BUGS + LEAK_BUGS
