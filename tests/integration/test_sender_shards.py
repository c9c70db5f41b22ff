"""Leases, the window and takeover, on a real database."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from sender_service.domain import Guarantee, Outcome
from sender_service.errors import LeaseLostError
from sender_service.store import abandonment, campaigns, leases, outbox, schema, shards
from sender_service.store.abandonment import Ending
from sender_service.store.batch import Batch, PendingMessage
from sender_service.store.leases import Claim, NothingToClaim
from sender_service.store.shards import Advance, Position
from sender_service.verdicts import Finished, Retry
from service_runtime.database_time import database_now

if TYPE_CHECKING:
    from pathlib import Path

    from service_runtime.database import Store

SENT = Finished(Outcome.SENT, "250")


async def claim(
    store: Store,
    campaign: int,
    owner: str = "one",
    guarantee: Guarantee = Guarantee.AT_MOST_ONCE,
    **changes: Any,
) -> Claim:
    claimed = await try_claim(store, campaign, owner, guarantee, **changes)
    assert isinstance(claimed, Claim)
    return claimed


async def try_claim(
    store: Store,
    campaign: int,
    owner: str = "one",
    guarantee: Guarantee = Guarantee.AT_MOST_ONCE,
    *,
    lease_seconds: float = 30,
    whole: bool = False,
) -> Claim | NothingToClaim:
    return await store.write(
        partial(
            leases.claim,
            campaign=campaign,
            owner=owner,
            lease_seconds=lease_seconds,
            guarantee=guarantee,
            whole=whole,
        )
    )


async def advance(
    store: Store,
    claimed: Claim,
    position: Position,
    batch: Batch | None = None,
    *,
    take: int = 0,
    retrying: frozenset[int] = frozenset(),
) -> Advance:
    return await store.write(
        partial(
            shards.advance,
            lease=claimed.lease,
            position=position,
            batch=batch or Batch(),
            take=take,
            retrying=retrying,
        )
    )


def start_of(claimed: Claim) -> Position:
    return Position(claimed.revision, claimed.intent_through, 0)


def sent(*messages: PendingMessage) -> Batch:
    batch = Batch()
    for message in messages:
        batch.end(message, SENT)
    return batch


async def tried_again(store: Store, claimed: Claim, step: Advance) -> Advance:
    """Defer the first message of a step, and take it once more."""
    batch = Batch()
    batch.retry(step.messages[0], Retry(0.0, lost=False, code="451"), begin_time=1)
    step = await advance(store, claimed, step.position, batch)

    async def taken() -> Advance | None:
        nonlocal step
        step = await advance(store, claimed, step.position, take=1)
        return step if step.messages else None

    again: Advance = await support.eventually(taken)
    return again


async def snapshot(store: Store) -> list[Any]:
    """Return every row a lease allows to change."""
    return [
        [tuple(row) for row in await support.rows(store, sa.select(table))]
        for table in (schema.shards, schema.outcomes, schema.deferrals)
    ]


async def expire(store: Store) -> None:
    """Let every lease run out, by the clock of the database."""

    def work(connection: sa.Connection) -> None:
        past = connection.execute(sa.select(database_now())).scalar_one() - timedelta(seconds=1)
        connection.execute(
            sa.update(schema.shards)
            .where(schema.shards.c.lease_expire_time.is_not(None))
            .values(lease_expire_time=past)
        )

    await store.write(work)


@pytest.mark.parametrize("next_owner", ["two", "one"], ids=["another", "the-same"])
async def test_s9_an_old_epoch_changes_nothing(tmp_path: Path, next_owner: str) -> None:
    """Intent, journal, renewal and closing with a lost lease say so and write nothing.

    Also where the same process claimed the shard again: what it had begun before is old.
    """
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=20)
        old = await claim(store, row.campaign)
        taken = await advance(store, old, start_of(old), take=4)
        await expire(store)
        await claim(store, row.campaign, next_owner)
        before = await snapshot(store)
        with pytest.raises(LeaseLostError):
            await advance(store, old, taken.position, sent(*taken.messages), take=4)
        with pytest.raises(LeaseLostError):
            await store.write(partial(leases.renew, lease=old.lease, lease_seconds=30))
        with pytest.raises(LeaseLostError):
            await store.write(
                partial(
                    abandonment.close_shard,
                    claim=old,
                    ending=Ending(Outcome.SKIPPED, "cancelled", ""),
                )
            )
        assert await snapshot(store) == before


async def test_s9_a_released_lease_is_no_lease(tmp_path: Path) -> None:
    """Who gave a shard back, or lost it with its process, does not write to it any more."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=20)
        old = await claim(store, row.campaign)
        taken = await advance(store, old, start_of(old), take=4)
        assert await store.write(leases.release_all) == 1
        with pytest.raises(LeaseLostError):
            await advance(store, old, taken.position, sent(*taken.messages))


async def test_a_held_shard_is_not_claimed_again(tmp_path: Path) -> None:
    """Two claims get two shards; a third waits for the first lease to end."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=20, shard_size=10)
        first = await claim(store, row.campaign, "one")
        second = await claim(store, row.campaign, "two")
        assert (first.lease.shard, second.lease.shard) == (1, 2)
        nothing = await try_claim(store, row.campaign, "three")
        assert isinstance(nothing, NothingToClaim)
        assert nothing.unfinished == 2
        assert nothing.wait_seconds is not None
        assert 0 < nothing.wait_seconds <= 30


async def test_a_lease_that_has_just_ended_is_not_waited_for(tmp_path: Path) -> None:
    """Nothing was free at the look, and something is now: the next look is at once."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=5)
        await claim(store, row.campaign)
        await expire(store)
        nothing = await store.read(lambda connection: leases._nothing(connection, row.campaign))
        assert nothing == NothingToClaim(1, 0.0, leased=True)


async def test_a_renewed_lease_is_kept(tmp_path: Path) -> None:
    """L2: a lease that is renewed is not taken over, one that is not renewed is."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=5)
        held = await claim(store, row.campaign)
        await expire(store)
        await store.write(partial(leases.renew, lease=held.lease, lease_seconds=30))
        assert isinstance(await try_claim(store, row.campaign, "two"), NothingToClaim)
        await expire(store)
        assert (await claim(store, row.campaign, "two")).lease.epoch == 2


async def test_the_window_bounds_doubt_at_every_commit(tmp_path: Path) -> None:
    """After each commit as many are in doubt as were taken and not settled, never more."""
    window = 6
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=50)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=window)
        open_messages = list(step.messages)
        rounds = 0
        while not step.released:
            rounds += 1
            done, open_messages = open_messages[: 1 + rounds % 5], open_messages[1 + rounds % 5 :]
            batch = Batch()
            retried = set()
            for message in done:
                if message.sequence % 7 == 0 and message.attempts == 0:
                    batch.retry(message, Retry(0.0, lost=False, code="451"), begin_time=1)
                elif message.sequence % 11 == 0 and not message.deferred:
                    batch.requeue(message)
                else:
                    batch.end(message, SENT)
                retried.add(message.sequence)
            take = window - (step.position.in_doubt - len(batch))
            step = await advance(store, claimed, step.position, batch, take=take)
            open_messages += step.messages
            doubt = await support.in_doubt(store, row.campaign)
            assert doubt == step.position.in_doubt == len(open_messages) <= window
        outcomes = await support.outcomes_of(store, row.campaign)
        assert {sequence for sequence, _ in outcomes.items()} == set(range(1, 51))
        assert all(outcomes[n][2] == 2 for n in range(7, 51, 7) if n % 11)


async def test_the_journal_is_numbered_without_a_gap(tmp_path: Path) -> None:
    """Entries are 1..journaled in the order they were written."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=10)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=10)
        by_number = {message.sequence: message for message in step.messages}
        step = await advance(store, claimed, step.position, sent(by_number[7], by_number[2]))
        await advance(store, claimed, step.position, sent(by_number[9]))
        key = outbox.ShardKey(row.campaign, 1)
        entries = await store.read(partial(outbox.read, key=key, after=0, limit=100))
        assert [(entry.entry, entry.sequence) for entry in entries] == [(1, 7), (2, 2), (3, 9)]


async def test_a_repeated_commit_does_what_the_first_did(tmp_path: Path) -> None:
    """A commit whose answer was lost is asked for again and answers the same."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=30)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=6)
        batch = sent(*step.messages[:2])
        batch.retry(step.messages[2], Retry(0.0, lost=False), begin_time=1)
        first = await advance(store, claimed, step.position, batch, take=3)
        before = await snapshot(store)
        again = await advance(store, claimed, step.position, batch, take=3)
        assert again.position == first.position
        assert sorted(again.messages) == sorted(first.messages)
        assert await snapshot(store) == before


async def test_takeover_at_most_once_gives_up_what_is_in_doubt(tmp_path: Path) -> None:
    """S10: below the intent without an outcome is UNKNOWN; all else is as it was."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=20)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=6)
        batch = sent(*step.messages[:2])
        batch.retry(step.messages[2], Retry(3600.0, lost=False, code="451"), begin_time=1)
        await advance(store, claimed, step.position, batch, take=0)
        await store.write(leases.release_all)
        taken_over = await claim(store, row.campaign, "two")
        assert (taken_over.taken_over, taken_over.journaled) == (3, 5)
        outcomes = await support.outcomes_of(store, row.campaign)
        assert {n: outcome[:2] for n, outcome in outcomes.items()} == {
            1: (Outcome.SENT, "250"),
            2: (Outcome.SENT, "250"),
            4: (Outcome.UNKNOWN, "in_doubt"),
            5: (Outcome.UNKNOWN, "in_doubt"),
            6: (Outcome.UNKNOWN, "in_doubt"),
        }
        assert await support.in_doubt(store, row.campaign) == 0


async def test_a_try_in_doubt_is_counted(tmp_path: Path) -> None:
    """S10: a message that was deferred, and is in doubt at its second try, was tried twice."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=2)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=2)
        await tried_again(store, claimed, step)
        await store.write(leases.release_all)
        await claim(store, row.campaign, "two")
        assert await support.outcomes_of(store, row.campaign) == {
            1: (Outcome.UNKNOWN, "in_doubt", 2),
            2: (Outcome.UNKNOWN, "in_doubt", 1),
        }


async def test_takeover_at_least_once_tries_again(tmp_path: Path) -> None:
    """S11: what is in doubt is due at once, and its tries are counted on."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=3)
        least = Guarantee.AT_LEAST_ONCE
        claimed = await claim(store, row.campaign, guarantee=least)
        step = await advance(store, claimed, start_of(claimed), take=3)
        step = await tried_again(store, claimed, step)
        assert step.messages[0].attempts == 1
        await store.write(leases.release_all)
        taken_over = await claim(store, row.campaign, "two", least)
        assert taken_over.taken_over == step.position.in_doubt == 3
        step = await advance(store, taken_over, start_of(taken_over), take=20)
        tries = {message.sequence: (message.attempts, message.lost) for message in step.messages}
        assert tries == {1: (2, True), 2: (1, True), 3: (1, True)}


async def test_a_retry_that_is_due_comes_before_new_messages(tmp_path: Path) -> None:
    """A message that waits is in nobody's hands, takes no place, and is tried first when due."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=20)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=2)
        batch = Batch()
        batch.requeue(step.messages[0])
        batch.retry(step.messages[1], Retry(3600.0, lost=False), begin_time=1)
        step = await advance(store, claimed, step.position, batch, take=3)
        assert [message.sequence for message in step.messages] == [1, 3, 4]
        assert step.due_seconds is not None
        assert step.due_seconds > 3000


async def test_a_shard_that_only_waits_is_not_claimed_before_it_is_due(tmp_path: Path) -> None:
    """Greylisted messages of one shard do not hold up the next shard."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=4, shard_size=2)
        first = await claim(store, row.campaign)
        step = await advance(store, first, start_of(first), take=2)
        batch = Batch()
        for message in step.messages:
            batch.retry(message, Retry(3600.0, lost=False), begin_time=1)
        assert (await advance(store, first, step.position, batch)).released
        second = await claim(store, row.campaign)
        assert second.lease.shard == 2
        assert (await advance(store, second, start_of(second), take=0)).released
        assert (await claim(store, row.campaign)).lease.shard == 2


@pytest.mark.parametrize("guarantee", Guarantee)
async def test_closing_ends_everything_that_has_no_outcome(
    tmp_path: Path, guarantee: Guarantee
) -> None:
    """What was never sent is SKIPPED; what may have arrived is UNKNOWN; the journal is dense."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=10, shard_size=10)
        claimed = await claim(store, row.campaign, guarantee=guarantee)
        step = await advance(store, claimed, start_of(claimed), take=5)
        one, two, three, *_ = step.messages
        batch = sent(one)
        batch.retry(two, Retry(3600.0, lost=False, code="451"), begin_time=1)
        batch.retry(three, Retry(3600.0, lost=True, code="timeout"), begin_time=1)
        await advance(store, claimed, step.position, batch)
        await store.write(leases.release_all)
        last = await claim(store, row.campaign, "two", guarantee, whole=True)
        ending = Ending(Outcome.SKIPPED, "cancelled", "closed")
        await store.write(partial(abandonment.close_shard, claim=last, ending=ending))
        outcomes = await support.outcomes_of(store, row.campaign)
        assert {n: outcomes[n][0] for n in range(1, 11)} == {
            1: Outcome.SENT,
            2: Outcome.SKIPPED,
            3: Outcome.UNKNOWN,
            4: Outcome.UNKNOWN,
            5: Outcome.UNKNOWN,
        } | dict.fromkeys(range(6, 11), Outcome.SKIPPED)
        assert [outcomes[n][2] for n in (2, 3, 9)] == [1, 1, 0]
        (shard,) = await support.rows(store, sa.select(schema.shards))
        assert (shard.journaled, shard.intent_through, shard.lease_expire_time) == (10, 10, None)
        key = outbox.ShardKey(row.campaign, 1)
        entries = await store.read(partial(outbox.read, key=key, after=0, limit=100))
        assert [entry.entry for entry in entries] == list(range(1, 11))
        finished = await try_claim(store, row.campaign, whole=True)
        assert finished == NothingToClaim(0, None)


async def test_a_campaign_is_finished_once_all_is_acknowledged(tmp_path: Path) -> None:
    """Every outcome and every acknowledgement: one missing, and it is not finished."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=4, shard_size=2)
        for _ in range(2):
            claimed = await claim(store, row.campaign)
            step = await advance(store, claimed, start_of(claimed), take=2)
            await advance(store, claimed, step.position, sent(*step.messages))
        first, second = outbox.ShardKey(row.campaign, 1), outbox.ShardKey(row.campaign, 2)
        for reported in ({first: 2}, {second: 1}, {second: 0}):
            assert await store.write(partial(outbox.acknowledge, reported=reported)) == []
        finished = await store.write(partial(outbox.acknowledge, reported={second: 2}))
        assert finished == [row.campaign]
        assert await store.read(partial(outbox.counts, campaign=row.campaign)) == {
            "sent": 4,
            "failed": 0,
            "skipped": 0,
            "unknown": 0,
        }


async def test_a_replaced_store_of_the_status_service_is_noticed_once(tmp_path: Path) -> None:
    """Another generation sets "reported" of unfinished campaigns back, the same one nothing."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=2)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=2)
        await advance(store, claimed, step.position, sent(step.messages[0]))
        key = outbox.ShardKey(row.campaign, 1)
        await store.write(partial(outbox.acknowledge, reported={key: 1}))
        adopt = partial(outbox.adopt_generation, organisation=row.organisation)
        adopted = [
            await store.write(partial(adopt, generation=generation, replay_days=7))
            for generation in ("g1", "g1", "g2", "g2")
        ]
        assert adopted == [None, None, [row.campaign], None]
        (progress,) = await store.read(partial(outbox.progress, campaign=row.campaign))
        assert (progress.journaled, progress.reported) == (1, 0)


@pytest.mark.parametrize(("replay_days", "brought_back"), [(7, True), (0, False)])
async def test_another_store_brings_finished_campaigns_back(
    tmp_path: Path, replay_days: int, *, brought_back: bool
) -> None:
    """Those that ended within the days set are open and unreported again."""
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)
        claimed = await claim(store, row.campaign)
        step = await advance(store, claimed, start_of(claimed), take=1)
        await advance(store, claimed, step.position, sent(step.messages[0]))
        key = outbox.ShardKey(row.campaign, 1)
        assert await store.write(partial(outbox.acknowledge, reported={key: 1}))
        adopt = partial(outbox.adopt_generation, organisation=row.organisation)
        for generation in ("g1", "g2"):
            await store.write(partial(adopt, generation=generation, replay_days=replay_days))
        opened = await store.read(campaigns.open_campaigns)
        assert [found.campaign for found in opened] == [row.campaign] * brought_back
        (progress,) = await store.read(partial(outbox.progress, campaign=row.campaign))
        assert progress.reported == (0 if brought_back else 1)
