"""Report results from a script, a Django view or a Celery task, without a stream.

``python examples/report_results_sync.py`` registers a campaign at the status service,
says how many messages there are, and then several threads send them (here they only
pretend to) and report one result for each. The last one completes the campaign.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from closeout import (
    ClientError,
    DeadlineExceededError,
    StatusClient,
    UnavailableError,
    from_environment,
)
from closeout.status.v1.status_pb2 import Campaign, Result

MESSAGES_A_TASK = 250
SECONDS_BETWEEN_TRIES = 1.0


def send(sequence: int) -> Result:
    """Send message number ``sequence`` and return what became of it."""
    if sequence % 100 == 0:
        return Result(
            sequence=sequence, outcome=Result.FAILED, attempt=1, code="550", detail="no such user"
        )
    return Result(sequence=sequence, outcome=Result.SENT, attempt=1, code="250")


def deliver(status: StatusClient, campaign_id: str, sequences: range) -> None:
    """Send some messages and report them, as one task of a queue does.

    Raises:
        ClientError: the service refuses the results.
    """
    results = [send(sequence) for sequence in sequences]
    while True:
        try:
            status.report(results, campaign_id=campaign_id, reporter="my-task")
        except (UnavailableError, DeadlineExceededError):
            time.sleep(SECONDS_BETWEEN_TRIES)  # the same results again, never the messages
        else:
            return


def main(address: str, total: int) -> None:
    """Send a campaign of ``total`` messages and print how it ended."""
    campaign_id = f"example-{uuid.uuid4()}"
    with StatusClient(address, **from_environment()) as status:
        status.create_campaign(campaign_id=campaign_id, display_name="Mine", channel="mine")
        status.start_campaign(campaign_id=campaign_id, total=total)
        with ThreadPoolExecutor(max_workers=4) as pool:
            tasks = [
                pool.submit(deliver, status, campaign_id, range(first, last + 1))
                for first, last in (
                    (first, min(first + MESSAGES_A_TASK - 1, total))
                    for first in range(1, total + 1, MESSAGES_A_TASK)
                )
            ]
        for task in tasks:
            task.result()
        campaign = status.get_campaign(campaign_id=campaign_id)
    state = Campaign.State.Name(campaign.state)
    print(
        f"{campaign_id} {state} total={campaign.total} sent={campaign.sent}"
        f" failed={campaign.failed} skipped={campaign.skipped} unknown={campaign.unknown}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="127.0.0.1:20051", help="status service")
    parser.add_argument("--total", type=int, default=2000, help="how many messages")
    arguments = parser.parse_args()
    try:
        main(arguments.address, arguments.total)
    except UnavailableError as failure:
        if failure.reason:  # it answered, and says what is wrong
            sys.exit(f"{arguments.address}: {failure}")
        sys.exit(
            f"no status service answers at {arguments.address}; start it with `closeout up`,"
            " or name its address"
        )
    except ClientError as failure:
        sys.exit(f"{arguments.address}: {failure}")
