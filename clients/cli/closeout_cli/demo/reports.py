"""A sender of someone else's: it reports results to the status service directly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc

from closeout.errors import from_rpc_error
from closeout.status.v1 import status_pb2 as pb
from closeout.times import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from closeout.aio import StatusClient

_FRAME = 500


async def report_sent(
    status: StatusClient, campaign_id: str, sequences: Iterable[int], *, reporter: str
) -> None:
    """Report the messages as SENT and return when all are stored.

    Raises:
        ClientError: the stream broke, or a frame was refused.
    """
    finished = timestamp(datetime.now(UTC))
    results = [
        pb.Result(sequence=sequence, outcome=pb.Result.SENT, attempt=1, finish_time=finished)
        for sequence in sequences
    ]
    frames = [
        pb.ReportResultsRequest(
            frame=number,
            campaign_id=campaign_id,
            results=results[start : start + _FRAME],
            reporter=reporter,
        )
        for number, start in enumerate(range(0, len(results), _FRAME), 1)
    ]
    call = status.report_results()
    try:
        for frame in frames:
            await call.write(frame)
        await call.done_writing()
        acked = 0
        async for answer in call:
            acked = max(acked, answer.acked_through)
            if acked == len(frames):
                return
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        call.cancel()
