"""Bugs of what bounds peers and stops: who waits for whom, and for how long."""

from __future__ import annotations

from mutants.mutant import Edit, Mutant

_PROCESS = "service_runtime/process.py"
_STOPS = "tests/acceptance/test_hanging_stops.py"
_PLACES = "service_runtime/caller_places.py"
_LIMITS = "tests/unit/test_runtime_call_limits.py"
_GRACE = "tests/unit/test_runtime_grace.py"
#: Python alone runs a handler, in the main thread.
_NO_PIPE = Edit(
    _PROCESS, "        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)\n", ""
)

STOP_BUGS = (
    Mutant(
        name="stop-waits-for-the-database",
        invariant="L7",
        bug="A stop has no end of its own: it waits for threads of the database.",
        seen="Closeout itself, while a completion by force was written",
        edits=(Edit(_PROCESS, "time.monotonic() + self._seconds", "time.monotonic() + 3_600.0"),),
        test=f"{_STOPS}::test_l7_a_stop_of_the_sender_ends_while_a_write_hangs",
    ),
    Mutant(
        name="signals-heard-by-the-loop-alone",
        invariant="L7",
        bug="A signal waits for an event loop that stands still.",
        seen="Closeout itself, while its stop waited for the database on the loop",
        edits=(
            _NO_PIPE,
            Edit(
                _PROCESS,
                "signal.signal(number, stop.received)",
                "asyncio.get_running_loop().add_signal_handler(number, stop.received)",
            ),
        ),
        test=f"{_STOPS}::test_l7_a_stop_ends_while_a_write_hangs",
    ),
    Mutant(
        name="signals-heard-by-the-main-thread-alone",
        invariant="L7",
        bug="A signal that comes just before the event loop hangs is never acted upon.",
        seen="Closeout itself, under load",
        edits=(_NO_PIPE,),
        test=f"{_STOPS}::test_l7_a_signal_is_heard_without_the_main_thread",
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

LIMIT_BUGS = (
    Mutant(
        name="one-connection-takes-all",
        invariant="B2",
        bug="One connection can have all the streams there are.",
        seen="Closeout itself",
        edits=(Edit(_PLACES, "if mine >= self.of_organisation // 2:", "if mine >= self.most:"),),
        test=f"{_LIMITS}::test_b2_a_connection_gets_a_quarter_and_an_organisation_a_half",
    ),
    Mutant(
        name="no-place-for-the-next-one",
        invariant="B2",
        bug="Where all places are taken, the next caller is refused, however few it has.",
        seen="Closeout itself, in a draft of the limits",
        edits=(Edit(_PLACES, "if count >= mine + least:", "if count >= mine + self.most:"),),
        test=f"{_LIMITS}::test_b2_however_many_take_all_they_can_the_next_one_finds_a_place",
    ),
    Mutant(
        name="an-answer-is-cut-off",
        invariant="B2",
        bug="A call that is being answered loses its place to another caller.",
        seen="Closeout itself, in a draft of the limits",
        edits=(
            Edit("service_runtime/call_limits.py", "place.yields = False", "place.yields = True"),
        ),
        test=f"{_LIMITS}::test_b2_whoever_has_fewer_takes_a_stream_from_whoever_has_most",
    ),
    Mutant(
        name="unread-answers-grow",
        invariant="B2",
        bug="A result stream is read on while its client reads no answer.",
        seen="Closeout itself, in a review",
        edits=(
            Edit(
                "status_service/grpc_api/result_stream.py",
                "while self._received - self._answered >= _MOST_FRAMES:",
                "while self._received - self._acked >= _MOST_FRAMES:",
            ),
            Edit(
                "status_service/grpc_api/result_stream.py",
                "            self._acked = frame\n",
                "            self._acked = frame\n            self._room.set()\n",
            ),
        ),
        test=(
            "tests/unit/test_status_unread_stream.py"
            "::test_b2_a_stream_whose_answers_nobody_reads_is_not_read"
        ),
    ),
    Mutant(
        name="request-that-never-arrives",
        invariant="B2",
        bug="A call whose request does not arrive is kept for ever.",
        seen="slow-loris, CVE-2007-6750",
        edits=(
            Edit(
                "service_runtime/grpc_requests.py",
                "asyncio.wait([reading], timeout=REQUEST_SECONDS)",
                "asyncio.wait([reading])",
            ),
        ),
        test=(
            "tests/integration/test_runtime_call_limits.py"
            "::test_b2_a_request_that_does_not_arrive_is_given_up"
        ),
    ),
    Mutant(
        name="handshakes-without-end",
        invariant="B2",
        bug="Over HTTP, a connection that says nothing has a minute for its handshake.",
        seen="slow-loris, CVE-2007-6750",
        edits=(
            Edit(
                "service_runtime/http_server.py",
                "ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,",
                "",
            ),
        ),
        test=(
            "tests/integration/test_runtime_call_limits.py"
            "::test_b2_a_handshake_of_tls_that_does_not_go_on_is_ended"
        ),
    ),
    Mutant(
        name="large-bodies-without-number",
        invariant="B2",
        bug="Any number of large bodies is held at once over HTTP.",
        seen="Closeout itself, with 1,000 connections of 4 MiB",
        edits=(
            Edit("status_service/http_api/calls.py", "            hold()\n", "            pass\n"),
        ),
        test=(
            "tests/integration/test_runtime_call_limits.py"
            "::test_b2_large_bodies_of_http_are_bounded"
        ),
    ),
    Mutant(
        name="refused-without-a-reason-is-final",
        invariant="API",
        bug="After a restart all who watched come back at once, and gRPC refuses most of them.",
        seen="Closeout itself, in its benchmark of 500 watchers",
        edits=(
            Edit(
                "clients/python/closeout/connection.py",
                '["UNAVAILABLE", "CANCELLED"]',
                '["UNAVAILABLE"]',
            ),
        ),
        test="tests/unit/test_client_calls.py::test_a_call_that_grpc_refused_is_made_again",
    ),
    Mutant(
        name="windows-grow-with-speed",
        invariant="B2",
        bug="A fast client may send ahead many MiB in each of its calls.",
        seen="Closeout itself: gRPC raises windows by itself",
        edits=(
            Edit(
                "service_runtime/grpc_server.py",
                '("grpc.http2.bdp_probe", 0)',
                '("grpc.http2.bdp_probe", 1)',
            ),
        ),
        test="tests/integration/test_runtime_call_limits.py"
        "::test_b2_a_fast_client_may_not_send_ahead_without_bound",
    ),
    Mutant(
        name="resets-without-end",
        invariant="B2",
        bug="A connection may reset any number of calls, which gRPC hands over nevertheless.",
        seen="rapid reset, CVE-2023-44487",
        edits=(
            Edit(
                "service_runtime/call_limits.py",
                "                    self._resets.note(address, self._is_used)\n",
                "                    pass\n",
            ),
        ),
        test=(
            "tests/integration/test_runtime_early_resets.py"
            "::test_b2_a_client_that_resets_calls_is_not_heard_any_more"
        ),
    ),
    Mutant(
        name="time-beyond-its-years",
        invariant="B2",
        bug="A time of a request that is far beyond the year 9999 is an internal error.",
        seen="python-protobuf, whose ToDatetime raises OverflowError as well as ValueError",
        edits=(
            Edit(
                "service_runtime/validation.py",
                "            return value.ToDatetime(tzinfo=UTC)\n"
                "        except (ValueError, OverflowError):",
                "            return value.ToDatetime(tzinfo=UTC)\n        except OverflowError:",
            ),
        ),
        test=(
            "tests/integration/test_rpc_fuzz.py"
            "::test_whatever_is_sent_to_the_status_service_it_answers_with_a_reason"
        ),
    ),
)

PEER_BUGS = STOP_BUGS + EVIDENCE_BUGS + LIMIT_BUGS
