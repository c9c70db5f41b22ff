"""Campaigns of a family in a sender's store, without any service around it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from integration import sender_support as support
from sender_service.campaigns import repetition
from sender_service.domain import Outcome, Repeat
from sender_service.store import campaigns, outbox, recipients, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service_runtime.database import Store

DAY_MS = 24 * 3600 * 1000


async def add(
    store: Store,
    campaign_id: str,
    names: Iterable[str],
    *,
    organisation: str = support.ORGANISATION,
    **changes: Any,
) -> None:
    """Store a campaign of the family F that collects recipients."""
    values = {"family": "F", "repeat_after_ms": 7 * DAY_MS} | changes
    new = support.new_campaign(campaign_id, organisation=organisation, **values)
    await store.write(partial(campaigns.insert, new=new))
    await upload(store, campaign_id, names, organisation=organisation)


async def upload(
    store: Store,
    campaign_id: str,
    names: Iterable[str],
    *,
    organisation: str = support.ORGANISATION,
) -> None:
    """Upload more recipients."""
    await store.write(
        partial(
            recipients.take_batch,
            organisation=organisation,
            campaign_id=campaign_id,
            upload_id="+".join(names),
            first_row=0,
            rows=support.rows_of(names),
        )
    )


async def freeze(
    store: Store,
    campaign_id: str,
    repeat: Repeat = Repeat.REFUSE,
    *,
    organisation: str = support.ORGANISATION,
    shard_size: int = 100,
) -> sa.Row[Any]:
    """Freeze a campaign as StartCampaign does."""
    return await repetition.freeze(
        store,
        organisation,
        campaign_id,
        shard_size=shard_size,
        start_time=None,
        start_now=False,
        repeat=repeat,
    )


async def left_out(store: Store, campaign: int) -> list[str]:
    """Return who is on the list of a campaign that counts."""
    query = (
        sa.select(schema.recipients.c.address)
        .join(
            schema.left_out,
            sa.and_(
                schema.left_out.c.campaign == schema.recipients.c.campaign,
                schema.left_out.c.sequence == schema.recipients.c.sequence,
            ),
        )
        .join(
            schema.campaigns,
            sa.and_(
                schema.campaigns.c.campaign == schema.left_out.c.campaign,
                schema.campaigns.c.left_out_list == schema.left_out.c.list,
            ),
        )
        .where(schema.campaigns.c.campaign == campaign)
    )
    return sorted(row.address for row in await support.rows(store, query))


async def end(store: Store, campaign: int, outcomes: Mapping[str, Outcome]) -> None:
    """Give people of a campaign their outcomes, as its only shard would, and finish it.

    Those who are not named, and are not left out, keep none.
    """
    people = schema.recipients.c
    found = await support.rows(
        store, sa.select(schema.recipients).where(people.campaign == campaign)
    )
    numbers = {row.address: row.sequence for row in found}

    def work(connection: sa.Connection) -> None:
        outbox.append(
            connection,
            campaign,
            1,
            [
                (numbers[name], outcome.value, 1, "", "", "", 1)
                for name, outcome in outcomes.items()
            ],
            first_entry=1,
        )
        connection.execute(
            sa.update(schema.campaigns)
            .where(schema.campaigns.c.campaign == campaign)
            .values(phase="FINISHED")
        )

    await store.write(work)
