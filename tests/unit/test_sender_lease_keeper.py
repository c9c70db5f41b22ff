"""How long a lease is believed to last, with renewals whose answers and times the test gives."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from sender_service.delivery import lease_keeper
from sender_service.delivery.lease_keeper import LeaseKeeper
from sender_service.errors import LeaseLostError
from sender_service.store.shards import Lease
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LEASE_SECONDS = 30.0
_PATIENCE_SECONDS = 20.0
_LEASE = Lease(campaign=1, shard=1, owner="one", epoch=1)


class Renewals:
    """A store that is asked to renew, and the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self._asked: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def write(self, _: Any) -> None:
        """Wait for the answer."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(answer)
        await answer

    async def asked(self) -> asyncio.Future[None]:
        """Wait for the next renewal; return what takes its answer."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self._asked.get()


@pytest.fixture
def renewals(monkeypatch: pytest.MonkeyPatch) -> Renewals:
    """Renewals by a clock that stands still."""
    renewals = Renewals()
    monkeypatch.setattr(lease_keeper, "time", SimpleNamespace(monotonic=lambda: renewals.now))
    return renewals


@asynccontextmanager
async def keeping(
    renewals: Renewals,
) -> AsyncIterator[tuple[LeaseKeeper, asyncio.Task[None]]]:
    """Keep a lease that was claimed now; each renewal follows the one before at once."""
    store: Any = renewals
    keeper = LeaseKeeper(
        store,
        "c1",
        _LEASE,
        claimed_at=renewals.now,
        lease_seconds=_LEASE_SECONDS,
        heartbeat_seconds=0.0,
    )
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def seconds_left(keeper: LeaseKeeper) -> int:
    """Return for how many whole seconds the lease holds, as far as its holder knows."""
    return sum(keeper.outlasts(seconds) for seconds in range(int(_LEASE_SECONDS) * 2))


async def test_s9_a_renewed_lease_counts_from_when_it_was_asked_for(renewals: Renewals) -> None:
    """The database may have renewed it as soon as that; the answer took part of it."""
    async with keeping(renewals) as (keeper, _):
        renewal = await renewals.asked()
        renewals.now += 20
        assert seconds_left(keeper) == _LEASE_SECONDS - 20
        renewal.set_result(None)
        await renewals.asked()
        assert seconds_left(keeper) == _LEASE_SECONDS - 20
        renewals.now += 5
        assert seconds_left(keeper) == _LEASE_SECONDS - 25


async def test_a_renewal_moves_the_end_of_the_lease(renewals: Renewals) -> None:
    """Counted from the renewal, not from the claim."""
    async with keeping(renewals) as (keeper, _):
        first = await renewals.asked()
        renewals.now += 10
        first.set_result(None)
        second = await renewals.asked()
        renewals.now += 2
        second.set_result(None)
        await renewals.asked()
        assert seconds_left(keeper) == _LEASE_SECONDS - 2


async def test_s9_a_heartbeat_that_finds_the_lease_lost_says_so(renewals: Renewals) -> None:
    """Nothing outlasts it any more, whatever is left of it by the clock, and the keeper ends."""
    async with keeping(renewals) as (keeper, task):
        renewal = await renewals.asked()
        assert keeper.outlasts(0)
        renewal.set_exception(LeaseLostError(campaign=1, shard=1, epoch=1))
        with pytest.raises(LeaseLostError):
            await asyncio.wait_for(task, _PATIENCE_SECONDS)
        assert keeper.lost
        assert not keeper.outlasts(0)


async def test_s15_a_heartbeat_that_fails_leaves_the_lease_its_old_end(renewals: Renewals) -> None:
    """It is logged, and the next one renews it."""
    async with keeping(renewals) as (keeper, _):
        renewal = await renewals.asked()
        renewals.now += 10
        with capture_logs() as logs:
            renewal.set_exception(StoreUnavailableError("away"))
            renewal = await renewals.asked()
        assert [(line["event"], line["shard"]) for line in logs] == [("lease_not_renewed", 1)]
        assert seconds_left(keeper) == _LEASE_SECONDS - 10
        renewal.set_result(None)
        await renewals.asked()
        assert seconds_left(keeper) == _LEASE_SECONDS
