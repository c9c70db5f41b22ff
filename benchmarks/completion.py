"""Measure the time from the last result of a campaign to COMPLETED at a watcher."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.processes import status_service
from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from benchmarks.databases import Database

_Call: TypeAlias = (
    "grpc.aio.StreamStreamCall[status_pb2.ReportResultsRequest, status_pb2.ReportResultsResponse]"
)

_MESSAGES = 100
_HALF = _MESSAGES // 2
#: The second half of a campaign's results follows the first after one of these many
#: pauses, spread evenly up to the longest one, seconds. Watchers receive intermediate
#: changes at intervals, and the delay of a completion must not depend on them.
_PAUSES = 20
_LONGEST_PAUSE = 0.12


@dataclass(frozen=True, slots=True)
class CompletionFigures:
    """The figures of one run.

    Attributes:
        delays: of each campaign, seconds.
        memory_mib: peak memory of the status service.
    """

    delays: Sequence[float]
    memory_mib: float


async def measure(database: Database, *, campaigns: int) -> CompletionFigures:
    """Complete small campaigns one after another, each with a watcher connected before.

    A delay runs from the moment at which gRPC gets the frame with the last result to
    the moment at which the watcher receives COMPLETED.
    """
    async with (
        status_service(database, "completion") as status,
        StatusClient(status.address) as client,
    ):
        call = client.report_results()
        delays = []
        try:
            for number in range(campaigns):
                pause = number % _PAUSES / _PAUSES * _LONGEST_PAUSE
                delays.append(await _delay(client, call, number, pause))
        finally:
            call.cancel()
        return CompletionFigures(delays, status.peak_memory_mib())


async def _delay(client: StatusClient, call: _Call, number: int, pause: float) -> float:
    campaign_id = f"small-{number}"
    await client.create_campaign(campaign_id=campaign_id)
    await client.start_campaign(campaign_id=campaign_id, total=_MESSAGES)
    async with aclosing(client.watch_campaign(campaign_id=campaign_id)) as watching:
        await anext(watching)  # the watcher is connected
        await call.write(_frame(2 * number + 1, campaign_id, 1))
        await _acked(call, 2 * number + 1)
        await asyncio.sleep(pause)
        begin = time.perf_counter()
        await call.write(_frame(2 * number + 2, campaign_id, _HALF + 1))
        async for campaign in watching:
            if campaign.state == status_pb2.Campaign.COMPLETED:
                delay = time.perf_counter() - begin
                await _acked(call, 2 * number + 2)
                return delay
    raise RuntimeError(f"the watch of {campaign_id} ended without its completion")


def _frame(frame: int, campaign_id: str, first: int) -> status_pb2.ReportResultsRequest:
    return status_pb2.ReportResultsRequest(
        frame=frame,
        campaign_id=campaign_id,
        results=[
            status_pb2.Result(sequence=sequence, outcome=status_pb2.Result.SENT, attempt=1)
            for sequence in range(first, first + _HALF)
        ],
    )


async def _acked(call: _Call, frame: int) -> None:
    while True:
        response = await call.read()
        if not isinstance(response, status_pb2.ReportResultsResponse):
            raise RuntimeError("the stream of results ended")  # noqa: TRY004 - EOF is no wrong type
        if response.acked_through == frame:
            return
