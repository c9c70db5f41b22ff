"""``closeout resend``: a campaign that has ended, again to some of its people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from closeout.errors import (
    AlreadyExistsError,
    ClientError,
    FailedPreconditionError,
    NotFoundError,
)
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout_cli import screen
from closeout_cli.campaign_ids import resend_id
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
from closeout_cli.repetition import is_repetition, repetition
from closeout_cli.settling import once_settled
from closeout_cli.start_request import StartRequest, check_start
from closeout_cli.started import Started
from closeout_cli.watch import followed

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
        when: what to do about people who got it by another campaign.
    """

    source: str
    kinds: tuple[str, ...]
    campaign_id: str
    when: StartRequest

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
            help="The id of the new campaign. Default: made of ID and OUTCOMES, so that the same"
            " command again sends nothing twice.",
            show_default=False,
        ),
    ] = "",
    only_new: Annotated[
        bool,
        typer.Option(
            "--only-new", help="Leave out people who got it by another resend or campaign lately."
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Send also to people who got it by another resend or campaign lately."
        ),
    ] = False,
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

    Safe to repeat: the same command again sends nothing. It is refused while people of
    it got the same by another resend, or another campaign with this id or name, lately.
    """
    kinds = _kinds(to)
    when = StartRequest.of("", now=False, only_new=only_new, again=again)
    found = Resend(campaign_id, kinds, new_id or resend_id(campaign_id, kinds), when)
    before = run(_before(found, status_address))
    counted = pb.ResendCampaignResponse()
    if before is None or before.state == status_pb2.Campaign.DRAFT:
        counted = run(_call(found, sender_address, validate_only=True))
        if not counted.total:
            raise CommandError(
                f"campaign {campaign_id} has nobody whose message is {_either(kinds)}; nothing"
                f" was sent. closeout status {campaign_id} shows what it has"
            )
        if not yes:
            _ask(found, counted)
    made, started = run(_send(found, before, status_address, sender_address))
    answer = {
        **screen.as_dict(made),
        "preview": counted.preview,
        "started": started.transitioned,
        "left_out": started.left_out,
        "message": started.outcome,
    }
    if as_json and watch:
        screen.print_event("started", answer)
    elif as_json:
        screen.print_json(answer)
    else:
        screen.line(
            f"campaign {found.campaign_id}: {'created' if made.created else 'exists already'}"
        )
        for line in started.lines():
            screen.line(line)
    if watch:
        return followed(found.campaign_id, status_address, sender_address, as_json=as_json)
    if not as_json:
        for line in started.next_steps():
            screen.line(line)
    return OK


def question(found: Resend, counted: pb.ResendCampaignResponse) -> str:
    """Return what is asked before anything is sent, with the numbers."""
    numbers = [
        f"{getattr(counted, kind):,} {kind}{_MEANINGS[kind]}"
        for kind in found.kinds
        if getattr(counted, kind)
    ]
    return f"Resend to {_people(counted.total)}? {'; '.join(numbers)}."


def _kinds(to: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip().lower() for word in to.split(",") if word.strip()))
    known = [*_OUTCOMES, _UNSENT]
    if wrong := [kind for kind in kinds if kind not in known]:
        raise typer.BadParameter(f"--to takes {', '.join(known)}, not {wrong[0]!r}")
    if not kinds:
        raise typer.BadParameter("--to needs an outcome, as in failed,unsent")
    return kinds


async def _before(found: Resend, status_address: str) -> status_pb2.Campaign | None:
    """Return the campaign of this resend as an earlier command made it; None: it is new.

    Raises:
        CommandError: it was cancelled.
    """
    async with status_client(status_address) as status:
        try:
            before = await status.get_campaign(campaign_id=found.campaign_id)
        except NotFoundError:
            return None
    check_start(found.when, before, found.campaign_id)
    return before


async def _call(
    found: Resend, sender_address: str, *, validate_only: bool = False
) -> pb.ResendCampaignResponse:
    async with sender_client(sender_address) as sender:
        return await _resend(sender, found, validate_only=validate_only)


async def _send(
    found: Resend,
    before: status_pb2.Campaign | None,
    status_address: str,
    sender_address: str,
) -> tuple[pb.ResendCampaignResponse, Started]:
    async with sender_client(sender_address) as sender:
        made = await _resend(sender, found, validate_only=False)
        try:
            answer = await sender.start_campaign(
                campaign_id=found.campaign_id, repeat=found.when.repeat
            )
        except ClientError as error:
            if not is_repetition(error):
                raise
            raise repetition(error, found.campaign_id, from_file=False) from error
    return made, await Started.of(found.campaign_id, found.when, before, answer, status_address)


async def _resend(
    sender: SenderClient, found: Resend, *, validate_only: bool
) -> pb.ResendCampaignResponse:
    resend = partial(
        sender.resend_campaign,
        source_campaign_id=found.source,
        outcomes=found.outcomes,
        include_unsent=_UNSENT in found.kinds,
        campaign_id=found.campaign_id,
        validate_only=validate_only,
    )
    try:
        return await once_settled(sender, found.source, resend)
    except AlreadyExistsError as error:
        raise CommandError(
            f"campaign {found.campaign_id} exists and is not {found.source} to those whose message"
            f" is {_either(found.kinds)}; nothing was sent. Name another --campaign-id",
            exit_code=FAILED,
        ) from error
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
