"""Report results from a sender of your own: ``python examples/report_results.py``.

It registers a campaign at the status service, states how many messages there are,
pretends to send them, and reports one result for each. The last result completes the
campaign. Any language with gRPC can do the same.

This script holds a stream, like a sender that reports all day long.
report_results_sync.py works without a stream and without asyncio, and
report_results.sh needs only grpcurl.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid

import grpc

from closeout import from_environment
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
    """Report results and return when all of them are stored.

    Raises:
        UnavailableError: the service is not available, or can't store results of the
            campaign yet. Repeating the call is safe.
        ClientError: the service refused the stream.
        RuntimeError: the service rejected results for good; the text has the reason.
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
    """Send message number ``sequence`` and return its result."""
    if sequence % 100 == 0:
        return Result(
            sequence=sequence, outcome=Result.FAILED, attempt=1, code="550", detail="no such user"
        )
    return Result(sequence=sequence, outcome=Result.SENT, attempt=1, code="250")


async def main(address: str, total: int) -> None:
    """Send a campaign of ``total`` messages and print its final state."""
    campaign_id = f"example-{uuid.uuid4()}"
    async with StatusClient(address, **from_environment()) as status:
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
    parser.add_argument("address", nargs="?", default="127.0.0.1:20051", help="status service")
    parser.add_argument("--total", type=int, default=2000, help="number of messages")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.address, arguments.total))
    except UnavailableError as failure:
        if failure.reason:  # it answered, and says what is wrong
            sys.exit(f"{arguments.address}: {failure}")
        sys.exit(
            f"no status service answers at {arguments.address}; start it with `closeout up`,"
            " or name its address"
        )
    except ClientError as failure:
        sys.exit(f"{arguments.address}: {failure}")
