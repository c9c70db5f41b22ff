"""When a campaign shall start, and what became of that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import typer

from closeout.aio import StatusClient
from closeout.errors import ClientError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2 as pb
from closeout.times import timestamp
from closeout_cli.credentials import client_options
from closeout_cli.failures import FAILED, USAGE, CommandError
from closeout_cli.words import ago, clock, parse_time, state_name

if TYPE_CHECKING:
    from typing import Self

#: A start may be this late, as the services have it.
_LATE = timedelta(minutes=1)
_NOT_BEGUN = (pb.Campaign.DRAFT, pb.Campaign.SCHEDULED)


class StartRequest(NamedTuple):
    """A start at a time, or at once in any case, or without either: the usual one.

    Attributes:
        time: when to start; None: now, or when it is scheduled.
        now: whether to start at once what is scheduled for later.
        repeat: what to do about people who got another campaign of the family.
    """

    time: datetime | None = None
    now: bool = False
    repeat: sender_pb2.StartCampaignRequest.Repeat.ValueType = (
        sender_pb2.StartCampaignRequest.REFUSE
    )

    @classmethod
    def of(cls, start_time: str, *, now: bool, only_new: bool = False, again: bool = False) -> Self:
        """Return what ``--start-time``, ``--now``, ``--only-new`` and ``--again`` ask for.

        Raises:
            typer.BadParameter: two exclude each other, or the time is malformed.
        """
        if now and start_time:
            raise typer.BadParameter("use either --now or --start-time")
        if only_new and again:
            raise typer.BadParameter("use either --only-new or --again")
        repeats = sender_pb2.StartCampaignRequest
        repeat = repeats.ONLY_NEW if only_new else repeats.AGAIN if again else repeats.REFUSE
        try:
            return cls(parse_time(start_time) if start_time else None, now, repeat)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    @property
    def shown(self) -> str:
        """The time for people; empty: none."""
        return clock(timestamp(self.time)) if self.time is not None else ""

    @property
    def past(self) -> bool:
        """Whether the time is more than a minute past."""
        return self.time is not None and self.time < datetime.now(UTC) - _LATE


async def known_campaign(campaign_id: str, status_address: str) -> pb.Campaign | None:
    """Return the campaign as the status service has it; None: it has none, or does not answer.

    It only serves to say what becomes of it: the sender decides, and knows the service.
    """
    async with StatusClient(status_address, **client_options(status_address)) as status:
        try:
            return await status.get_campaign(campaign_id=campaign_id)
        except ClientError:
            return None


def check_start(request: StartRequest, before: pb.Campaign | None, campaign_id: str) -> None:
    """Check, before anything is created, that a campaign can be started so.

    Args:
        request: what is requested.
        before: the campaign as it is; None: it is a new one.
        campaign_id: its id.

    Raises:
        CommandError: the time is past, or the campaign was cancelled.
    """
    if (before is None or before.state in _NOT_BEGUN) and request.past:
        done = "created" if before is None else "changed"
        raise CommandError(
            f"--start-time {request.shown} is past; nothing was {done}."
            " Correct it, or give --now instead to start at once",
            exit_code=USAGE,
        )
    if before is not None and before.state == pb.Campaign.CANCELLED:
        raise CommandError(
            f"campaign {campaign_id} was cancelled; nothing was sent."
            f" To send it after all, make another one: --campaign-id {campaign_id}-2",
            exit_code=FAILED,
        )


def effective(request: StartRequest, before: pb.Campaign | None) -> StartRequest:
    """Return what is left of a request: a time that is past is no wish once a campaign has begun.

    So the same command is safe to repeat after its time, too.
    """
    begun = before is not None and before.state not in _NOT_BEGUN
    return request._replace(time=None) if begun and request.past else request


def described(
    request: StartRequest,
    before: pb.Campaign | None,
    after: pb.Campaign | None,
    *,
    transitioned: bool,
) -> str:
    """Return what became of a start, for people.

    Args:
        request: what was requested.
        before: the campaign before it; None: not known, or there was none.
        after: the campaign after it; None: not known.
        transitioned: whether the start changed anything.
    """
    planned = before is not None and before.state == pb.Campaign.SCHEDULED
    old = clock(before.schedule_time) if before is not None and planned else ""
    new = request.shown
    if old and new and old != new and (after is None or clock(after.schedule_time) == new):
        return f"moved from {old} to {new}"
    if transitioned and new:
        return f"scheduled for {new}"
    if transitioned:
        return f"started now, instead of at {old}" if old else "started"
    return _unchanged(after)


def _unchanged(after: pb.Campaign | None) -> str:
    if after is None:
        return "was started before; nothing was changed"
    if after.state == pb.Campaign.SCHEDULED:
        time = clock(after.schedule_time)
        return f"already scheduled for {time}, which stays (--now starts it at once)"
    if after.state == pb.Campaign.COMPLETED:
        return (
            f"this campaign was sent before: COMPLETED {ago(after.complete_time)};"
            " nothing was sent again"
        )
    if after.state == pb.Campaign.PAUSED:
        return f"was started before and is PAUSED; closeout resume {after.campaign_id} goes on"
    return f"was started {ago(after.start_time)} and goes on: {state_name(after)}"
