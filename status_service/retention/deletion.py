"""A campaign is deleted: in one small transaction nobody finds it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.domain import State
from status_service.errors import CampaignNotEndedError, CampaignNotFoundError
from status_service.recording import deleted, lookup
from status_service.recording.ledger import check_revision, lock
from status_service.recording.types import CampaignKey, key_of
from status_service.schema import campaign_labels, campaigns, deleted_campaigns, removals

if TYPE_CHECKING:
    from datetime import datetime

    from service_runtime.caller import Caller

#: What is kept of a deleted campaign as it was.
_KEPT = (
    "organisation",
    "campaign_id",
    "campaign",
    "display_name",
    "state",
    "total",
    "sent",
    "failed",
    "skipped",
    "unknown",
    "create_time",
    "end_time",
)
#: The organisation of a row whose campaign was deleted: that of nobody.
NOBODY = ""


class Deleted(NamedTuple):
    """What a call to delete did.

    Attributes:
        campaign: what the campaign was: its row, or that of ``deleted_campaigns``.
        is_news: true if this call deleted it, or would.
        delete_time: when it was deleted; None: it was not.
    """

    campaign: sa.Row[Any]
    is_news: bool
    delete_time: datetime | None


def delete(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    *,
    reason: str,
    revision: int,
    dry_run: bool,
) -> Deleted:
    """Delete a campaign that has ended; what it leaves is removed later, bit by bit.

    Its row stays until then, as one of no organisation: so every statement that names an
    organisation passes it over, those that lock rows as well.

    Args:
        connection: in a write transaction; with ``dry_run`` on a snapshot.
        caller: who deletes it.
        campaign_id: of the caller's organisation.
        reason: why, for the record.
        revision: the revision it must have; 0: any.
        dry_run: change nothing.

    Raises:
        CampaignNotFoundError: there is none, and there was none.
        RevisionMismatchError: it changed since the caller read it.
        CampaignNotEndedError: it is not in a terminal state.
    """
    key = CampaignKey(caller.organisation, campaign_id)
    campaign = _get(connection, key, locked=not dry_run)
    if campaign is None:
        before = deleted.find(connection, key)
        if before is None:
            raise CampaignNotFoundError(campaign_id)
        return Deleted(before, is_news=False, delete_time=before.delete_time)
    check_revision(campaign, revision)
    if not State(campaign.state).is_terminal:
        raise CampaignNotEndedError(campaign_id, state=State(campaign.state))
    if dry_run:
        return Deleted(campaign, is_news=True, delete_time=None)
    now = read_clock(connection)
    connection.execute(
        sa.insert(deleted_campaigns).values(
            **{name: getattr(campaign, name) for name in _KEPT},
            actor=caller.actor,
            on_behalf_of=caller.on_behalf_of,
            reason=reason,
            delete_time=now,
        )
    )
    _disown(connection, campaign.campaign, now)
    return Deleted(campaign, is_news=True, delete_time=now)


def _get(connection: sa.Connection, key: CampaignKey, *, locked: bool) -> sa.Row[Any] | None:
    if locked:
        return lock(connection, [key]).get(key)
    return {key_of(row): row for row in lookup.get_many(connection, [key])}.get(key)


def _disown(connection: sa.Connection, number: int, now: datetime) -> None:
    """Let nobody find a campaign any more, and have it removed."""
    columns = campaigns.c
    connection.execute(
        sa.update(campaigns)
        .where(columns.campaign == number)
        .values(
            organisation=NOBODY,
            campaign_id=str(number),  # no other row of nobody has it
            request_id=None,
            display_name="",
            labels="{}",
            results_remove_time=now,
            events_remove_time=now,
            revision=columns.revision + 1,
        )
    )
    connection.execute(sa.delete(campaign_labels).where(campaign_labels.c.campaign == number))
    # All of it goes, so no part of it has to go by itself.
    connection.execute(sa.delete(removals).where(removals.c.campaign == number))
    connection.execute(sa.insert(removals).values(campaign=number, what="campaign"))
