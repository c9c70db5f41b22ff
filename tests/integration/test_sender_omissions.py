"""People who are left out end as SKIPPED at once, whatever stops the delivery."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from integration.family_store import add, freeze
from sender_service.domain import Guarantee, Outcome, Repeat
from sender_service.store import abandonment, campaigns, leases, omissions, schema, shards
from sender_service.store.abandonment import Ending
from sender_service.store.batch import Batch, PendingMessage
from sender_service.store.leases import Claim
from sender_service.store.shards import Advance, Position
from sender_service.verdicts import Finished
from service_runtime.database import Store

SENT = Finished(Outcome.SENT, "250")
SKIPPED = (Outcome.SKIPPED.value, "already_sent", 0)


async def half_left_out(store: Store, messages: int, **changes: Any) -> sa.Row[Any]:
    """Return a started campaign of which every message with an odd number is left out."""
    names = [f"p{number}@x" for number in range(1, messages + 1)]
    await add(store, "zero", names[::2])
    await freeze(store, "zero")
    await add(store, "one", names, **changes)
    row = await freeze(store, "one", Repeat.ONLY_NEW, shard_size=20)
    await store.write(partial(campaigns.mark_started, campaign=row.campaign))
    return row


async def claim(store: Store, campaign: int) -> Claim:
    claimed = await store.write(
        partial(
            leases.claim,
            campaign=campaign,
            owner="one",
            lease_seconds=30,
            guarantee=Guarantee.AT_MOST_ONCE,
        )
    )
    assert isinstance(claimed, Claim)
    return claimed


async def advance(
    store: Store, claimed: Claim, position: Position, *sent: PendingMessage, take: int
) -> Advance:
    batch = Batch()
    for message in sent:
        batch.end(message, SENT)
    return await store.write(
        partial(
            shards.advance,
            lease=claimed.lease,
            position=position,
            batch=batch,
            take=take,
            retrying=frozenset(),
        )
    )


async def test_they_end_in_the_commit_that_passes_them(tmp_path: Path) -> None:
    """The window is for the others; who is passed over is never in doubt."""
    async with support.open_store(tmp_path) as store:
        row = await half_left_out(store, 8)
        claimed = await claim(store, row.campaign)
        start = Position(claimed.revision, claimed.intent_through, 0)
        taken = await advance(store, claimed, start, take=2)
        assert [message.sequence for message in taken.messages] == [2, 4]
        assert (taken.position.in_doubt, taken.journaled) == (2, 3)
        assert await support.in_doubt(store, row.campaign) == 2
        assert await support.outcomes_of(store, row.campaign) == dict.fromkeys([1, 3, 5], SKIPPED)


async def test_a_takeover_gives_up_only_what_a_provider_may_have(tmp_path: Path) -> None:
    """After a crash the others are UNKNOWN, and those left out are what they were."""
    async with support.open_store(tmp_path) as store:
        row = await half_left_out(store, 8)
        claimed = await claim(store, row.campaign)
        start = Position(claimed.revision, claimed.intent_through, 0)
        await advance(store, claimed, start, take=2)
        await store.write(leases.release_all)
        assert (await claim(store, row.campaign)).taken_over == 2
        found = await support.outcomes_of(store, row.campaign)
        assert {number: outcome for number, (outcome, *_) in found.items()} == {
            1: Outcome.SKIPPED,
            2: Outcome.UNKNOWN,
            3: Outcome.SKIPPED,
            4: Outcome.UNKNOWN,
            5: Outcome.SKIPPED,
        }


async def test_a_commit_whose_answer_was_lost_is_recognised(tmp_path: Path) -> None:
    """The same call again returns the same messages, and nobody is counted twice."""
    async with support.open_store(tmp_path) as store:
        row = await half_left_out(store, 8)
        claimed = await claim(store, row.campaign)
        start = Position(claimed.revision, claimed.intent_through, 0)
        taken = await advance(store, claimed, start, take=2)
        again = await advance(store, claimed, start, take=2)
        assert (again.messages, again.position, again.journaled) == (
            taken.messages,
            taken.position,
            taken.journaled,
        )


@pytest.mark.parametrize("taken", [0, 2])
async def test_closing_a_campaign_says_why_they_got_nothing(tmp_path: Path, taken: int) -> None:
    """They are SKIPPED as already_sent, however the others end."""
    async with support.open_store(tmp_path) as store:
        row = await half_left_out(store, 6)
        if taken:
            claimed = await claim(store, row.campaign)
            start = Position(claimed.revision, claimed.intent_through, 0)
            advanced = await advance(store, claimed, start, take=taken)
            await advance(store, claimed, advanced.position, *advanced.messages, take=0)
        claimed = await claim(store, row.campaign)
        ending = Ending(Outcome.FAILED, "provider_unreachable", "")
        await store.write(partial(abandonment.close_shard, claim=claimed, ending=ending))
        found = await support.outcomes_of(store, row.campaign)
        assert {number: found[number] for number in (1, 3, 5)} == dict.fromkeys([1, 3, 5], SKIPPED)
        others = (Outcome.FAILED.value, "provider_unreachable", 0)
        assert found[6] == others
        assert found[2] == ((Outcome.SENT.value, "250", 1) if taken else others)
        query = sa.select(schema.outcomes.c.entry).where(schema.outcomes.c.campaign == row.campaign)
        assert sorted(entry for (entry,) in await support.rows(store, query)) == list(range(1, 7))


async def test_a_long_run_of_them_is_passed_in_bounded_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard is kept, and goes on with the next commit."""
    monkeypatch.setattr(omissions, "_A_COMMIT", 3)
    names = [f"p{number}@x" for number in range(1, 11)]
    async with support.open_store(tmp_path) as store:
        await add(store, "zero", names)
        await freeze(store, "zero")
        await add(store, "one", names)
        row = await freeze(store, "one", Repeat.ONLY_NEW)
        claimed = await claim(store, row.campaign)
        position = Position(claimed.revision, claimed.intent_through, 0)
        through = []
        for _ in range(4):
            taken = await advance(store, claimed, position, take=1)
            assert (taken.messages, taken.released) == ([], len(through) == 3)
            position = taken.position
            through.append(position.intent_through)
        assert through == [4, 8, 10, 10]


async def test_nobody_is_passed_over_where_nothing_may_be_taken(tmp_path: Path) -> None:
    """They wait for the commit of the message behind them, or for the end of the campaign."""
    async with support.open_store(tmp_path) as store:
        row = await half_left_out(store, 8)
        claimed = await claim(store, row.campaign)
        start = Position(claimed.revision, claimed.intent_through, 0)
        taken = await advance(store, claimed, start, take=0)
        assert (taken.messages, taken.journaled) == ([], 0)
        assert taken.position.intent_through == start.intent_through
        assert await support.outcomes_of(store, row.campaign) == {}

        def found(first: int, take: int) -> Any:
            return store.write(
                partial(omissions.find, campaign=row.campaign, first=first, last=8, take=take)
            )

        assert await found(1, 0) == (0, {})
        assert await found(9, 2) == (8, {})
        through, messages = await found(8, 2)
        assert (through, list(messages)) == (8, [])
        through, messages = await found(7, 1)
        assert (through, list(messages)) == (8, [7])
