"""Two campaigns of one family never miss each other, whatever happens at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from closeout.errors import FailedPreconditionError
from closeout.sender.v1 import sender_pb2 as pb
from integration import sender_support as support
from integration.family_store import DAY_MS, add, end, freeze, left_out, upload
from integration.family_support import create, got
from integration.sender_pair import pair
from sender_service.campaigns import repetition
from sender_service.domain import Outcome, Repeat
from sender_service.errors import AudienceRepeatedError
from sender_service.store import campaigns, families, resends, schema
from sender_service.store.resends import Selection
from service_runtime.database import Store

ROUNDS = 10


class Racing(Store):
    """A store in which something else is committed before a write."""

    before: Callable[[], Any] | None = None

    async def write(self, work: Any) -> Any:
        """Do what is to come first, then ``work``."""
        before, self.before = self.before, None
        if before is not None and getattr(work, "func", None) is campaigns.freeze:
            await before()
        elif before is not None:
            self.before = before
        return await super().write(work)


@pytest.fixture
def racing(tmp_path: Path) -> Any:
    store = Racing(f"sqlite:///{tmp_path}/sender.db", support.MIGRATIONS, holder="test")
    yield store
    store.close()


async def test_a_freeze_between_look_and_freeze_is_noticed(racing: Racing) -> None:
    """The look that found nobody holds no longer, and the second one finds them."""
    await add(racing, "one", ["a@x", "b@x"])
    await add(racing, "two", ["a@x", "c@x"])
    racing.before = partial(freeze, racing, "two")
    with pytest.raises(AudienceRepeatedError) as caught:
        await freeze(racing, "one")
    assert caught.value.metadata["campaign_id"] == "two"
    (row,) = await support.rows(
        racing, sa.select(schema.campaigns).where(schema.campaigns.c.campaign_id == "one")
    )
    assert (row.phase, row.begin_time) == ("COLLECTING", None)


async def test_a_freeze_between_look_and_freeze_leaves_people_out(racing: Racing) -> None:
    """The list of the first look is not the one that counts, and can be forgotten."""
    await add(racing, "zero", ["b@x"])
    await freeze(racing, "zero")
    await add(racing, "one", ["a@x", "b@x", "c@x"])
    await add(racing, "two", ["a@x"])
    racing.before = partial(freeze, racing, "two")
    row = await freeze(racing, "one", Repeat.ONLY_NEW)
    assert row.left_out == 2
    assert await left_out(racing, row.campaign) == ["a@x", "b@x"]
    assert len(await support.rows(racing, sa.select(schema.left_out))) == 3
    await repetition.forget_lists(racing, row.campaign)
    assert await left_out(racing, row.campaign) == ["a@x", "b@x"]
    assert len(await support.rows(racing, sa.select(schema.left_out))) == 2


@pytest.mark.parametrize("repeat", [Repeat.REFUSE, Repeat.ONLY_NEW])
async def test_people_who_come_between_look_and_freeze_are_looked_at(
    racing: Racing, repeat: Repeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only they are: who was looked at is not looked at again."""
    await add(racing, "zero", ["a@x", "b@x"])
    await freeze(racing, "zero")
    await add(racing, "one", ["c@x"])
    firsts: list[int] = []
    plain = repetition._Audience._look_at

    async def noted(self: Any, question: Any, first: int, last: int) -> None:
        firsts.append(first)
        await plain(self, question, first, last)

    monkeypatch.setattr(repetition._Audience, "_look_at", noted)
    racing.before = partial(upload, racing, "one", ["b@x", "d@x"])
    if repeat is Repeat.REFUSE:
        with pytest.raises(AudienceRepeatedError, match="1 of these 3 people"):
            await freeze(racing, "one", repeat)
    else:
        row = await freeze(racing, "one", repeat)
        assert (row.total, row.left_out) == (3, 1)
        assert await left_out(racing, row.campaign) == ["b@x"]
    assert firsts == [1, 2]


async def test_another_organisation_is_another_family(tmp_path: Path) -> None:
    """The same name and the same people elsewhere stand in nobody's way."""
    async with support.open_store(tmp_path) as store:
        await add(store, "one", ["a@x"])
        await freeze(store, "one")
        await add(store, "one", ["a@x"], organisation="other")
        row = await freeze(store, "one", organisation="other")
        assert (row.phase, row.left_out) == ("FROZEN", 0)


async def test_a_list_of_a_call_that_broke_off_does_not_count(tmp_path: Path) -> None:
    """Its people get the campaign if the next call finds nobody who had it."""
    async with support.open_store(tmp_path) as store:
        await add(store, "zero", ["a@x"])
        zero = await freeze(store, "zero")
        await add(store, "one", ["a@x", "b@x"])

        def look(connection: sa.Connection) -> None:
            row = campaigns.get(connection, support.ORGANISATION, "one")
            question = families.ask(connection, row, None)
            people = families.find(connection, question, first=1, last=2)
            families.leave_out(connection, question, list_number=7, people=people)

        await store.write(look)
        await end(store, zero.campaign, {"a@x": Outcome.FAILED})
        row = await freeze(store, "one", Repeat.ONLY_NEW)
        assert (row.left_out, row.left_out_list) == (0, None)
        await repetition.forget_lists(store, row.campaign)
        assert await support.rows(store, sa.select(schema.left_out)) == []


async def test_who_is_left_out_of_a_campaign_under_way_does_not_get_it(tmp_path: Path) -> None:
    """Only those who may still get a message from it stand in the way."""
    async with support.open_store(tmp_path) as store:
        await add(store, "zero", ["a@x"])
        zero = await freeze(store, "zero")
        await add(store, "one", ["a@x", "b@x"])
        await freeze(store, "one", Repeat.ONLY_NEW)
        await end(store, zero.campaign, {"a@x": Outcome.FAILED})
        await add(store, "two", ["a@x", "b@x"])
        row = await freeze(store, "two", Repeat.ONLY_NEW)
        assert await left_out(store, row.campaign) == ["b@x"]


async def test_a_frozen_campaign_counts_however_long_it_waits(tmp_path: Path) -> None:
    """It begins when the status service answers, which may be in a moment."""
    async with support.open_store(tmp_path) as store:
        await add(store, "zero", ["a@x"])
        zero = await freeze(store, "zero")
        await add(store, "one", ["a@x"])
        long_ago = sa.update(schema.campaigns).where(schema.campaigns.c.campaign == zero.campaign)
        values = {"begin_time": zero.begin_time - timedelta(days=30)}
        await store.write(lambda connection: connection.execute(long_ago.values(values)))
        with pytest.raises(AudienceRepeatedError):
            await freeze(store, "one")
        await store.write(lambda connection: connection.execute(long_ago.values(phase="STARTED")))
        assert (await freeze(store, "one")).phase == "FROZEN"


async def test_a_family_may_have_very_many_campaigns(tmp_path: Path) -> None:
    """More than a statement has room for parameters, and none of them counted at its freeze."""
    many = 260_000

    def fill(connection: sa.Connection) -> None:
        table = schema.campaigns
        source = table.alias()
        numbers = (
            sa.text(
                "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < :many)"
                " SELECT i FROM n"
            )
            .bindparams(many=many)
            .columns(sa.column("i", sa.Integer))
            .subquery()
        )
        changed = {
            "campaign": numbers.c.i,
            "campaign_id": sa.literal("m") + sa.cast(numbers.c.i, sa.Text),
            "phase": sa.literal("FINISHED"),
            "begin_time": source.c.create_time,
            "total": sa.literal(1),
        }
        columns = [changed.get(column.name, source.c[column.name]) for column in table.c]
        query = sa.select(*columns).select_from(source.join(numbers, sa.true()))
        names = [column.name for column in table.c]
        connection.execute(
            sa.insert(table).from_select(names, query.where(source.c.campaign_id == "zero"))
        )
        person = schema.recipients
        every = sa.select(table.c.campaign, sa.literal(1), sa.literal("a@x"), sa.literal(""))
        connection.execute(
            sa.insert(person).from_select(
                ["campaign", "sequence", "address", "recipient_key"],
                every.where(table.c.campaign_id.like("m%")),
            )
        )
        connection.execute(
            sa.insert(schema.outcomes).values(
                campaign=many,
                sequence=1,
                shard=1,
                entry=1,
                outcome=4,
                attempt=1,
                finish_time=datetime.now(UTC),
            )
        )

    async with support.open_store(tmp_path) as store:
        await add(store, "zero", ["z@x"])
        await store.write(fill)
        await add(store, "one", ["a@x", "b@x"])
        with pytest.raises(AudienceRepeatedError) as caught:
            await freeze(store, "one")
        assert caught.value.metadata["campaign_id"] == f"m{many}"
        assert caught.value.metadata["repeated"] == "1"


async def test_nothing_is_searched_without_an_index(tmp_path: Path) -> None:
    """Neither a look nor what finished lately goes through a whole table."""
    async with support.open_store(tmp_path) as store:
        await add(store, "one", ["a@x"])
        plans: list[str] = []

        def work(connection: sa.Connection) -> None:
            def explain(*call: Any) -> None:
                connection, _, statement, values, *_ = call
                raw = connection.connection.driver_connection
                found = raw.execute(f"EXPLAIN QUERY PLAN {statement}", values)
                plans.extend(row[3] for row in found)

            row = campaigns.get(connection, support.ORGANISATION, "one")
            question = families.ask(connection, row, None)
            event.listen(connection, "before_cursor_execute", explain)
            families.count_others(connection, question)
            families.find(connection, question, first=1, last=1)
            campaigns.finished_lately(connection, support.ORGANISATION, 7)
            campaigns.organisations_finished_lately(connection, 7)
            resends.count(
                connection,
                row.campaign,
                Selection(frozenset(Outcome), include_unsent=True),
                first=1,
            )

        await store.read(work)
        assert any("campaigns_family" in plan for plan in plans)
        assert any("campaigns_finished_of" in plan for plan in plans)
        scanned = {plan.split()[1] for plan in plans if plan.startswith("SCAN")}
        tables = {*schema.metadata.tables, "other", "theirs"}
        assert not scanned & tables, plans


async def test_parts_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audience of many parts is looked at whole, each person once."""
    monkeypatch.setattr(families, "PEOPLE_A_PART", 3)
    names = [f"p{number}@x" for number in range(10)]
    async with support.open_store(tmp_path) as store:
        await add(store, "zero", names[::2])
        await freeze(store, "zero")
        await add(store, "one", names)
        with pytest.raises(AudienceRepeatedError) as caught:
            await freeze(store, "one")
        assert (caught.value.metadata["repeated"], caught.value.metadata["total"]) == ("5", "10")
        row = await freeze(store, "one", Repeat.ONLY_NEW)
        assert await left_out(store, row.campaign) == sorted(names[::2])


@pytest.mark.parametrize("repeat", [Repeat.REFUSE, Repeat.ONLY_NEW])
async def test_no_transaction_grows_with_the_campaigns_of_a_family(
    tmp_path: Path, repeat: Repeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more campaigns a part has fewer people, and none is searched for under the lock."""
    monkeypatch.setattr(families, "_PAIRS_A_PART", 12)
    names = [f"p{number}@x" for number in range(9)]
    async with support.open_store(tmp_path) as store:
        for number in range(4):
            await add(store, f"before-{number}", names)
            await freeze(store, f"before-{number}", Repeat.AGAIN)
        await add(store, "one", names)
        parts: list[tuple[int, int]] = []
        searched = families.find

        def noted(connection: sa.Connection, question: Any, *, first: int, last: int) -> Any:
            parts.append((first, last))
            return searched(connection, question, first=first, last=last)

        written: list[str] = []
        write = store.write

        def note_write(work: Any) -> Any:
            written.append(work.func.__name__)
            return write(work)

        monkeypatch.setattr(store, "write", note_write)
        monkeypatch.setattr(families, "find", noted)
        if repeat is Repeat.REFUSE:
            with pytest.raises(AudienceRepeatedError, match="9 of these 9 people"):
                await freeze(store, "one", repeat)
        else:
            assert (await freeze(store, "one", repeat)).left_out == 9
    assert parts == [(1, 3), (4, 6), (7, 9)]
    assert noted.__name__ not in written


async def test_of_two_campaigns_started_at_once_one_is_refused(tmp_path: Path) -> None:
    """Through both services, in many rounds: never both, never none."""
    async with pair(tmp_path) as both:
        for number in range(ROUNDS):
            ids = [f"a{number}", f"b{number}"]
            for campaign_id in ids:
                await create(both, campaign_id, [f"ann{number}"])
            answers = await asyncio.gather(
                *(both.sender.start_campaign(campaign_id=campaign_id) for campaign_id in ids),
                return_exceptions=True,
            )
            refusals = [answer for answer in answers if isinstance(answer, BaseException)]
            assert len(refusals) == 1
            assert isinstance(refusals[0], FailedPreconditionError)


async def test_of_two_campaigns_started_at_once_each_person_gets_one(tmp_path: Path) -> None:
    """With those left out who get the other one, everybody gets exactly one."""
    names = ["ann", "bob", "carl"]
    async with pair(tmp_path) as both:
        for number in range(ROUNDS):
            ids = [f"a{number}", f"b{number}"]
            people = [f"{name}{number}" for name in names]
            for campaign_id in ids:
                await create(both, campaign_id, people)
            await asyncio.gather(
                *(
                    both.sender.start_campaign(
                        campaign_id=campaign_id, repeat=pb.StartCampaignRequest.ONLY_NEW
                    )
                    for campaign_id in ids
                )
            )
            for campaign_id in ids:
                await both.finished(campaign_id)
            assert sorted(got(both, ids[0]) + got(both, ids[1])) == people


PEOPLE = [f"{name}@x" for name in "abcde"]
audiences = st.sets(st.sampled_from(PEOPLE), min_size=1)
sends = st.tuples(
    audiences,
    st.sampled_from(["F", "G"]),
    st.sampled_from([0, 7 * DAY_MS]),
    st.sampled_from(list(Repeat)),
    st.lists(st.sampled_from([*Outcome, None]), min_size=5, max_size=5),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(plan=st.lists(sends, min_size=2, max_size=6))
async def test_a_model_of_who_got_what(plan: list[Any], tmp_path_factory: Any) -> None:
    """Against a list of who got, or may get, which family: the same people stand in the way."""
    folder = tmp_path_factory.mktemp("model")
    arrived: dict[str, set[str]] = {"F": set(), "G": set()}
    async with support.open_store(folder) as store:
        for number, (audience, family, repeat_after_ms, repeat, results, ends) in enumerate(plan):
            campaign_id = f"c{number}"
            await add(
                store,
                campaign_id,
                sorted(audience),
                family=family,
                repeat_after_ms=repeat_after_ms,
            )
            checked = repeat is not Repeat.AGAIN and repeat_after_ms
            repeated = audience & arrived[family] if checked else set()
            if repeated and repeat is Repeat.REFUSE:
                with pytest.raises(AudienceRepeatedError) as caught:
                    await freeze(store, campaign_id, repeat)
                assert caught.value.metadata["repeated"] == str(len(repeated))
                continue
            row = await freeze(store, campaign_id, repeat)
            assert row.left_out == len(repeated)
            assert await left_out(store, row.campaign) == sorted(repeated)
            outcomes = {
                name: outcome
                for name, outcome in zip(PEOPLE, results, strict=True)
                if name in audience and outcome is not None
            }
            outcomes |= dict.fromkeys(repeated, Outcome.SKIPPED)
            if ends:
                await end(store, row.campaign, outcomes)
                got_it = {Outcome.SENT, Outcome.UNKNOWN}
                arrived[family] |= {name for name in outcomes if outcomes[name] in got_it}
            else:
                arrived[family] |= audience - repeated
