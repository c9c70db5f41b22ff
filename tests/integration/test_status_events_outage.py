"""Events while PostgreSQL is gone in the middle of a delivery."""

from __future__ import annotations

import asyncio

from closeout.aio import EventClient
from integration.databases import PostgresqlDatabase
from integration.status_support import eventually, serving
from providers.event_receiver import receiving
from providers.postgresql_server import PostgresqlServer


async def test_what_was_tried_while_the_database_was_gone_is_written_when_it_is_back() -> None:
    """The publisher goes on by itself; each event arrives, with one body for its id."""
    with PostgresqlServer() as server:
        database = PostgresqlDatabase(server.create_database())
        async with (
            receiving() as receiver,
            serving(database, webhooks_allow_private=True) as status,
            EventClient(status.address) as events,
        ):
            receiver.behaviour = lambda number, _: 1.0 if number == 0 else 0.0
            await events.create_subscription(url=receiver.url, kinds=["campaign.completed"])
            await status.start("a", 0)

            async def tried() -> bool:
                return bool(receiver.deliveries)

            await eventually(tried, what="the first try")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)

            async def stored() -> bool:
                rows = status.execute("SELECT count(*) FROM deliveries WHERE state = 'DELIVERED'")
                return bool(rows[0][0])

            await eventually(stored, what="what came of the try is written")
            await status.start("b", 0)

            async def both() -> bool:
                return {one.event["subject"] for one in receiver.deliveries} == {"a", "b"}

            await eventually(both, what="the next event")
            for campaign_id in ("a", "b"):
                of_it = [one for one in receiver.deliveries if one.event["subject"] == campaign_id]
                assert len({one.body for one in of_it}) == 1
