"""B2: a client of a result stream that does not read its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.status.v1 import status_pb2 as pb
from service_runtime.caller import Caller
from service_runtime.sampled_log import SampledLog
from status_service.domain import State
from status_service.grpc_api import result_stream
from status_service.grpc_api.result_stream import ResultStream
from status_service.recording.notifier import Notifier
from status_service.recording.types import Frame, FrameReceipt

_MOST = 50
_SENT = 10 * _MOST
_PATIENCE_SECONDS = 30.0


class Unread:
    """The context of a client that reads one answer when it is asked to."""

    def __init__(self) -> None:
        self.answers: list[pb.ReportResultsResponse] = []
        self.reads = asyncio.Semaphore(0)

    async def write(self, answer: pb.ReportResultsResponse) -> None:
        """Return when the client has read."""
        await self.reads.acquire()
        self.answers.append(answer)


class Stored:
    """Writers that store everything at once."""

    async def submit(self, _: Frame) -> asyncio.Future[FrameReceipt]:
        """Return a receipt that is there."""
        receipt: asyncio.Future[FrameReceipt] = asyncio.get_running_loop().create_future()
        receipt.set_result(FrameReceipt(new=1, state=State.SENDING, revision=1))
        return receipt


@pytest.mark.parametrize("campaign_id", ["a", ""], ids=["stored", "refused"])
async def test_b2_a_stream_whose_answers_nobody_reads_is_not_read(
    campaign_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with the first answer that was read, and all frames are answered in the end."""
    monkeypatch.setattr(result_stream, "_MOST_FRAMES", _MOST)
    given = 0
    stopped = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ReportResultsRequest]:
        nonlocal given
        for number in range(1, _SENT + 1):
            given = number
            yield pb.ReportResultsRequest(frame=number, campaign_id=campaign_id)

    async def settled() -> int:
        """Return how many frames were read, once that stands still."""
        before = -1
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while before != given:
                before = given
                for _ in range(100):
                    await asyncio.sleep(0)
        return given

    context: Any = Unread()
    writers: Any = Stored()
    stream = ResultStream(
        Caller("default", "tester"),
        context,
        writer_pool=writers,
        notifier=Notifier(),
        rejection_log=SampledLog("results_rejected"),
        generation="g",
        stopping=stopped,
    )
    with capture_logs():
        running = asyncio.create_task(stream.run(requests()))
        assert await settled() <= _MOST + 1
        context.reads.release()
        assert _MOST < await settled() <= 2 * _MOST + 1
        for _ in range(_SENT):
            context.reads.release()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await running
    assert context.answers[-1].acked_through == _SENT
    assert all(len(answer.rejections) <= _MOST for answer in context.answers)
