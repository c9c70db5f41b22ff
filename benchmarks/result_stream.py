"""Results a second through ReportResults into the status service."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.processes import service
from clients.status import StatusClient
from protos.campaign.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_RESULTS_A_FRAME = 500
_FINISH_TIME = Timestamp(seconds=1_700_000_000)


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What one run measured: results a second, and the peak memory of the service."""

    first_rate: float
    replay_rate: float
    memory_mib: float


async def measure(folder: Path, *, streams: int, results: int) -> StreamFigures:
    """Report ``results`` results over ``streams`` streams, then all of them again.

    Raises:
        RuntimeError: a campaign was not completed by its last result.
    """
    async with (
        service("status_service", folder, {"CLOSEOUT_LOG_LEVEL": "warning"}) as status,
        StatusClient(status.address) as client,
    ):
        each = results // streams // _RESULTS_A_FRAME * _RESULTS_A_FRAME
        frames = [_frames(f"stream-{number}", each) for number in range(streams)]
        for number in range(streams):
            await client.create_campaign(campaign_id=f"stream-{number}")
            await client.start_campaign(campaign_id=f"stream-{number}", total=each)
        first = await _report_all(client, frames)
        for number in range(streams):
            campaign = await client.get_campaign(campaign_id=f"stream-{number}")
            if campaign.state != status_pb2.Campaign.COMPLETED:
                raise RuntimeError(f"not completed: {campaign}")
        replay = await _report_all(client, frames)
        return StreamFigures(
            each * streams / first, each * streams / replay, status.peak_memory_mib()
        )


def _frames(campaign_id: str, total: int) -> list[status_pb2.ReportResultsRequest]:
    return [
        status_pb2.ReportResultsRequest(
            frame=number,
            campaign_id=campaign_id,
            results=[
                status_pb2.Result(
                    sequence=sequence,
                    outcome=status_pb2.Result.SENT,
                    attempt=1,
                    code="250",
                    provider_message_id=f"queued-as-{sequence:012}",
                    finish_time=_FINISH_TIME,
                )
                for sequence in range(first, first + _RESULTS_A_FRAME)
            ],
        )
        for number, first in enumerate(range(1, total + 1, _RESULTS_A_FRAME), start=1)
    ]


async def _report_all(
    client: StatusClient, frames: Sequence[Sequence[status_pb2.ReportResultsRequest]]
) -> float:
    begin = time.perf_counter()
    await asyncio.gather(*(_report(client, one) for one in frames))
    return time.perf_counter() - begin


async def _report(client: StatusClient, frames: Sequence[status_pb2.ReportResultsRequest]) -> None:
    call = client.report_results()

    async def acknowledged() -> None:
        async for response in call:
            if response.acked_through == len(frames):
                return

    waiting = asyncio.create_task(acknowledged())
    try:
        for frame in frames:
            await call.write(frame)
        await waiting
    finally:
        waiting.cancel()
        call.cancel()
