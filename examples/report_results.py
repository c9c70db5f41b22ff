"""Report results from a sender of your own: ``python examples/report_results.py``.

It registers a campaign at the status service, says how many messages there are,
sends them (here it only pretends to) and reports one result for each. The last one
completes the campaign. Any language with gRPC can do the same.

This one holds a stream, as a sender does that reports all day long.
report_results_sync.py does without a stream and without asyncio, and
report_results.sh needs nothing but grpcurl.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid

import grpc

from closeout.aio import StatusClient
from closeout.errors import ClientError, UnavailableError, from_rpc_error
from closeout.status.v1.status_pb2 import (
    Campaign,
    ReportResultsRequest,
    ReportResultsResponse,
    Result,
)

RESULTS_A_FRAME = 500


async def report(status: StatusClient, campaign_id: str, results: list[Result]) -> None:
    """Report results, and return once every one of them is stored for good.

    Raises:
        UnavailableError: the service went away, or can't store results of the campaign
            yet. Repeating all of it is safe.
        ClientError: the service refuses the stream.
        RuntimeError: the service refuses results for good; it says why.
    """
    stream = status.report_results()
    try:
        for frame, first in enumerate(range(0, len(results), RESULTS_A_FRAME), start=1):
            await stream.write(
                ReportResultsRequest(
                    frame=frame,
                    campaign_id=campaign_id,
                    results=results[first : first + RESULTS_A_FRAME],
                    reporter="my-sender",
                )
            )
            acked_through = 0
            while acked_through < frame:
                answer = await stream.read()
                if not isinstance(answer, ReportResultsResponse):  # the end of the stream
                    raise UnavailableError("the stream ended before its last answer")
                check(answer)
                acked_through = answer.acked_through
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        stream.cancel()


def check(answer: ReportResultsResponse) -> None:
    """Look for frames that were refused: nothing of them is stored.

    Raises:
        UnavailableError: the same results may be accepted later.
        RuntimeError: they will never be.
    """
    for refused in answer.rejections:
        rejection = refused.rejection
        if rejection.retryable:
            raise UnavailableError(rejection.message, reason=rejection.reason)
        raise RuntimeError(f"{rejection.reason}: {rejection.message}")


def send(sequence: int) -> Result:
    """Send message number ``sequence`` and return what became of it."""
    if sequence % 100 == 0:
        return Result(
            sequence=sequence, outcome=Result.FAILED, attempt=1, code="550", detail="no such user"
        )
    return Result(sequence=sequence, outcome=Result.SENT, attempt=1, code="250")


async def main(address: str, total: int) -> None:
    """Send a campaign of ``total`` messages and print how it ended."""
    campaign_id = f"example-{uuid.uuid4()}"
    async with StatusClient(address) as status:
        await status.create_campaign(campaign_id=campaign_id, display_name="Mine", channel="mine")
        await status.start_campaign(campaign_id=campaign_id, total=total)
        await report(status, campaign_id, [send(sequence) for sequence in range(1, total + 1)])
        campaign = await status.get_campaign(campaign_id=campaign_id)
    state = Campaign.State.Name(campaign.state)
    print(
        f"{campaign_id} {state} total={campaign.total} sent={campaign.sent}"
        f" failed={campaign.failed} skipped={campaign.skipped} unknown={campaign.unknown}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="127.0.0.1:50051", help="status service")
    parser.add_argument("--total", type=int, default=2000, help="how many messages")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.address, arguments.total))
    except ClientError as failure:
        sys.exit(f"{arguments.address}: {failure}")
