"""Deliveries in the database: whose turn it is, what is written, and what it costs to ask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from integration.databases import Database
from service_runtime.database import Store
from service_runtime.database_time import read_clock
from service_runtime.pages import PageRequest
from status_service import schema
from status_service.events import event_list, queue
from status_service.events.answer import Answer
from status_service.events.queue import Bounds, Due, Tried
from status_service.migrations import MIGRATIONS
from status_service.recording import duty

_TAKEN = Answer(delivered=True, text="204")
_REFUSED = Answer(delivered=False, text="500")


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """An empty database with the tables of the status service."""
    opened = Store(database.url, MIGRATIONS, holder="test")
    yield opened
    opened.close()


async def _fill(
    store: Store,
    *,
    organisations: int,
    subscriptions: int,
    campaigns: int,
    events: int = 1,
    waiting: int = 1_000,
) -> None:
    """Add events that each subscription of their organisation gets, due long ago.

    The first ``waiting`` events are still to be delivered.
    """
    recipients = [
        (number + 1, f"o{number // subscriptions}")
        for number in range(organisations * subscriptions)
    ]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[tuple[sa.Table, list[dict[str, object]]]] = [
        (
            schema.subscriptions,
            [
                {
                    "subscription": number,
                    "organisation": organisation,
                    "subscription_id": f"s{number}",
                    **dict.fromkeys(("url", "secret", "kinds", "labels", "creator"), ""),
                    "create_time": now,
                }
                for number, organisation in recipients
            ],
        ),
        (
            schema.campaigns,
            [
                {
                    "campaign": number + 1,
                    "organisation": f"o{number // campaigns}",
                    "campaign_id": f"c{number + 1}",
                    "create_time": now,
                }
                for number in range(organisations * campaigns)
            ],
        ),
    ]

    def fill(connection: sa.Connection) -> None:
        for table, values in rows:
            connection.execute(sa.insert(table), values)
        each = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(1, events + 1))
        connection.exec_driver_sql(
            "INSERT INTO events"  # noqa: S608 - numbers
            " (event, organisation, campaign, event_id, kind, create_time, publish_time)"
            f" SELECT (campaign - 1) * {events} + number, organisation, campaign,"
            f" 'e' || ((campaign - 1) * {events} + number), 'campaign.completed', create_time,"
            f" create_time FROM campaigns CROSS JOIN ({each}) AS numbers"
        )
        connection.exec_driver_sql(
            "INSERT INTO deliveries"  # noqa: S608 - a number
            " (event, subscription, campaign, state, attempts, next_time, answer)"
            " SELECT event, subscription, campaign,"
            f" CASE WHEN event <= {waiting} THEN 'PENDING' ELSE 'DELIVERED' END,"
            " 0, publish_time, '' FROM events JOIN subscriptions USING (organisation)"
        )

    await store.write(fill)


async def _due(store: Store, busy: set[tuple[int, int]], bounds: Bounds | None = None) -> list[Due]:
    return await store.read(lambda connection: queue.due(connection, busy, bounds or Bounds()))


async def _rows(store: Store, statement: str) -> list[tuple[Any, ...]]:
    return await store.read(
        lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)]
    )


async def test_no_subscription_and_no_organisation_gets_more_than_its_part(store: Store) -> None:
    """Though all of it hangs: what is being tried counts."""
    await _fill(store, organisations=3, subscriptions=4, campaigns=10)
    bounds = Bounds(all=40, organisation=12, subscription=5)
    first = await _due(store, set(), bounds)
    by_subscription = Counter(one.subscription for one in first)
    by_organisation = Counter((one.subscription - 1) // 4 for one in first)
    assert max(by_subscription.values()) <= 5
    assert set(by_organisation.values()) == {12}
    busy = {(one.subscription, one.campaign) for one in first}
    assert await _due(store, busy, bounds) == []
    others = {pair for pair in busy if (pair[0] - 1) // 4 != 2}
    assert {(one.subscription - 1) // 4 for one in await _due(store, others, bounds)} == {2}


async def test_of_a_campaign_the_oldest_alone_is_tried(store: Store) -> None:
    """What is behind it waits as long as it does, and comes when it ended in any way."""
    await _fill(store, organisations=1, subscriptions=1, campaigns=1, events=3)
    for delivered in (True, False, True):
        (one,) = await _due(store, set())
        later = one.now + timedelta(hours=1)
        tried = Tried(one, one.now, _REFUSED, later)
        await store.write(lambda connection, tried=tried: queue.record(connection, [tried]))
        assert await _due(store, set()) == []
        times = await _rows(
            store, "SELECT DISTINCT next_time FROM deliveries WHERE state = 'PENDING'"
        )
        assert len(times) == 1
        again = Due(*one[:5], 1, one.now, *one[7:])
        tried = Tried(again, one.now, _TAKEN if delivered else _REFUSED, None)
        await store.write(lambda connection, tried=tried: queue.record(connection, [tried]))
    assert await _due(store, set()) == []
    states = await _rows(store, "SELECT state FROM deliveries ORDER BY event")
    assert states == [("DELIVERED",), ("DEAD",), ("DELIVERED",)]


@pytest.mark.parametrize("answer", [_TAKEN, _REFUSED])
async def test_what_is_replayed_or_tried_by_another_is_not_undone(
    store: Store, answer: Answer
) -> None:
    """The end of a try that began before a replay, or before the duty was lost."""
    await _fill(store, organisations=1, subscriptions=1, campaigns=1)
    (one,) = await _due(store, set())
    old = Due(*one[:5], 7, one.now - timedelta(days=1), *one[7:])
    before = await _rows(store, "SELECT * FROM deliveries")
    await store.write(
        lambda connection: queue.record(connection, [Tried(old, one.now, answer, None)])
    )
    assert await _rows(store, "SELECT * FROM deliveries") == before
    written = Tried(one, one.now, _REFUSED, one.now + timedelta(hours=1))
    for _ in range(2):  # the second time after a commit whose outcome was not known
        await store.write(lambda connection: queue.record(connection, [written]))
    assert await _rows(store, "SELECT attempts FROM deliveries") == [(1,)]


async def test_a_clock_that_went_back_leaves_no_delivery_waiting_for_days(store: Store) -> None:
    """What is planned for later than anything can be is due at once."""
    await _fill(store, organisations=1, subscriptions=1, campaigns=1)
    await store.write(
        lambda connection: connection.exec_driver_sql(
            "UPDATE deliveries SET next_time = 99999999999999999"
        )
    )
    look = await store.read(lambda connection: queue.look(connection, set(), Bounds()))
    assert (look.astray, look.due) == (True, [])
    await store.write(queue.bring_back)
    look = await store.read(lambda connection: queue.look(connection, set(), Bounds()))
    assert not look.astray
    assert len(look.due) == 1


async def test_one_at_a_time_has_the_duty(store: Store) -> None:
    """It is free after its lease, when it is left, and when its time is none that can be."""
    is_alone = store.dialect == "sqlite"

    async def take(holder: str) -> bool:
        return bool(await store.write(lambda connection: duty.take(connection, "d", holder)))

    async def holds(holder: str) -> bool:
        return await store.write(lambda connection: duty.holds(connection, "d", holder))

    async def shift(span: timedelta) -> None:
        def write(connection: sa.Connection) -> None:
            until = read_clock(connection) + span
            connection.execute(sa.update(duty.duties).values(until_time=until))

        await store.write(write)

    assert await take("a")
    assert await take("a")
    assert await holds("a")
    assert not await holds("b")
    # On SQLite, whoever asks is the only process: the other one was killed.
    assert await take("b") == is_alone
    for span in (timedelta(seconds=-1), timedelta(days=1)):
        await take("a")
        await shift(span)
        assert await take("b")
        assert not await holds("a")
        await store.write(lambda connection: duty.leave(connection, "d", "a"))
        assert await holds("b"), "it was not a's to leave"
        await store.write(lambda connection: duty.leave(connection, "d", "b"))
        assert await take("a")


async def test_a_look_and_a_list_read_a_few_rows_of_100_000(store: Store) -> None:
    """No statement walks a table, whatever is asked for and however much waits."""
    # As in life, most of it has arrived.
    await _fill(store, organisations=2, subscriptions=2, campaigns=12_500, events=2)
    if store.dialect == "postgresql":
        await store.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
    asked: list[tuple[str, Any]] = []

    def work(connection: sa.Connection) -> None:
        def note(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
            asked.append((statement, values))

        sa.event.listen(connection, "before_cursor_execute", note)
        assert len(queue.look(connection, set(), Bounds()).due) == 16
        for campaign, subscription, state in (
            ("", "", ""),
            ("c7", "", ""),
            ("", "s1", ""),
            ("", "s1", "DEAD"),
            ("c7", "s1", "PENDING"),
        ):
            event_list.list_events(
                connection,
                "o0",
                PageRequest(10, ""),
                campaign_id=campaign,
                subscription_id=subscription,
                state=state,
            )
        sa.event.remove(connection, "before_cursor_execute", note)
        explain = "EXPLAIN QUERY PLAN " if store.dialect == "sqlite" else "EXPLAIN "
        for statement, values in asked:
            plan = connection.exec_driver_sql(explain + statement, values)
            text = "\n".join(str(row[-1]) for row in plan)
            for table in ("deliveries", "events", "campaigns"):
                whole = rf"SCAN {table}\b(?! USING)|SCAN earlier|Seq Scan on {table}"
                assert not re.search(whole, text), f"{statement}\n{text}"

    await store.read(work)
