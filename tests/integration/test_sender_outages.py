"""How long a provider counts as unreachable, where the store of the sender fails as well."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from sender_service.campaigns.directory import Directory
from sender_service.delivery.circuit_breaker import Breaker, CircuitBreaker
from sender_service.store import schema
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from service_runtime.database import Store

_HOUR = 3600


class Outage:
    """A campaign whose provider has been unreachable for an hour or two."""

    def __init__(self, store: Store, breaker: CircuitBreaker) -> None:
        self.store = store
        self.breaker = breaker

    async def row(self) -> Any:
        """Return the campaign as it is stored."""
        (row,) = await support.rows(self.store, sa.select(schema.campaigns))
        return row

    async def without_writes(
        self, monkeypatch: pytest.MonkeyPatch, call: Callable[[], Awaitable[None]], *, after: int
    ) -> None:
        """Make a call while the store takes only the first ``after`` writes."""
        write, left = self.store.write, after

        async def failing(work: Any) -> Any:
            nonlocal left
            if left == 0:
                raise StoreUnavailableError("the test says so")
            left -= 1
            return await write(work)

        with monkeypatch.context() as patch:
            patch.setattr(self.store, "write", failing)
            await call()


@asynccontextmanager
async def outage(folder: Path) -> AsyncIterator[Outage]:
    """Begin an outage, of which the provider is given up after an hour."""
    async with support.open_store(folder) as store:
        row = await support.add_campaign(store, messages=1)
        directory = Directory(store)
        breaker = CircuitBreaker(store, directory, directory.add(row), deadline_seconds=_HOUR)
        assert await breaker.open(support.UNREACHABLE)
        table = schema.campaigns
        (stored,) = await support.rows(store, sa.select(table))
        since = stored.unreachable_time - timedelta(hours=2)
        await store.write(lambda c: c.execute(sa.update(table).values(unreachable_time=since)))
        yield Outage(store, breaker)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("call", ["answered", "close"])
async def test_the_end_of_an_outage_is_stored_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    """An answer and a pause end an outage in one transaction, and repeat one that failed."""
    async with outage(tmp_path) as o:
        end = getattr(o.breaker, call)

        async def first() -> None:
            if call == "answered" or after:
                await end()
            else:
                with pytest.raises(StoreUnavailableError):
                    await end()

        await o.without_writes(monkeypatch, first, after=after)
        assert o.breaker.state is Breaker.CLOSED
        if not after:
            await end()
        row = await o.row()
        assert (row.unreachable_time, row.problems) == (None, "[]")


async def test_an_outage_counts_nothing_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the store did not take the end of that, no message fails for it."""
    async with outage(tmp_path) as o:
        await o.without_writes(monkeypatch, o.breaker.answered, after=0)
        assert await o.breaker.open(support.UNREACHABLE)
        assert "PROVIDER_UNREACHABLE" in (await o.row()).problems


async def test_an_outage_that_goes_on_is_given_up(tmp_path: Path) -> None:
    """A probe that fails counts from the first failure on."""
    async with outage(tmp_path) as o:
        o.breaker.state = Breaker.HALF_OPEN
        assert not await o.breaker.open(support.UNREACHABLE)
