"""ReportResults: acknowledgements after commit, rejections, pushes, and how streams end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from closeout.aio import StatusClient
from closeout.errors import InternalError, InvalidArgumentError, UnavailableError, from_rpc_error
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.status_support import (
    FAILED,
    PATIENCE_SECONDS,
    SENT,
    UNKNOWN,
    Status,
    eventually,
    reporting,
    results,
    status_settings,
)
from status_service.server import running

SENDING, PAUSED, COMPLETED, CANCELLED = range(3, 7)
ERRORS = {"error", "critical"}


async def test_s7_a_frame_is_stored_when_it_is_acknowledged(status: Status) -> None:
    """At each acknowledgement the results up to it are in the database for others to see."""
    await status.start("a", 300)
    async with reporting(status.client) as stream:
        for frame in range(1, 31):
            await stream.send("a", *results(range(frame * 10 - 9, frame * 10 + 1)))
            await stream.acked(frame)
            (row,) = status.execute("SELECT count(*) FROM results")
            assert row[0] >= stream.acked_through * 10
    assert stream.counts == (300, 0, 0)
    assert (await status.client.get_campaign(campaign_id="a")).state == COMPLETED


async def test_s8_acknowledgements_are_cumulative_and_never_go_down(status: Status) -> None:
    """Frames sent without waiting are acknowledged in order, each once, all at half-close."""
    await status.start("a", 200)
    async with reporting(status.client) as stream:
        for frame in range(1, 201):
            await stream.send("a", *results([frame]))
        await stream.call.done_writing()
        assert await stream.status() is None
        acknowledged = [response.acked_through for response in stream.responses]
        assert acknowledged == sorted(acknowledged)
        assert acknowledged[-1] == 200
        assert stream.counts == (200, 0, 0)
        assert stream.states == {"a": COMPLETED}


async def test_s2_a_repeated_frame_number_is_acknowledged_again(status: Status) -> None:
    """A frame number that was acknowledged is acknowledged again, and changes nothing."""
    await status.start("a", 3)
    async with reporting(status.client) as stream:
        await stream.send("a", *results([1]))
        await stream.acked(1)
        answers = len(stream.responses)
        await stream.send("a", *results([1]), frame=1)
        await stream.until(lambda: len(stream.responses) > answers)
        assert stream.responses[-1].acked_through == 1
        assert stream.counts == (1, 0, 0)
        await stream.send("a", *results([2]))
        await stream.acked(2)


async def test_s2_results_sent_again_on_another_stream_are_duplicates(status: Status) -> None:
    """What a sender repeats after a break is counted as duplicate, a better outcome as raised."""
    await status.start("a", 4)
    await status.report("a", *results([1, 2], UNKNOWN), *results([3]))
    async with reporting(status.client) as stream:
        await stream.send("a", *results([1], UNKNOWN), *results([2], FAILED), *results([3, 4]))
        await stream.acked(1)
        assert stream.counts == (1, 1, 2)


async def test_s2_one_frame_may_name_a_message_twice(status: Status) -> None:
    """Within one frame too the higher outcome stays, whichever comes first."""
    await status.start("a", 2)
    first, second = results([1], SENT, code="yes"), results([1], FAILED, code="no")
    await status.report("a", *first, *second)
    third = results([2], FAILED, code="no"), results([2], SENT, code="yes")
    await status.report("a", *third[0], *third[1])
    rows = [row async for row in status.client.list_results(campaign_id="a")]
    assert [(row.outcome, row.code) for row in rows] == [(SENT, "yes"), (SENT, "yes")]


async def test_a_gap_in_the_frame_numbers_ends_the_stream_and_names_the_one_expected(
    status: Status,
) -> None:
    """A gap is FRAME_OUT_OF_ORDER with the number expected; frames before it are acknowledged."""
    await status.start("a", 3)
    for bad in (3, 0, -1):
        async with reporting(status.client) as stream:
            await stream.send("a", *results([1]))
            await stream.call.write(pb.ReportResultsRequest(frame=bad, campaign_id="a"))
            ended = await stream.status()
            assert ended is not None
            error = from_rpc_error(ended)
            assert isinstance(error, InvalidArgumentError)
            assert error.reason == "FRAME_OUT_OF_ORDER"
            assert error.metadata == {"frame": str(bad), "expected": "2"}
            assert stream.acked_through == 1


_BAD_FRAMES: list[tuple[str, list[pb.Result], str]] = [
    ("nowhere", results([1]), "CAMPAIGN_NOT_FOUND"),
    ("nowhere", [], "CAMPAIGN_NOT_FOUND"),
    ("draft", results([1]), "CAMPAIGN_NOT_SEALED"),
    ("a", results([0]), "SEQUENCE_OUT_OF_RANGE"),
    ("a", results([1, 11]), "SEQUENCE_OUT_OF_RANGE"),
    ("a", results([-5, 1]), "SEQUENCE_OUT_OF_RANGE"),
    ("a", results([2**63 - 1]), "SEQUENCE_OUT_OF_RANGE"),
    ("a", results([1], 0), "INVALID_REQUEST"),
    ("a", results([1], 5), "INVALID_REQUEST"),
    ("a", results([1], attempt=-1), "INVALID_REQUEST"),
    ("a", results([1], code="x" * 65), "INVALID_REQUEST"),
    ("a", results([1], detail="x" * 501), "INVALID_REQUEST"),
    ("a", results([1], detail="a\x00b"), "INVALID_REQUEST"),
    ("a", results([1], provider_message_id="x" * 256), "INVALID_REQUEST"),
    ("a", results([1], finish_time=Timestamp(seconds=10**12)), "INVALID_REQUEST"),
    ("a", results([1], finish_time=Timestamp(seconds=2**62)), "INVALID_REQUEST"),
    ("a", results([1] * 1_001), "INVALID_REQUEST"),
    ("not an id", results([1]), "INVALID_REQUEST"),
    ("", [], "INVALID_REQUEST"),
]


async def test_a_frame_that_can_not_be_applied_leaves_the_others_alone(status: Status) -> None:
    """Each bad frame is rejected with its reason, stores nothing, and the stream goes on."""
    await status.client.create_campaign(campaign_id="draft")
    await status.start("a", 10)
    async with reporting(status.client) as stream:
        expected = []
        for campaign_id, rows, reason in _BAD_FRAMES:
            frame = await stream.send(campaign_id, *rows)
            expected.append((frame, campaign_id, reason))
        good = await stream.send("a", *results([7]))
        await stream.acked(good)
        assert stream.rejections == expected
        assert stream.counts == (1, 0, 0)
        assert all(
            refused.rejection.message
            and refused.rejection.retryable is (refused.rejection.reason == "CAMPAIGN_NOT_SEALED")
            for response in stream.responses
            for refused in response.rejections
        )
    rows = [row.sequence async for row in status.client.list_results(campaign_id="a")]
    assert rows == [7]


async def test_a_long_reporter_is_rejected_with_its_frame(status: Status) -> None:
    """A reporter of more than 128 characters is INVALID_REQUEST for its frame alone."""
    await status.start("a", 1)
    async with reporting(status.client) as stream:
        await stream.send("a", *results([1]), reporter="x" * 129)
        await stream.acked(1)
        assert stream.rejections == [(1, "a", "INVALID_REQUEST")]


async def test_a_frame_without_results_subscribes_the_stream(status: Status) -> None:
    """An empty frame answers the campaign's state, and later changes reach the idle stream."""
    await status.start("a", 1)
    await status.client.create_campaign(campaign_id="draft")
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.send("draft")
        await stream.acked(2)
        assert stream.states == {"a": SENDING, "draft": pb.Campaign.DRAFT}
        await status.client.pause_campaign(campaign_id="a")
        await stream.announced("a", PAUSED)
        await status.client.start_campaign(campaign_id="draft", total=1)
        await stream.announced("draft", SENDING)
        await status.client.cancel_campaign(campaign_id="a")
        await stream.announced("a", CANCELLED)
        await status.report("draft", *results([1]))  # by another stream
        await stream.announced("draft", COMPLETED)
        assert stream.acked_through == 2


async def test_a_rejected_frame_does_not_unsubscribe_the_stream(status: Status) -> None:
    """After a malformed frame of a campaign, its changes still reach the stream."""
    await status.start("a", 1)
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.send("a", *results([1], 0))
        await stream.send("a", *results([2]))
        await stream.acked(3)
        assert [reason for _, _, reason in stream.rejections] == [
            "INVALID_REQUEST",
            "SEQUENCE_OUT_OF_RANGE",
        ]
        await status.client.pause_campaign(campaign_id="a")
        await stream.announced("a", PAUSED)


async def test_a_subscription_that_came_before_the_campaign_does_not_stand_in_the_way(
    status: Status,
) -> None:
    """A campaign that was not found once can be subscribed to on the same stream later."""
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.acked(1)
        await status.start("a", 1)
        await stream.send("a")
        await stream.announced("a", SENDING)
        await status.client.pause_campaign(campaign_id="a")
        await stream.announced("a", PAUSED)


async def test_each_state_is_announced_once(status: Status) -> None:
    """The state of a campaign comes when it is new to the stream, not with every frame."""
    await status.start("a", 50)
    async with reporting(status.client) as stream:
        for number in range(1, 50):
            await stream.send("a", *results([number]))
        await stream.acked(49)
    received = [state for response in stream.responses for state in response.campaign_states]
    assert [state.state for state in received] == [SENDING]


async def test_a_subscription_receives_how_much_has_a_result(status: Status) -> None:
    """So that a sender notices when results it had acknowledged are lost."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2, 2, 4]))
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.announced("a", SENDING)
        await stream.send("a", *results([2, 3, 5]))
        await stream.announced("a", COMPLETED)
    received = [state for response in stream.responses for state in response.campaign_states]
    assert [state.processed for state in received] == [3, 5]


async def test_a_client_that_reads_at_the_end_gets_all_its_answers(status: Status) -> None:
    """A client may send thousands of frames before it reads: nothing waits for it."""
    await status.start("a", 5_000)
    call = status.client.report_results()
    for frame in range(1, 5_001):
        await call.write(
            pb.ReportResultsRequest(frame=frame, campaign_id="a", results=results([frame]))
        )
    await call.done_writing()
    answers = [answer async for answer in _read(call)]
    assert answers[-1].acked_through == 5_000
    assert sum(answer.new_results for answer in answers) == 5_000
    assert await call.code() == grpc.StatusCode.OK


async def _read(call: Any) -> AsyncIterator[pb.ReportResultsResponse]:
    while (answer := await call.read()) is not grpc.aio.EOF:
        yield answer


async def test_s2_two_overlapping_streams_count_each_message_once(status: Status) -> None:
    """Two senders report the same messages at once: rows and counters are those of one."""
    await status.start("a", 1_000)

    async def sender(order: int) -> tuple[int, int, int]:
        async with reporting(status.client) as stream:
            for start in range(1, 1_001, 50)[::order]:
                await stream.send("a", *results(range(start, start + 50)))
            await stream.acked(20)
            return stream.counts

    first, second = await asyncio.gather(sender(1), sender(-1))
    assert first[0] + second[0] == 1_000
    assert first[2] + second[2] == 1_000
    assert (await status.client.get_campaign(campaign_id="a")).state == COMPLETED


async def test_s7_frames_of_a_client_that_cancels_are_stored(status: Status) -> None:
    """Frames that were taken are stored though their client is gone; its end means nothing."""
    await status.start("a", 3_000)
    with capture_logs() as logs:
        async with reporting(status.client) as stream:
            for start in range(1, 2_001, 100):
                await stream.send("a", *results(range(start, start + 100)))
            await stream.acked(1)
            at_least = stream.acked_through
        await status.report("a", *results(range(2_001, 3_001, 2)))
    campaign = await status.client.get_campaign(campaign_id="a")
    assert campaign.sent >= at_least * 100 + 500
    assert campaign.state == SENDING
    assert not [line for line in logs if line["log_level"] in ERRORS]


_CLIENT = textwrap.dedent(
    """
    import asyncio, sys
    from closeout.aio import StatusClient
    from closeout.status.v1 import status_pb2 as pb

    async def main():
        async with StatusClient(sys.argv[1]) as client:
            call = client.report_results()
            async def read():
                async for response in call:
                    print(response.acked_through, flush=True)
            reader = asyncio.create_task(read())
            frame = 0
            while True:
                frame += 1
                rows = [pb.Result(sequence=n, outcome=pb.Result.SENT) for n in range(1, 400)]
                await call.write(
                    pb.ReportResultsRequest(frame=frame, campaign_id="a", results=rows)
                )

    asyncio.run(main())
    """
)


async def test_s15_a_killed_client_is_no_error_of_the_service(
    status: Status, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGKILL of clients that send and read at full speed logs nothing above warning."""
    await status.start("a", 400)
    with capture_logs() as logs:
        for _ in range(4):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _CLIENT, status.address, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            async with asyncio.timeout(PATIENCE_SECONDS):
                for _ in range(3):
                    await process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            # Its transport counts on all being read.
            await process.communicate()
        # Whatever the ends of the streams caused has been logged once this is answered.
        await status.report("a", *results([400]))
    assert not [line for line in logs if line["log_level"] in ERRORS]
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}]
    assert (await status.client.get_campaign(campaign_id="a")).state == COMPLETED


async def test_open_streams_end_when_the_service_stops(database: Database) -> None:
    """A stop ends all streams with UNAVAILABLE, SHUTTING_DOWN; what was acknowledged is stored."""
    async with AsyncExitStack() as clients:
        # Nobody waits for its grace: that would take longer than the time for all of this.
        await clients.enter_async_context(asyncio.timeout(3 * PATIENCE_SECONDS))
        async with running(status_settings(database, grace_seconds=3_600)) as service:
            client = await clients.enter_async_context(StatusClient(service.address))
            await client.create_campaign(campaign_id="a")
            await client.start_campaign(campaign_id="a", total=1_000)
            busy = await clients.enter_async_context(reporting(client))
            idle = await clients.enter_async_context(reporting(client))
            await idle.send("a")
            await idle.acked(1)
            for number in range(1, 500):
                await busy.send("a", *results([number]))
            watching = client.watch_campaign(campaign_id="a")
            assert (await anext(watching)).state == SENDING
        for ended in (await busy.status(), await idle.status()):
            assert ended is not None
            error = from_rpc_error(ended)
            assert isinstance(error, UnavailableError)
            assert error.reason == "SHUTTING_DOWN"
        with pytest.raises(UnavailableError) as caught:
            async for _ in watching:
                pass
        assert caught.value.reason == "SHUTTING_DOWN"
        with database.by_hand() as connection:
            (count,) = connection.execute("SELECT count(*) FROM results").fetchone()
        assert count >= busy.acked_through


async def test_s15_a_defect_in_one_frame_does_not_take_the_others_with_it(status: Status) -> None:
    """A frame the database refuses ends its stream with an error id; other streams go on."""
    await status.start("a", 100)
    await status.start("b", 100)
    status.database.refuse_results("poison")
    with capture_logs() as logs:
        async with reporting(status.client) as bad, reporting(status.client) as good:
            for number in range(1, 51):
                await good.send("b", *results([number]))
                if number == 25:
                    await bad.send("a", *results([2]))
                    await bad.send("a", *results([1], code="poison"))
            ended = await bad.status()
            assert bad.acked_through == 1
            await good.acked(50)
            assert not good.rejections
    assert ended is not None
    error = from_rpc_error(ended)
    assert isinstance(error, InternalError)
    assert error.reason == "INTERNAL_ERROR"
    assert "refused" not in error.message
    (failed,) = [line for line in logs if line["event"] == "call_failed"]
    assert failed["error_id"] == error.metadata["error_id"]
    status.database.take_results()
    await status.report("a", *results([1], code="poison"))


async def test_a_pause_whose_caller_is_gone_still_reaches_the_stream(status: Status) -> None:
    """A pause that is stored after its caller ran out of time is pushed to idle streams."""
    await status.start("a", 2)
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.acked(1)
        with status.database.held():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await status.stub.PauseCampaign(
                    pb.PauseCampaignRequest(campaign_id="a"), timeout=0.3
                )
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await stream.announced("a", PAUSED)

    async def is_paused() -> bool:
        return (await status.client.get_campaign(campaign_id="a")).state == PAUSED

    await eventually(is_paused, what="the pause is stored")
