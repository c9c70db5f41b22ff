"""Commands that change a campaign: pause, resume, cancel, mark-complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from closeout.errors import FailedPreconditionError
from closeout_cli import screen
from closeout_cli.failures import (
    FAILED,
    LONG_TIMEOUT_SECONDS,
    OK,
    WRITING_TIMEOUT_SECONDS,
    CommandError,
    saying_later,
    working_long,
)
from closeout_cli.options import CampaignId, Json, Reason, StatusAddress, run, status_client
from closeout_cli.prompts import Yes, confirm, may_ask
from closeout_cli.watch_views import TERMINAL
from closeout_cli.words import counts, number, state_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from closeout.aio import StatusClient
    from closeout.status.v1 import status_pb2 as pb

    Answer = (
        pb.PauseCampaignResponse
        | pb.ResumeCampaignResponse
        | pb.CancelCampaignResponse
        | pb.MarkCompleteResponse
    )


#: While a completion takes long; Ctrl-C ends the command, and not the completion.
_STILL_WORKING = (
    "the status service is at work: with millions of messages that takes minutes."
    " It goes on if this command ends, and the command may be repeated"
)


def pause(
    *,
    campaign_id: CampaignId,
    reason: Reason = "",
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Stop a campaign until it is resumed."""
    return _change(
        status_address,
        lambda status: status.pause_campaign(campaign_id=campaign_id, reason=reason),
        "already paused",
        as_json=as_json,
    )


def resume(
    *,
    campaign_id: CampaignId,
    reason: Reason = "",
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Continue a paused campaign."""
    return _change(
        status_address,
        lambda status: status.resume_campaign(campaign_id=campaign_id, reason=reason),
        "already sending",
        as_json=as_json,
    )


def cancel(
    *,
    campaign_id: CampaignId,
    reason: Reason = "",
    yes: Yes = False,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """End a campaign early, for good.

    Messages that are not sent yet are not sent; what a provider has still gets its
    result. On a terminal you are asked first.
    """
    if may_ask() and not yes:
        _confirm(status_address, campaign_id, _cancelling)
    return _change(
        status_address,
        lambda status: status.cancel_campaign(campaign_id=campaign_id, reason=reason),
        "already cancelled",
        as_json=as_json,
    )


def mark_complete(
    *,
    campaign_id: CampaignId,
    reason: Reason = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Record every message without a result as UNKNOWN, then complete."
            " Nothing missing becomes sent. Needs --reason. On a terminal you are asked first.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")
    ] = False,
    yes: Yes = False,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Complete a campaign of which every message has a result.

    Refused, with the missing ranges, while messages have none.
    """
    if force and not reason:
        raise typer.BadParameter("--force needs a --reason, for the audit trail")
    if force and may_ask() and not yes and not dry_run:
        _confirm(status_address, campaign_id, _forcing)

    seconds = WRITING_TIMEOUT_SECONDS if force else LONG_TIMEOUT_SECONDS

    async def call(status: StatusClient) -> pb.MarkCompleteResponse:
        with working_long(status_address, seconds), saying_later(_STILL_WORKING):
            return await status.mark_complete(
                campaign_id=campaign_id,
                reason=reason,
                force=force,
                dry_run=dry_run,
                timeout_seconds=seconds,
            )

    return _change(
        status_address,
        call,
        "already completed",
        as_json=as_json,
        would="would be completed" if dry_run else "",
    )


def _change(
    address: str,
    call: Callable[[StatusClient], Awaitable[Answer]],
    unchanged: str,
    *,
    as_json: bool,
    would: str = "",
) -> int:
    answer = run(_answer(address, call))
    campaign = answer.campaign
    if as_json:
        screen.print_json(answer)
        return OK
    how = "" if answer.transitioned else f" ({unchanged})"
    if answer.transitioned and would:
        how = f" ({would})"
    screen.line(f"{campaign.campaign_id}: {state_name(campaign)}{how} {counts(campaign)}")
    return OK


def _confirm(address: str, campaign_id: str, question: Callable[[pb.Campaign], str]) -> None:
    """Ask about a campaign that is open; one that has ended is left to the service.

    Raises:
        CommandError: the answer is no.
    """
    campaign = run(_campaign(address, campaign_id))
    if campaign.state not in TERMINAL:
        confirm(question(campaign))


async def _campaign(address: str, campaign_id: str) -> pb.Campaign:
    async with status_client(address) as status:
        return await status.get_campaign(campaign_id=campaign_id)


def _cancelling(campaign: pb.Campaign) -> str:
    if not campaign.sealed:
        what = "It has not started, and nothing was sent."
    else:
        what = (
            f"{number(campaign.pending, 'message')} of {campaign.total:,} without a result are"
            " not sent and end as SKIPPED."
        )
    return f"This ends {_named(campaign)} for good. {what} Cancel it?"


def _forcing(campaign: pb.Campaign) -> str:
    return (
        f"This records {number(campaign.pending, 'message')} of {campaign.total:,} as UNKNOWN and"
        f" completes {_named(campaign)}. Nothing missing becomes sent. It can't be taken back."
        " Complete it?"
    )


def _named(campaign: pb.Campaign) -> str:
    name = campaign.display_name
    return f"{name} ({campaign.campaign_id})" if name else campaign.campaign_id


async def _answer(address: str, call: Callable[[StatusClient], Awaitable[Answer]]) -> Answer:
    async with status_client(address) as status:
        try:
            return await call(status)
        except FailedPreconditionError as error:
            # The service names fields of its request; here they are options.
            text = error.message.replace("use force with a reason", "use --force --reason WHY")
            raise CommandError(
                f"refused: {text}", exit_code=FAILED, more=_next_step(error)
            ) from error


def _next_step(error: FailedPreconditionError) -> tuple[str, ...]:
    if error.reason != "CAMPAIGN_NOT_FULLY_PROCESSED":
        return ()
    campaign_id = error.metadata.get("campaign_id", "ID")
    return (f"  `closeout explain {campaign_id}` says why and what to do.",)
