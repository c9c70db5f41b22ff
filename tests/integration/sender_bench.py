"""A run over one shard, with a scripted channel."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from integration import sender_support as support
from sender_service.campaigns.directory import Directory
from sender_service.channels.contract import EmailContent
from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.delivery.clock import Clock
from sender_service.delivery.gate import Gate
from sender_service.delivery.plan import DeliveryPlan
from sender_service.delivery.shard_delivery import ShardDelivery
from sender_service.delivery.shared_provider import SharedProvider
from sender_service.domain import Guarantee, MessageKeys, Policy, RetryPolicy
from sender_service.store import leases, schema
from sender_service.store.leases import Claim
from service_runtime.sampled_log import SampledLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sender_service.delivery.shard_report import ShardReport
    from service_runtime.database import Store


class Bench:
    """A campaign with one shard, a scripted channel, and whether sending is allowed."""

    def __init__(self, store: Store, row: sa.Row[Any], guarantee: Guarantee) -> None:
        self.store = store
        self.row = row
        self.guarantee = guarantee
        self.channel = support.ScriptedChannel()
        #: Bounds the calls of all campaigns of the channel.
        self.limit = asyncio.Semaphore(self.channel.concurrency)
        self.allowed = True
        self.lease_seconds = 30.0
        self.heartbeat_seconds = 10.0
        self.directory = Directory(store)
        self.active = self.directory.add(row)
        self.clock = Clock()
        self.breaker = CircuitBreaker(self.clock.now, state=Breaker.CLOSED)
        shared = SharedProvider(self.channel, self.clock, self.breaker)
        self.gate = Gate(shared, self.active, remaining=row.total, deadline_seconds=3600)

    @property
    def campaign(self) -> int:
        """The number of the campaign."""
        number: int = self.row.campaign
        return number

    def plan(self) -> DeliveryPlan:
        """Return what is the same for all messages."""
        return DeliveryPlan(
            campaign_id="c1",
            channel=self.channel,
            limit=self.limit,
            defects=SampledLog("channel_failed", lambda: 0.0),
            template=self.channel.compile(EmailContent()),
            keys=MessageKeys(organisation="o", campaign_id="c1", content_digest="d"),
            policy=Policy(
                self.guarantee,
                RetryPolicy(60.0, initial_backoff_seconds=0.001, max_attempts=3),
            ),
            window=8,
            lease_seconds=self.lease_seconds,
            heartbeat_seconds=self.heartbeat_seconds,
        )

    async def begin(self) -> ShardDelivery:
        """Claim the shard and make a run over it."""
        claimed_at = time.monotonic()
        claim = await self.store.write(
            partial(
                leases.claim,
                campaign=self.campaign,
                owner="one",
                lease_seconds=self.lease_seconds,
                guarantee=self.guarantee,
            )
        )
        assert isinstance(claim, Claim), claim
        return ShardDelivery(
            self.store,
            self.directory,
            self.active,
            self.plan(),
            claim,
            claimed_at=claimed_at,
            gate=self.gate,
            may_send=self.may_send,
        )

    def half_open(self) -> None:
        """Let one message through, as after a wait and a check."""
        self.gate.give_back_probe()
        self.breaker.state = Breaker.HALF_OPEN
        self.breaker.pass_check()
        assert self.gate.take_probe()

    def may_send(self) -> bool:
        """Return whether sending is allowed."""
        return self.allowed

    def forbid(self) -> None:
        """Allow no sending any more, as a pause does."""
        self.allowed = False
        self.active.wake()

    async def run_once(self) -> ShardReport:
        """Claim the shard and run over it to the end."""
        return await (await self.begin()).run()

    async def until_done(self) -> Counter[str]:
        """Run the shard again and again until every message has an outcome."""
        counts: Counter[str] = Counter()

        async def done() -> bool:
            claim = await self.store.read(
                lambda c: c.execute(
                    leases._claimable(self.campaign, whole=False, untried_first=False)
                ).one_or_none()
            )
            if claim is not None:
                counts.update((await self.run_once()).counts)
            (shard,) = await support.rows(self.store, sa.select(schema.shards))
            return bool(shard.journaled == self.row.total)

        await support.eventually(done)
        return counts

    async def outcomes(self) -> dict[int, tuple[int, str, int]]:
        """Return outcome, code and attempt by sequence."""
        return await support.outcomes_of(self.store, self.campaign)

    async def deferrals(self) -> dict[int, tuple[int, bool]]:
        """Return tries and whether one runs, by sequence."""
        found = await support.rows(self.store, sa.select(schema.deferrals))
        return {row.sequence: (row.attempts, row.attempting) for row in found}

    async def is_released(self) -> bool:
        """Return whether nobody holds the shard."""
        (shard,) = await support.rows(self.store, sa.select(schema.shards))
        return shard.lease_expire_time is None


@asynccontextmanager
async def bench(
    folder: Path, messages: int, guarantee: Guarantee = Guarantee.AT_MOST_ONCE
) -> AsyncIterator[Bench]:
    async with support.open_store(folder) as store:
        row = await support.add_campaign(store, messages=messages, guarantee=guarantee)
        yield Bench(store, row, guarantee)
