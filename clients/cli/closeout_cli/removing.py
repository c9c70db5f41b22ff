"""``closeout delete`` and ``closeout erase``: at the status service first, then at the sender."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from closeout.errors import FailedPreconditionError, NotFoundError
from closeout_cli import screen
from closeout_cli.failures import FAILED, NEEDS_A_PERSON, OK, CommandError
from closeout_cli.options import (
    CampaignId,
    Json,
    Reason,
    SenderAddress,
    StatusAddress,
    run,
    sender_client,
    status_client,
)
from closeout_cli.prompts import Yes, confirm, may_ask
from closeout_cli.settling import once_settled
from closeout_cli.words import number

if TYPE_CHECKING:
    from closeout.sender.v1 import sender_pb2
    from closeout.status.v1 import status_pb2

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")]


def delete(
    *,
    campaign_id: CampaignId,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Delete a campaign that has ended, at both services, for good.

    Results, recipients, content and audit trail go; who deleted it, when, why and its counters
    are kept, and its id is never given again. On a terminal you are asked first.
    """
    if may_ask() and not yes and not dry_run:
        confirm(
            f"This deletes {campaign_id} with its results, recipients and content. It can't be"
            " taken back. Delete it?"
        )
    deleted, recipients = run(
        _delete(status_address, sender_address, campaign_id, reason, dry_run=dry_run)
    )
    if as_json:
        screen.print_json(
            {
                "campaignId": campaign_id,
                "deleted": deleted.deleted,
                "results": str(deleted.results),
                "recipients": str(recipients),
                "dryRun": dry_run,
            }
        )
        return OK
    what = f"{number(deleted.results, 'result')}, {number(recipients, 'recipient')}"
    if dry_run:
        how = "would be deleted" if deleted.deleted else "is deleted already"
    else:
        how = "deleted" if deleted.deleted else "already deleted"
    screen.line(f"{campaign_id}: {how} ({what})")
    return OK


async def _delete(
    status_address: str, sender_address: str, campaign_id: str, reason: str, *, dry_run: bool
) -> tuple[status_pb2.DeleteCampaignResponse, int]:
    """Delete a campaign; return what the status service had, and how many recipients went.

    Both may be repeated: what was deleted before is passed over.
    """
    async with status_client(status_address) as status, sender_client(sender_address) as sender:
        try:
            deleted = await status.delete_campaign(
                campaign_id=campaign_id, reason=reason, dry_run=dry_run
            )
            try:
                delete = partial(sender.delete_campaign, campaign_id=campaign_id, dry_run=dry_run)
                kept = await once_settled(sender, campaign_id, delete)
            except NotFoundError:
                return deleted, 0  # another sender had it
        except FailedPreconditionError as error:
            if error.reason != "CAMPAIGN_NOT_ENDED":
                raise
            raise CommandError(
                f"refused: {error.message}. closeout watch {campaign_id} follows it, closeout"
                f" cancel {campaign_id} ends it; then call closeout delete again",
                exit_code=FAILED,
            ) from error
        return deleted, kept.recipients if kept.deleted else 0


def erase(
    *,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The address to erase.", show_default=False)
    ],
    dry_run: DryRun = False,
    yes: Yes = False,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Erase an address from all campaigns that have ended, at both services, for good.

    Each message keeps its number and its outcome; counters stay. Campaigns that have not ended
    are named and left alone: erase the address again once they have. On a terminal you are
    asked first.
    """
    if may_ask() and not yes and not dry_run:
        confirm(f"This erases {address} from all ended campaigns. It can't be taken back. Erase?")
    sent, told = run(_erase(status_address, sender_address, address, dry_run=dry_run))
    still = list(sent.open_campaign_ids)
    if as_json:
        screen.print_json(
            {
                "recipients": str(sent.recipients),
                "outcomes": str(sent.outcomes),
                "results": str(told.results),
                "failureGroups": str(told.failure_groups),
                "openCampaignIds": still,
                "dryRun": dry_run,
            }
        )
    else:
        would = "would be erased" if dry_run else "erased"
        screen.line(
            f"{would}: {number(sent.recipients, 'recipient')}, {number(sent.outcomes, 'outcome')},"
            f" {number(told.results, 'result')} that named it"
        )
        for campaign_id in still:
            screen.line(
                f"{campaign_id} has the address and has not ended: erase it again once it has"
            )
    return NEEDS_A_PERSON if still else OK


async def _erase(
    status_address: str, sender_address: str, address: str, *, dry_run: bool
) -> tuple[sender_pb2.EraseAddressResponse, status_pb2.EraseAddressResponse]:
    async with status_client(status_address) as status, sender_client(sender_address) as sender:
        # The sender first: what it reported is then looked through.
        sent = await sender.erase_address(address=address, dry_run=dry_run)
        told = await status.erase_address(address=address, dry_run=dry_run)
        return sent, told
