"""GetDelivery and ListShards: totals by one query, problems, shards in pages."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from pysqlite3 import dbapi2

from closeout.errors import InvalidArgumentError, NotFoundError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub
from closeout.status.v1.status_pb2 import Campaign
from closeout.status.v1.status_pb2 import Problem as ProblemMessage
from integration import sender_support as support
from integration.sender_pair import Pair, pair
from sender_service.domain import (
    Guarantee,
    Outcome,
    Phase,
    Policy,
    Problem,
    ProblemKind,
    RetryPolicy,
)
from sender_service.errors import CampaignNotFoundError
from sender_service.store import campaigns, progress, schema
from sender_service.store.values import policy_of
from service_runtime.database_time import read_clock
from service_runtime.errors import InvalidRequestError
from service_runtime.pages import PageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service_runtime.database import Store
    from service_runtime.pages import Page

Totals = progress.DeliveryTotals


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with nothing in it."""
    async with support.open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with nothing in them."""
    async with pair(tmp_path) as services:
        yield services


async def totals(store: Store, organisation: str = support.ORGANISATION) -> Totals:
    return await store.read(
        partial(progress.read_totals, organisation=organisation, campaign_id="c1")
    )


async def page(store: Store, size: int, token: str = "", campaign_id: str = "c1") -> Page:
    return await store.read(
        partial(
            progress.list_shards,
            organisation=support.ORGANISATION,
            campaign_id=campaign_id,
            page=PageRequest(size, token),
        )
    )


async def set_shard(store: Store, shard: int, **values: Any) -> None:
    table = schema.shards
    change = sa.update(table).where(table.c.shard == shard).values(**values)
    await store.write(lambda connection: connection.execute(change))


async def test_totals_are_those_of_all_shards(store: Store) -> None:
    """What single rows say adds up: outcomes, doubt, what waits and what is unreported."""
    row = await support.add_campaign(store, messages=25, shard_size=10)
    now = datetime.now(UTC)
    await set_shard(store, 1, intent_through=10, journaled=10, reported=7)
    await set_shard(
        store, 2, intent_through=18, journaled=3, reported=3, owner="one", lease_expire_time=now
    )
    deferral = {"campaign": row.campaign, "shard": 2, "next_attempt_time": now}
    for sequence, attempting in ((11, False), (12, False), (13, True)):
        values = deferral | {"sequence": sequence, "attempting": attempting}
        await store.write(
            lambda connection, values=values: connection.execute(
                sa.insert(schema.deferrals).values(**values)
            )
        )
    assert await totals(store) == Totals(
        campaign=row.campaign,
        campaign_id="c1",
        phase=Phase.STARTED,
        total=25,
        finished=13,
        in_doubt=3,
        deferred=2,
        unreported=3,
        shards=3,
        finished_shards=1,
        leased_shards=1,
        problems=(),
        family="",
        resend_of="",
        guarantee=Guarantee(row.guarantee),
    )


async def test_a_campaign_without_shards_has_totals(store: Store) -> None:
    """Before the start nothing is in shards; absent and foreign campaigns are not found."""
    await store.write(partial(campaigns.insert, new=support.new_campaign()))
    found = await totals(store)
    assert (found.phase, found.total, found.shards) == (Phase.COLLECTING, 0, 0)
    assert (found.finished, found.in_doubt, found.unreported) == (0, 0, 0)
    with pytest.raises(CampaignNotFoundError):
        await totals(store, "rival")


async def set_outcome(store: Store, shard: int, entry: int, *, age: timedelta) -> None:
    """Write an outcome of the first campaign that was found out so long ago."""

    def work(connection: sa.Connection) -> None:
        values = {"campaign": 1, "sequence": 10 * (shard - 1) + entry, "shard": shard}
        values |= {"entry": entry, "outcome": Outcome.SENT.value, "attempt": 1}
        finish_time = read_clock(connection) - age
        connection.execute(sa.insert(schema.outcomes).values(**values, finish_time=finish_time))

    await store.write(work)


async def test_the_backlog_is_what_campaigns_at_work_have_not_reported(store: Store) -> None:
    """Its oldest outcome is the next one of a shard; one that has not begun counts for nothing."""
    await support.add_campaign(store, messages=40, shard_size=10)
    await support.add_campaign(
        store, messages=40, shard_size=10, campaign_id="frozen", started=False
    )
    assert await store.read(progress.read_backlog) == (0, 0.0, 0)
    for shard in (1, 2, 3):  # of the third one all is reported
        await set_outcome(store, shard, 1, age=timedelta(days=9))
        await set_outcome(store, shard, 2, age=timedelta(hours=shard))
        await set_shard(store, shard, intent_through=10 * shard, journaled=2, reported=1)
    await set_shard(store, 3, reported=2)
    await set_shard(store, 4, owner="one", lease_expire_time=datetime.now(UTC))
    found = await store.read(progress.read_backlog)
    assert (found.unreported, found.leased) == (2, 1)
    assert timedelta(hours=2) <= timedelta(seconds=found.oldest_seconds) < timedelta(hours=3)
    await set_outcome(store, 4, 1, age=-timedelta(days=1))  # the clock was set back
    await set_shard(store, 4, intent_through=40, journaled=1)
    for shard in (1, 2):
        await set_shard(store, shard, reported=2)
    found = await store.read(progress.read_backlog)
    assert (found.unreported, found.oldest_seconds) == (1, 0.0)


async def test_b3_a_look_at_the_backlog_goes_through_no_outcomes(store: Store) -> None:
    """Those of campaigns that have ended are kept for weeks, and a scrape comes every moment."""
    plans: list[str] = []

    def explain(*call: Any) -> None:
        connection, _, statement, values, *_ = call
        raw = connection.connection.driver_connection
        plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values))

    def work(connection: sa.Connection) -> None:
        sa.event.listen(connection, "before_cursor_execute", explain)
        progress.read_backlog(connection)

    await support.add_campaign(store, messages=1)
    await set_shard(store, 1, intent_through=1, journaled=1)
    await set_outcome(store, 1, 1, age=timedelta(hours=1))
    await store.read(work)
    (of_outcomes,) = (plan for plan in plans if " outcomes " in plan)
    assert of_outcomes.endswith("(campaign=? AND shard=? AND entry=?)"), plans
    (of_shards,) = (plan for plan in plans if " shards " in plan)
    assert of_shards.endswith("(campaign=?)"), plans


async def test_labels_are_kept_for_another_registration(store: Store) -> None:
    """A status service that lost the campaign gets its labels again from here."""
    new = support.new_campaign(labels={"list": "news"})
    await store.write(partial(campaigns.insert, new=new))
    row = await store.read(
        partial(campaigns.get, organisation=support.ORGANISATION, campaign_id="c1")
    )
    assert json.loads(row.labels) == {"list": "news"}


async def test_what_is_held_of_a_campaign_has_no_content(store: Store) -> None:
    """L5: however many campaigns are at work, their contents are in the database alone."""
    row = await support.add_campaign(store, messages=1, started=False)
    key = {"organisation": row.organisation, "campaign_id": row.campaign_id}
    begin = {"shard_size": 100, "start_time": None}
    held = [
        await store.read(partial(campaigns.get, **key)),
        await store.read(partial(campaigns.find, **key)),
        await store.write(partial(campaigns.freeze, **key, **begin)),
        *await store.read(campaigns.open_campaigns),
    ]
    assert len(held) == 4
    assert not any(hasattr(one, "content") for one in held)
    stored = await store.read(partial(campaigns.get_content, **key))
    assert json.loads(stored) == {"kind": "email", "subject": "Hello"}


async def test_a_campaigns_own_policy_comes_out_of_its_row(store: Store) -> None:
    """The deadline is the campaign's, or the sender's setting."""
    options = {"max_attempts": 0, "initial_backoff_ms": 250, "max_backoff_ms": 500}
    for campaign_id, deadline, expected in (("c1", 1500, 1.5), ("c2", None, 60.0)):
        changes = options | {"retry_deadline_ms": deadline}
        new = support.new_campaign(campaign_id, **changes)
        await store.write(partial(campaigns.insert, new=new))
        row = await store.read(
            partial(campaigns.get, organisation=support.ORGANISATION, campaign_id=campaign_id)
        )
        channel_retry = RetryPolicy(schedule=(1.0, 2.0))
        policy = policy_of(row, deadline_seconds=60.0, channel_retry=channel_retry)
        assert policy == Policy(
            Guarantee.AT_MOST_ONCE,
            RetryPolicy(
                expected, initial_backoff_seconds=0.25, max_backoff_seconds=0.5, max_attempts=0
            ),
        )


async def test_a_campaign_that_chose_no_waits_has_the_schedule_of_its_channel(
    store: Store,
) -> None:
    """Its limit of tries and its deadline stay those of the campaign."""
    options = {"max_attempts": 7, "initial_backoff_ms": 0, "max_backoff_ms": 0}
    new = support.new_campaign("c1", **options)
    await store.write(partial(campaigns.insert, new=new))
    row = await store.read(
        partial(campaigns.get, organisation=support.ORGANISATION, campaign_id="c1")
    )
    channel_retry = RetryPolicy(max_attempts=0, schedule=(1.0, 2.0))
    policy = policy_of(row, deadline_seconds=60.0, channel_retry=channel_retry)
    assert policy.retry == RetryPolicy(60.0, max_attempts=7, schedule=(1.0, 2.0))


async def test_problems_come_back_as_they_were_stored(store: Store) -> None:
    """Every field of every problem is kept, and nothing is left when they are gone."""
    row = await support.add_campaign(store, messages=1)
    problems = (
        Problem(
            ProblemKind.PROVIDER_UNREACHABLE,
            "the mail server refuses the sender's login",
            detail="535 5.7.8 authentication failed",
            setting="[smtp] password",
            provider="smtp",
            since_time=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
            needs_attention=True,
        ),
        Problem(ProblemKind.RESULTS_REJECTED, "refused"),
    )
    store_problems = partial(campaigns.store_problems, campaign=row.campaign)
    await store.write(partial(store_problems, problems=problems))
    assert (await totals(store)).problems == problems
    await store.write(partial(store_problems, problems=()))
    assert (await totals(store)).problems == ()


async def test_shards_come_in_pages_by_key(store: Store) -> None:
    """Each shard is on one page, in order, and the last page has no token."""
    await support.add_campaign(store, messages=25, shard_size=5)
    await support.add_campaign(store, messages=5, shard_size=5, campaign_id="c2")
    seen: list[int] = []
    token = ""
    for _ in range(3):
        found = await page(store, 2, token)
        seen += [row.shard for row in found.rows]
        token = found.next_page_token
    assert (seen, token) == ([1, 2, 3, 4, 5], "")
    whole = await page(store, 5)
    assert (len(whole.rows), whole.next_page_token) == (5, "")


async def test_a_page_token_is_of_one_list(store: Store) -> None:
    """A token of another campaign, or made up, is refused."""
    await support.add_campaign(store, messages=25, shard_size=5)
    await support.add_campaign(store, messages=25, shard_size=5, campaign_id="c2")
    token = (await page(store, 2)).next_page_token
    for campaign_id, given in (("c2", token), ("c1", "nonsense")):
        with pytest.raises(InvalidRequestError, match="page_token"):
            await page(store, 2, given, campaign_id)
    with pytest.raises(CampaignNotFoundError):
        await page(store, 2, "", "absent")


async def test_a_delivery_at_work_says_its_state_and_revision(both: Pair) -> None:
    """The state that the sender acts on is that of the status service, with its revision."""
    await both.hold_calls()
    await both.begin("c", 120)

    async def state() -> int:
        return (await both.sender.get_delivery(campaign_id="c")).state

    await support.eventually(lambda: _is(state(), Campaign.SENDING))
    await both.status.pause_campaign(campaign_id="c")
    await support.eventually(lambda: _is(state(), Campaign.PAUSED))
    delivery = await both.sender.get_delivery(campaign_id="c")
    campaign = await both.status.get_campaign(campaign_id="c")
    assert delivery.revision == campaign.revision > 1
    assert (delivery.total, delivery.shards) == (120, 3)
    shards = [shard async for shard in both.sender.list_shards(campaign_id="c", page_size=1)]
    assert [shard.last_sequence for shard in shards] == [50, 100, 120]


async def _is(value: Any, expected: int) -> bool:
    return bool(await value == expected)


async def test_a_status_service_that_is_away_is_a_problem(both: Pair) -> None:
    """Whoever waits for results learns that they can't be reported, and what to set."""
    await both.hold_calls()
    await both.begin("c", 5)
    await both.stop_status()

    async def problems() -> list[ProblemMessage]:
        found = await both.sender.get_delivery(campaign_id="c")
        return list(found.problems)

    (problem,) = await support.eventually(problems)
    assert problem.kind == ProblemMessage.STATUS_SERVICE_UNREACHABLE
    assert problem.setting == "[sender] status_address"
    assert problem.detail
    assert problem.HasField("since_time")
    both.channel.hold.set()
    await both.start_status()
    assert not (await both.finished("c")).problems


async def test_before_the_start_there_is_no_state(both: Pair) -> None:
    """A campaign that is not at work has no state of the sender's, and no page of shards."""
    await both.create("c", 5)
    delivery = await both.sender.get_delivery(campaign_id="c")
    assert (delivery.state, delivery.revision) == (Campaign.STATE_UNSPECIFIED, 0)
    assert [shard async for shard in both.sender.list_shards(campaign_id="c")] == []


async def test_s13_progress_of_a_foreign_campaign_is_not_found(both: Pair) -> None:
    """GetDelivery, ListShards and StartCampaign do not find it."""
    await both.create("c", 5)
    with contextlib.closing(dbapi2.connect(both.folder / "sender.db")) as connection, connection:
        connection.execute("UPDATE campaigns SET organisation = 'rival'")
    with pytest.raises(NotFoundError):
        await both.sender.get_delivery(campaign_id="c")
    with pytest.raises(NotFoundError):
        await anext(both.sender.list_shards(campaign_id="c"))
    with pytest.raises(NotFoundError):
        await both.sender.start_campaign(campaign_id="c")


async def test_a_long_id_is_refused_with_its_field(both: Pair) -> None:
    """An answer about an id of any length fits, and says what is wrong."""
    with pytest.raises(InvalidArgumentError) as refused:
        await both.sender.get_delivery(campaign_id="x" * 100_000)
    assert list(refused.value.field_violations) == ["campaign_id"]


async def test_a_start_time_out_of_range_is_refused(both: Pair) -> None:
    """A time that no calendar has is INVALID_ARGUMENT, and nothing is frozen by it."""
    await both.create("c", 5)
    stub: Any = both.sender._stub
    request = pb.StartCampaignRequest(campaign_id="c", start_time={"seconds": 2**62})
    assert isinstance(both.sender._stub, SenderServiceStub)
    with pytest.raises(InvalidArgumentError) as refused:
        await both.sender._call(stub.StartCampaign, request, None)
    assert list(refused.value.field_violations) == ["start_time"]
    delivery = await both.sender.get_delivery(campaign_id="c")
    assert delivery.phase == pb.GetDeliveryResponse.COLLECTING
