"""Campaigns that send another one again to some of its people: selected, counted, copied.

The audience is copied in parts, each in a transaction of its own, up to a mark that the
store keeps: a call that broke off is repeated, and goes on at the mark.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sender_service.domain import Outcome
from sender_service.errors import RecipientsRemovedError
from sender_service.store import campaigns
from sender_service.store.erasure import ERASED_PREFIX
from sender_service.store.schema import campaigns as campaigns_table
from sender_service.store.schema import outcomes, recipients, resends

if TYPE_CHECKING:
    from sender_service.store.values import NewCampaign

#: Messages of the source that one transaction goes through.
MESSAGES_A_PART = 2_000


class Selection(NamedTuple):
    """Whom to send to: by outcome at the source, and those without one."""

    outcomes: frozenset[Outcome]
    include_unsent: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How many people were selected, by their outcome at the source."""

    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    unsent: int = 0

    @property
    def total(self) -> int:
        """How many that are."""
        return self.sent + self.failed + self.skipped + self.unknown + self.unsent

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            sent=self.sent + other.sent,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            unknown=self.unknown + other.unknown,
            unsent=self.unsent + other.unsent,
        )


def count(connection: sa.Connection, source: int, selection: Selection, *, first: int) -> Counts:
    """Count who is selected in the part of a campaign that begins with ``first``."""
    return _counts(connection, _selected(source, selection, first))


def first_selected(
    connection: sa.Connection, source: int, selection: Selection, *, first: int
) -> sa.Row[Any] | None:
    """Return the first recipient who is selected in a part; None: nobody is."""
    query = _selected(source, selection, first).order_by(recipients.c.sequence).limit(1)
    return connection.execute(query).first()


def insert(connection: sa.Connection, new: NewCampaign, source: int, selection: Selection) -> bool:
    """Store a campaign without its audience; False if it was there already.

    Raises:
        CampaignAlreadyExistsError: the id is taken by another campaign.
    """
    if not campaigns.insert(connection, new):
        return False
    row = campaigns.get(connection, new.organisation, new.campaign_id)
    connection.execute(
        sa.insert(resends).values(
            campaign=row.campaign,
            source=source,
            outcomes=json.dumps(sorted(selection.outcomes)),
            include_unsent=selection.include_unsent,
        )
    )
    return True


def check_kept(connection: sa.Connection, source: int) -> None:
    """Check that a campaign has its content and recipients still.

    Raises:
        RecipientsRemovedError: it does not.
    """
    columns = campaigns_table.c
    row = connection.execute(
        sa.select(
            columns.campaign_id, columns.content_remove_time, columns.recipients_remove_time
        ).where(columns.campaign == source)
    ).one()
    removed = row.recipients_remove_time or row.content_remove_time
    if removed is not None:
        raise RecipientsRemovedError(row.campaign_id, remove_time=removed)


def read_counts(connection: sa.Connection, campaign: int) -> Counts:
    """Return who was copied to a campaign by now."""
    row = connection.execute(sa.select(resends).where(resends.c.campaign == campaign)).one()
    return Counts(row.sent, row.failed, row.skipped, row.unknown, row.unsent)


def unfinished(connection: sa.Connection, organisation: str, campaign_id: str) -> int | None:
    """Return the number of a campaign whose audience is not copied whole; None: it is.

    None also where the campaign does not exist, or sends none again.
    """
    mine = campaigns_table.alias("mine")
    number: int | None = connection.execute(
        sa.select(resends.c.campaign)
        .join(mine, mine.c.campaign == resends.c.campaign)
        .join(campaigns_table, campaigns_table.c.campaign == resends.c.source)
        .where(
            mine.c.organisation == organisation,
            mine.c.campaign_id == campaign_id,
            resends.c.copied_through < campaigns_table.c.total,
        )
    ).scalar_one_or_none()
    return number


def copy_part(connection: sa.Connection, campaign: int) -> bool:
    """Copy the next part of the audience; True: it is whole.

    Who was uploaded to the campaign meanwhile is passed over.
    """
    row = connection.execute(
        sa.select(resends, campaigns_table.c.total)
        .join(campaigns_table, campaigns_table.c.campaign == resends.c.campaign)
        .where(resends.c.campaign == campaign)
        .with_for_update()
    ).one()
    last = connection.execute(
        sa.select(campaigns_table.c.total).where(campaigns_table.c.campaign == row.source)
    ).scalar_one()
    check_kept(connection, row.source)
    through = min(row.copied_through + MESSAGES_A_PART, last)
    selection = Selection(
        frozenset(Outcome(number) for number in json.loads(row.outcomes)), row.include_unsent
    )
    known = recipients.alias("known")
    selected = _selected(row.source, selection, row.copied_through + 1).where(
        ~sa.exists().where(known.c.campaign == campaign, known.c.address == recipients.c.address)
    )
    counts = _counts(connection, selected)
    copied = selected.subquery()
    number = sa.func.row_number().over(order_by=copied.c.sequence)
    connection.execute(
        sa.insert(recipients).from_select(
            ["campaign", "sequence", "address", "recipient_key", "fields"],
            sa.select(
                sa.literal(campaign),
                row.total + number,
                copied.c.address,
                copied.c.recipient_key,
                copied.c.fields,
            ),
        )
    )
    connection.execute(
        sa.update(campaigns_table)
        .where(campaigns_table.c.campaign == campaign)
        .values(total=campaigns_table.c.total + counts.total)
    )
    connection.execute(
        sa.update(resends)
        .where(resends.c.campaign == campaign)
        .values(
            copied_through=through,
            sent=resends.c.sent + counts.sent,
            failed=resends.c.failed + counts.failed,
            skipped=resends.c.skipped + counts.skipped,
            unknown=resends.c.unknown + counts.unknown,
            unsent=resends.c.unsent + counts.unsent,
        )
    )
    return bool(through == last)


def _selected(source: int, selection: Selection, first: int) -> sa.Select[Any]:
    conditions: list[sa.ColumnElement[bool]] = [outcomes.c.outcome.in_(sorted(selection.outcomes))]
    if selection.include_unsent:
        conditions.append(outcomes.c.outcome.is_(None))
    return (
        sa.select(
            recipients.c.sequence,
            recipients.c.address,
            recipients.c.recipient_key,
            recipients.c.fields,
            outcomes.c.outcome,
        )
        .select_from(
            recipients.outerjoin(
                outcomes,
                sa.and_(
                    outcomes.c.campaign == recipients.c.campaign,
                    outcomes.c.sequence == recipients.c.sequence,
                ),
            )
        )
        .where(
            recipients.c.campaign == source,
            recipients.c.sequence.between(first, first + MESSAGES_A_PART - 1),
            ~recipients.c.address.startswith(ERASED_PREFIX),
            sa.or_(*conditions),
        )
    )


def _counts(connection: sa.Connection, selected: sa.Select[Any]) -> Counts:
    part = selected.subquery()
    rows = connection.execute(sa.select(part.c.outcome, sa.func.count()).group_by(part.c.outcome))
    names = {None: "unsent"} | {outcome.value: outcome.name.lower() for outcome in Outcome}
    return Counts(**{names[row[0]]: row[1] for row in rows})
