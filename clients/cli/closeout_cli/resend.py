"""``closeout resend``: a campaign that has ended, again to some of its people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from closeout.errors import FailedPreconditionError, NotFoundError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout_cli import screen
from closeout_cli.failures import FAILED, OK, CommandError
from closeout_cli.options import (
    CampaignId,
    Json,
    SenderAddress,
    StatusAddress,
    run,
    sender_client,
    status_client,
)
from closeout_cli.prompts import Yes, confirm, may_ask
from closeout_cli.watch import followed
from closeout_cli.watch_views import TERMINAL
from closeout_cli.words import ago, state_name

if TYPE_CHECKING:
    from closeout.aio import SenderClient

_OUTCOMES = {
    "failed": status_pb2.Result.FAILED,
    "unknown": status_pb2.Result.UNKNOWN,
    "skipped": status_pb2.Result.SKIPPED,
    "sent": status_pb2.Result.SENT,
}
#: Messages that never got an outcome.
_UNSENT = "unsent"
#: What the numbers of an outcome mean for the people behind it.
_MEANINGS = {
    "failed": "",
    "unknown": ": some may get it twice",
    "skipped": ": they were left out on purpose",
    _UNSENT: "",
    "sent": ": they get it twice",
}


@dataclass(frozen=True)
class Resend:
    """What is to be sent again.

    Attributes:
        source: the campaign that has ended.
        kinds: whose messages, by outcome.
        campaign_id: the id of the new campaign.
        earlier: what was sent again of it before, for people; empty: nothing.
    """

    source: str
    kinds: tuple[str, ...]
    campaign_id: str
    earlier: str = ""

    @property
    def outcomes(self) -> list[status_pb2.Result.Outcome.ValueType]:
        """The outcomes of the contract."""
        return [_OUTCOMES[kind] for kind in self.kinds if kind in _OUTCOMES]


def resend(
    *,
    campaign_id: CampaignId,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="OUTCOMES",
            help="Whom to send to, separated by commas: failed, unknown, skipped, unsent, sent.",
            show_default=False,
        ),
    ],
    new_id: Annotated[
        str,
        typer.Option(
            "--campaign-id",
            metavar="ID",
            help="The id of the new campaign. Default: ID-resend-1, or the next number.",
            show_default=False,
        ),
    ] = "",
    yes: Yes = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the new campaign until it has ended.")
    ] = False,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Send a campaign again to some of its people.

    It makes a new campaign with the same content, to those whose message has one of the
    outcomes. The people are counted first, and nothing is sent before you agree.
    """
    kinds = _kinds(to)
    found = run(_plan(campaign_id, kinds, new_id, status_address))
    counted = run(_call(found, sender_address, validate_only=True))
    if not counted.total:
        raise CommandError(
            f"campaign {campaign_id} has nobody whose message is {_either(kinds)}; nothing was"
            f" sent. closeout status {campaign_id} shows what it has"
        )
    if not yes:
        _ask(found, counted)
    made, started = run(_send(found, sender_address))
    answer = {**screen.as_dict(made), "preview": counted.preview, "started": started.transitioned}
    if as_json and watch:
        screen.print_event("started", answer)
    elif as_json:
        screen.print_json(answer)
    else:
        screen.line(f"campaign {found.campaign_id}: started, {_people(made.total)}")
    if watch:
        return followed(found.campaign_id, status_address, sender_address, as_json=as_json)
    if not as_json:
        screen.line(f"follow it: closeout watch {found.campaign_id}")
        screen.line(f"stop it: closeout cancel {found.campaign_id}")
    return OK


def question(found: Resend, counted: pb.ResendCampaignResponse) -> str:
    """Return what is asked before anything is sent, with the numbers."""
    numbers = [
        f"{getattr(counted, kind):,} {kind}{_MEANINGS[kind]}"
        for kind in found.kinds
        if getattr(counted, kind)
    ]
    earlier = f" {found.earlier}" if found.earlier else ""
    return f"Resend to {_people(counted.total)}? {'; '.join(numbers)}.{earlier}"


def _kinds(to: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip().lower() for word in to.split(",") if word.strip()))
    known = [*_OUTCOMES, _UNSENT]
    if wrong := [kind for kind in kinds if kind not in known]:
        raise typer.BadParameter(f"--to takes {', '.join(known)}, not {wrong[0]!r}")
    if not kinds:
        raise typer.BadParameter("--to needs an outcome, as in failed,unsent")
    return kinds


async def _plan(source: str, kinds: tuple[str, ...], new_id: str, status_address: str) -> Resend:
    """Choose the id: given, that of a draft which an interrupted command left, or the next."""
    if new_id:
        return Resend(source, kinds, new_id)
    earlier = ""
    async with status_client(status_address) as status:
        number = 1
        while True:
            campaign_id = f"{source}-resend-{number}"
            try:
                last = await status.get_campaign(campaign_id=campaign_id)
            except NotFoundError:
                return Resend(source, kinds, campaign_id, earlier)
            if last.state == status_pb2.Campaign.DRAFT:
                return Resend(source, kinds, campaign_id, earlier)
            if last.state not in TERMINAL:
                raise CommandError(
                    f"campaign {campaign_id} is {state_name(last)}: it sends {source} again just"
                    f" now. closeout watch {campaign_id} follows it; to send beside it, name"
                    " another --campaign-id",
                    exit_code=FAILED,
                )
            if last.state == status_pb2.Campaign.COMPLETED:
                earlier = (
                    f"{last.sent:,} already got it by {campaign_id},"
                    f" which completed {ago(last.complete_time)}: they get it again."
                )
            number += 1


async def _call(
    found: Resend, sender_address: str, *, validate_only: bool = False
) -> pb.ResendCampaignResponse:
    async with sender_client(sender_address) as sender:
        return await _resend(sender, found, validate_only=validate_only)


async def _send(
    found: Resend, sender_address: str
) -> tuple[pb.ResendCampaignResponse, pb.StartCampaignResponse]:
    async with sender_client(sender_address) as sender:
        made = await _resend(sender, found, validate_only=False)
        # The person who asked for it has agreed to what is sent twice.
        started = await sender.start_campaign(
            campaign_id=found.campaign_id, repeat=pb.StartCampaignRequest.AGAIN
        )
    return made, started


async def _resend(
    sender: SenderClient, found: Resend, *, validate_only: bool
) -> pb.ResendCampaignResponse:
    try:
        return await sender.resend_campaign(
            source_campaign_id=found.source,
            outcomes=found.outcomes,
            include_unsent=_UNSENT in found.kinds,
            campaign_id=found.campaign_id,
            validate_only=validate_only,
        )
    except FailedPreconditionError as error:
        if error.reason != "CAMPAIGN_NOT_ENDED":
            raise
        raise CommandError(
            f"campaign {found.source} has not ended; only then it is known who lacks it."
            f" closeout watch {found.source} follows it, closeout cancel {found.source} ends it",
            exit_code=FAILED,
        ) from error


def _ask(found: Resend, counted: pb.ResendCampaignResponse) -> None:
    text = question(found, counted)
    if not may_ask():
        raise CommandError(f"{text} Nothing was sent: agree with --yes", exit_code=FAILED)
    confirm(text)


def _people(number: int) -> str:
    return f"{number:,} {'person' if number == 1 else 'people'}"


def _either(kinds: tuple[str, ...]) -> str:
    return " or ".join(kinds)
