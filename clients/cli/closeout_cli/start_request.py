"""When a campaign shall start, and what became of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import typer

from closeout.aio import StatusClient
from closeout.errors import ClientError
from closeout.status.v1 import status_pb2 as pb
from closeout.times import timestamp
from closeout_cli.words import clock, parse_time

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Self

    from closeout.sender.v1 import sender_pb2


class StartRequest(NamedTuple):
    """A start at a time, or at once in any case, or without either: the usual one."""

    time: datetime | None = None
    now: bool = False

    @classmethod
    def of(cls, start_time: str, *, now: bool) -> Self:
        """Return what the options ``--start-time`` and ``--now`` ask for.

        Raises:
            typer.BadParameter: both are set, or the time is malformed.
        """
        if now and start_time:
            raise typer.BadParameter("--now and --start-time exclude each other")
        try:
            return cls(parse_time(start_time) if start_time else None, now)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error


async def outcome_of(
    request: StartRequest,
    answer: sender_pb2.StartCampaignResponse,
    campaign_id: str,
    status_address: str,
) -> str:
    """Return what became of a start, for people.

    A start that changed nothing is explained by the campaign as the status service has
    it; the sender has started it in any case, so it is no failure if that can't be read.
    """
    campaign: pb.Campaign | None = None
    if not answer.transitioned:
        async with StatusClient(status_address) as status:
            try:
                campaign = await status.get_campaign(campaign_id=campaign_id)
            except ClientError:
                campaign = None
    return described(request, campaign, transitioned=answer.transitioned)


def described(request: StartRequest, campaign: pb.Campaign | None, *, transitioned: bool) -> str:
    """Return what became of a start, for people.

    Args:
        request: what was requested.
        campaign: the campaign after a start that changed nothing, if it is known.
        transitioned: whether the start changed anything.
    """
    if transitioned and request.time is not None:
        return f"to be started at {clock(timestamp(request.time))}"
    if transitioned:
        return "started"
    if campaign is not None and campaign.state == pb.Campaign.SCHEDULED:
        time = clock(campaign.schedule_time)
        if request.time is not None:
            return f"is scheduled for {time} (--now starts it at once)"
        return f"is scheduled already and keeps its time, {time} (--now starts it at once)"
    return "was started before"
