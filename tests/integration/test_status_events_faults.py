"""Events when people and databases do what they should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from aiohttp import web

from closeout.aio import EventClient, StatusClient
from closeout.errors import NotFoundError, ResourceExhaustedError
from closeout.status.v1 import events_pb2 as pb
from integration.databases import Database, PostgresqlDatabase
from integration.migrated import MigratedDatabases
from integration.status_support import (
    FAILED,
    Status,
    eventually,
    results,
    serving,
    status_settings,
)
from providers.event_receiver import Receiver, receiving
from providers.postgresql_server import PostgresqlServer
from service_runtime.database import Store
from status_service.campaigns import alarms
from status_service.events.courier import courier
from status_service.events.kinds import KINDS
from status_service.events.publisher import Publisher
from status_service.migrations import MIGRATIONS
from status_service.recording.types import CampaignKey
from status_service.schema import duties
from status_service.server import running

COMPLETED = ["campaign.completed"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver of events."""
    async with receiving() as made:
        yield made


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    """A status service that may reach this machine, whose own pass never runs again."""
    async with serving(
        database, webhooks_allow_private=True, reconcile_interval_seconds=3_600
    ) as service:
        yield service


@pytest.fixture
async def events(status: Status) -> AsyncIterator[EventClient]:
    """Its client."""
    async with EventClient(status.address) as client:
        yield client


async def _accepted(receiver: Receiver, number: int) -> None:
    async def enough() -> bool:
        return len(receiver.events()) >= number

    await eventually(enough, what=f"{number} events")


async def _pending(events: EventClient, campaign_id: str) -> list[pb.Delivery]:
    found = [event async for event in events.list_events(campaign_id=campaign_id)]
    return [one for event in found for one in event.deliveries if one.attempts]


async def test_the_client_does_all_there_is(
    status: Status, events: EventClient, receiver: Receiver
) -> None:
    """Each method reaches its rpc; what happened before can be replayed."""
    await status.start("before", 0)
    made = await events.create_subscription(url=receiver.url, kinds=COMPLETED, labels={"a": "b"})
    subscription_id = made.subscription.subscription_id
    assert made.secret.startswith("whsec_")
    listed = await events.list_subscriptions()
    assert list(listed.subscriptions) == [made.subscription]
    found = [event async for event in events.list_events(campaign_id="before", page_size=1)]
    assert [event.kind for event in found] == [
        "campaign.completed",
        "campaign.sending",
        "campaign.draft",
    ]
    replayed = await events.replay_events(
        subscription_id=subscription_id, event_ids=[found[0].event_id]
    )
    assert (replayed.replayed_events, replayed.more) == (1, False)
    await _accepted(receiver, 1)
    assert receiver.deliveries[0].event["id"] == found[0].event_id
    await events.delete_subscription(subscription_id=subscription_id)
    with pytest.raises(NotFoundError):
        await events.delete_subscription(subscription_id=subscription_id)


@pytest.mark.usefixtures("soon_tried_again")
async def test_an_answer_with_any_bytes_is_stored(
    status: Status, events: EventClient, receiver: Receiver
) -> None:
    """A database that takes no NUL gets none, and the publisher goes on."""
    receiver.behaviour = lambda number, _: web.Response(
        status=500 if number == 0 else 204, body=b"\0\x1b\xff no"
    )
    await events.create_subscription(url=receiver.url, kinds=COMPLETED)
    await status.start("a", 0)

    async def tried() -> bool:
        return bool(await _pending(events, "a"))

    await eventually(tried, what="the answer is stored")
    await _accepted(receiver, 1)
    assert len({one.event["id"] for one in receiver.deliveries}) == 1


async def test_twenty_subscriptions_whoever_races(status: Status, events: EventClient) -> None:
    """Thirty at once: twenty are made."""
    url = "https://example.com/"
    made = await asyncio.gather(
        *(events.create_subscription(url=url) for _ in range(30)), return_exceptions=True
    )
    refused = [one for one in made if isinstance(one, BaseException)]
    assert len(refused) == 10
    assert {type(one) for one in refused} == {ResourceExhaustedError}
    assert len((await events.list_subscriptions()).subscriptions) == 20
    assert status.execute("SELECT count(*) FROM subscriptions")[0][0] == 20


async def test_a_subscription_that_ends_while_it_is_tried_leaves_nothing(
    status: Status, events: EventClient, receiver: Receiver
) -> None:
    """The end of the try changes nothing, and no row stays."""
    receiver.behaviour = lambda *_: 1.0
    made = await events.create_subscription(url=receiver.url, kinds=COMPLETED)
    for number in range(20):
        await status.start(f"c{number}", 0)

    async def tried() -> bool:
        return bool(receiver.deliveries)

    await eventually(tried, what="a try")
    await events.delete_subscription(subscription_id=made.subscription.subscription_id)

    async def gone() -> bool:
        tables = ("deliveries", "subscriptions")
        return not any(
            status.execute(f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608
            for table in tables
        )

    await eventually(gone, what="nothing is left")


async def test_a_campaign_that_was_taken_out_by_hand_holds_up_no_event(
    status: Status, events: EventClient, receiver: Receiver
) -> None:
    """Its events go to nobody and are listed to nobody; a replay of one says that it is none."""
    made = await events.create_subscription(url=receiver.url, kinds=COMPLETED)
    nowhere = receiver.url.replace("/events", "/moved")
    await status.start("gone", 0)
    await _accepted(receiver, 1)
    rivals = await events.create_subscription(url=nowhere, kinds=KINDS)
    (event, *_) = [event async for event in events.list_events(campaign_id="gone")]
    with status.database.by_hand() as connection:
        connection.execute("UPDATE events SET transition = NULL, publish_time = NULL")
        connection.execute("DELETE FROM transitions")
        # Another organisation's campaign gets the number, as on SQLite by itself.
        connection.execute("UPDATE campaigns SET organisation = 'rival', campaign_id = 'rivals'")
        connection.execute(
            "UPDATE subscriptions SET organisation = 'rival' WHERE subscription_id = ?",
            (rivals.subscription.subscription_id,),
        )
    await status.start("next", 0)
    await _accepted(receiver, 2)
    assert receiver.events()[-1]["subject"] == "next"
    assert receiver.followed == 0, "the other organisation gets nothing"
    assert [event async for event in events.list_events(campaign_id="gone")] == []
    with pytest.raises(NotFoundError) as caught:
        await events.replay_events(
            subscription_id=made.subscription.subscription_id, event_ids=[event.event_id]
        )
    assert caught.value.reason == "EVENT_NOT_FOUND"


async def test_what_one_instance_found_is_judged_again_before_it_is_announced(
    status: Status,
) -> None:
    """Another one saw the recovery meanwhile: nothing flaps."""
    await status.start("a", 1_000)
    await status.report("a", *results(range(1, 11), FAILED))
    await status.report("a", *results(range(11, 101)))
    patience = timedelta(hours=1)
    kind = alarms.FAILURE_RATE_HIGH
    alarm = alarms.Alarm(CampaignKey("default", "a"), kind)
    with _writing(status.database) as connection:
        assert alarms.announce(connection, alarm, patience)
        assert not alarms.announce(connection, alarm, patience), "announced once"
    await status.report("a", *results(range(101, 111)))  # 10 of 110: near to a tenth
    with _writing(status.database) as connection:
        assert not alarms.clear(connection, alarm, patience)
    assert _raised(status) == [alarm]
    await status.report("a", *results(range(111, 300)))
    with _writing(status.database) as connection:
        alarms.clear(connection, alarm, patience)
        assert not alarms.announce(connection, alarm, patience), "it is over"
    kinds = status.execute("SELECT kind FROM events ORDER BY event")
    assert [row[0] for row in kinds].count(kind) == 1
    assert _raised(status) == []


async def test_an_alarm_stays_as_long_as_there_is_reason_for_it(status: Status) -> None:
    """Another instance may believe that it is over; the end of the reason clears it."""
    await status.start("a", 10)
    await status.start("b", 10)
    of_a, of_b = (alarms.Alarm(CampaignKey("default", name), alarms.STALLED) for name in "ab")
    none, some = timedelta(seconds=-1), timedelta(hours=1)
    with _writing(status.database) as connection:
        assert not alarms.announce(connection, of_a, some), "it has just begun"
        assert alarms.announce(connection, of_a, none)
        assert alarms.announce(connection, of_b, none)
        assert not alarms.clear(connection, of_a, none)
    assert sorted(_raised(status)) == [of_a, of_b]
    with _writing(status.database) as connection:
        assert alarms.clear(connection, of_a, some)
        assert not alarms.clear(connection, of_a, some), "announced once"
    assert _raised(status) == [of_b]
    with _writing(status.database) as connection:
        of_both = alarms.Alarm(of_b.key, alarms.FAILURE_RATE_HIGH)
        assert not alarms.clear(connection, of_both, some), "it was never raised"
    assert _raised(status) == [of_b]
    kinds = status.execute("SELECT kind FROM events ORDER BY event")
    assert [row[0] for row in kinds].count(alarms.RECOVERED) == 1


def _raised(status: Status) -> list[alarms.Alarm]:
    """Return the alarms that there are."""
    with _writing(status.database) as connection:
        return alarms.raised(connection)


@contextmanager
def _writing(database: Database) -> Iterator[sa.Connection]:
    engine = database.engine()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


async def test_a_stop_while_the_duty_is_taken_leaves_it(
    postgresql_server: PostgresqlServer,
) -> None:
    """An instance that stops as it begins lets no other one wait for its lease to end."""
    url = postgresql_server.create_database()
    store = await asyncio.to_thread(Store, url, MIGRATIONS, holder="test")
    try:
        with PostgresqlDatabase(url).by_hand() as hand:
            hand.execute(
                "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END'"
            )
            hand.execute(
                "CREATE TRIGGER held BEFORE INSERT ON duties FOR EACH ROW EXECUTE FUNCTION held()"
            )
        with PostgresqlDatabase(url).by_hand() as hand:
            hand.execute("SELECT pg_advisory_xact_lock(7)")
            async with courier(allow_private=True) as delivering:
                publisher = Publisher(store, delivering, stall_threshold=timedelta(minutes=5))
                publishing = asyncio.create_task(publisher.run())

                async def waits() -> bool:
                    query = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted"
                    return bool(hand.execute(query).fetchone()["n"])

                await eventually(waits, what="the duty is being taken")
                publishing.cancel()
                await asyncio.wait([publishing], timeout=0.5)  # until then a wrong one has ended
                hand.execute("COMMIT")
                await asyncio.wait([publishing])
        kept = await store.read(lambda connection: connection.execute(sa.select(duties)).all())
        assert kept == []
    finally:
        await asyncio.to_thread(store.close)


async def test_another_instance_goes_on_when_one_stops(
    status_databases: MigratedDatabases,
    tmp_path_factory: pytest.TempPathFactory,
    receiver: Receiver,
) -> None:
    """Two on one database: the duty is left at once, and each event is delivered once."""
    url = status_databases.take()
    async with AsyncExitStack() as second:
        async with AsyncExitStack() as first:
            addresses = []
            for stack in (first, second):
                settings = status_settings(
                    tmp_path_factory.mktemp("status"),
                    database_url=url,
                    webhooks_allow_private=True,
                )
                addresses.append((await stack.enter_async_context(running(settings))).address)
            client = await second.enter_async_context(StatusClient(addresses[1]))
            events = await second.enter_async_context(EventClient(addresses[1]))
            await events.create_subscription(url=receiver.url, kinds=COMPLETED)
            await client.create_campaign(campaign_id="a")
            await client.start_campaign(campaign_id="a", total=0)
            await _accepted(receiver, 1)
        await client.create_campaign(campaign_id="b")
        await client.start_campaign(campaign_id="b", total=0)
        await _accepted(receiver, 2)
        assert [event["subject"] for event in receiver.events()] == ["a", "b"]
    status_databases.give_back(url)
