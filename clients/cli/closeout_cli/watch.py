"""``closeout watch``: follow a campaign until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from closeout.errors import CallCancelledError, ClientError, DeadlineExceededError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from closeout_cli.failures import FAILED, INTERRUPTED, OK, SOME_FAILED, say
from closeout_cli.options import (
    CampaignId,
    Json,
    SenderAddress,
    StatusAddress,
    run,
    sender_of,
    status_of,
)
from closeout_cli.watch_views import TERMINAL, View, view_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from closeout.aio import SenderClient, StatusClient

#: How often a service that does not answer is asked again, seconds.
_RECONNECT_SECONDS = 0.5
#: How often the sender is asked what it waits for, seconds.
_PROBLEM_INTERVAL_SECONDS = 1.0


def watch(
    *,
    campaign_id: CampaignId,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Follow a campaign until it has ended.

    It goes on when a service was away. Ctrl-C ends only the watching: the campaign goes
    on.

    Exit code 0 when the campaign is COMPLETED, 6 when it is and some of its messages
    failed or are in doubt, 1 when it is CANCELLED.
    """
    return followed(campaign_id, status_address, sender_address, as_json=as_json)


def followed(campaign_id: str, status_address: str, sender_address: str, *, as_json: bool) -> int:
    """Show a campaign until it has ended, and return the exit code for that.

    Ctrl-C ends it with a line that says that the campaign goes on, and what to do.

    Raises:
        ClientError: there is no such campaign, or its service refuses.
    """
    view = view_of(as_json=as_json)
    try:
        return run(follow(campaign_id, status_address, sender_address, view=view))
    except KeyboardInterrupt:
        say(
            f"you stopped watching, the campaign goes on: `closeout watch {campaign_id}` follows"
            f" it again, `closeout cancel {campaign_id}` ends it"
        )
        return INTERRUPTED


async def follow(
    campaign_id: str, status_address: str, sender_address: str, *, view: View | None = None
) -> int:
    """Show a campaign until it has ended and return the exit code for that.

    Raises:
        ClientError: there is no such campaign, or its service refuses.
    """
    shown = view or view_of(as_json=False)
    campaign = pb.Campaign()
    async with status_of(status_address) as status, sender_of(sender_address) as sender:
        problems = asyncio.create_task(_report_problems(sender, campaign_id, shown))
        try:
            with shown:
                snapshots = _snapshots(status, campaign_id, status_address)
                async with contextlib.aclosing(snapshots):
                    async for campaign in snapshots:
                        shown.show(campaign)
                shown.end(campaign)
        finally:
            problems.cancel()
            await asyncio.gather(problems, return_exceptions=True)
    return code_of(campaign)


def code_of(campaign: pb.Campaign) -> int:
    """Return the exit code for how a campaign ended."""
    if campaign.state != pb.Campaign.COMPLETED:
        return FAILED
    return SOME_FAILED if campaign.failed or campaign.unknown else OK


async def _snapshots(
    status: StatusClient, campaign_id: str, address: str
) -> AsyncGenerator[pb.Campaign, None]:
    """Yield snapshots until a terminal one, over any number of restarts of the service."""
    away = False
    while True:
        watching = status.watch_campaign(campaign_id=campaign_id)
        try:
            async with contextlib.aclosing(watching):
                async for campaign in watching:
                    if away:
                        say(f"the status service at {address} is back")
                        away = False
                    yield campaign
                    if campaign.state in TERMINAL:
                        return
        except (UnavailableError, CallCancelledError, DeadlineExceededError) as error:
            if not away:
                say(f"the status service at {address}{_why_away(error)}; waiting for it")
            away = True
        await asyncio.sleep(_RECONNECT_SECONDS)


def _why_away(error: ClientError) -> str:
    if error.reason == "SHUTTING_DOWN":
        return " stops"
    # With a reason it did answer, as where its disk is full.
    return f": {error.message}" if error.reason else " does not answer"


async def _report_problems(sender: SenderClient, campaign_id: str, view: View) -> None:
    """Report what the sender waits for whenever that changes; without a sender, nothing."""
    reported: list[pb.Problem] = []
    while True:
        await asyncio.sleep(_PROBLEM_INTERVAL_SECONDS)
        try:
            delivery = await sender.get_delivery(campaign_id=campaign_id)
        except ClientError:
            continue  # another sender's campaign, or the sender is away: the counters show it
        problems = list(delivery.problems)
        if problems != reported:
            reported = problems
            view.problems(problems)
