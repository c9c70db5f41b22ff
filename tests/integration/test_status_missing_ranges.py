"""Ranges of messages without a result, compared with a look at each message."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import product

import pytest
import sqlalchemy as sa

from integration.databases import Database
from service_runtime.database import Store
from status_service.migrations import MIGRATIONS
from status_service.recording import gaps
from status_service.schema import results

_TOTAL = 60
#: How many of its messages a campaign has results of, by its number.
_STORED = {1: 0, 2: 1, 3: 10, 4: 30, 5: 50, 6: 59, 7: 60}
_WINDOWS, _CHUNKS = (4, 30), (1, 3)
_AFTER, _LIMITS = (0, 17, 40, 59), (1, 3, 100)


def _expected(stored: set[int], after: int) -> list[tuple[int, int]]:
    """Return all ranges above ``after``, by a look at each message."""
    ranges: list[tuple[int, int]] = []
    for sequence in range(after + 1, _TOTAL + 1):
        if sequence in stored:
            continue
        if ranges and ranges[-1][1] == sequence - 1:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return ranges


def _store(stored: Mapping[int, Iterable[int]]) -> Callable[[sa.Connection], object]:
    """Return what stores results of campaigns, by their numbers."""
    rows = [
        {"campaign": campaign, "sequence": sequence}
        for campaign, sequences in stored.items()
        for sequence in sequences
    ]
    texts = dict.fromkeys(("code", "detail", "provider_message_id"), "")
    insert = sa.insert(results).values(
        outcome=4, attempt=1, record_time=datetime(2026, 1, 1, tzinfo=UTC), **texts
    )
    return lambda connection: connection.execute(insert, rows)


async def test_missing_ranges_are_those_of_each_message(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a window or a chunk ends, from any message on, and up to what is enough."""
    chosen = random.Random(20)  # noqa: S311 - the same each time
    stored = {
        campaign: set(chosen.sample(range(1, _TOTAL + 1), number))
        for campaign, number in _STORED.items()
    }

    def compare(connection: sa.Connection) -> None:
        for window, chunk in product(_WINDOWS, _CHUNKS):
            monkeypatch.setattr(gaps, "_WINDOW", window)
            monkeypatch.setattr(gaps, "_CHUNK", chunk)
            for campaign, after, limit in product(stored, _AFTER, _LIMITS):
                found = gaps.find(
                    connection, campaign, _TOTAL, limit=limit, after=after, most_windows=None
                )
                expected = _expected(stored[campaign], after)[:limit]
                assert found == (expected, None), (window, chunk, campaign, after, limit)

    def stop(connection: sa.Connection) -> None:
        monkeypatch.setattr(gaps, "_WINDOW", 4)
        found = gaps.find(connection, 8, _TOTAL, limit=9, most_windows=None, enough=2)
        assert found == ([(3, 3), (6, 6)], 10)

    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        early = set(range(1, _TOTAL + 1)) - {3, 6, 11}
        await store.write(_store(stored | {8: early}))
        await store.read(compare)
        await store.read(stop)
    finally:
        store.close()
