"""Ranges of messages are found, and cut where a transaction has enough of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, combinations, pairwise, product

import pytest
import sqlalchemy as sa

from status_service.recording import gaps
from status_service.recording.gaps import first_messages, messages_in, missing_ranges
from status_service.schema import results

_RANGES = [(2, 2), (4, 6), (9, 12), (20, 20)]


@pytest.mark.parametrize("most", range(12))
def test_a_cut_divides_ranges_and_loses_no_message(most: int) -> None:
    """The first part has as many messages as asked for, and both have each message once."""
    taken, left = first_messages(_RANGES, most)
    assert messages_in(taken) == min(most, 9)
    messages = [range(first, last + 1) for first, last in (*taken, *left)]
    assert list(chain(*messages)) == [2, 4, 5, 6, 9, 10, 11, 12, 20]


def test_a_range_is_cut_in_its_middle() -> None:
    """A range that is too long for what is asked for is divided."""
    assert first_messages([(1, 10**9)], 3) == ([(1, 3)], [(4, 10**9)])


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    """A database in memory with the table of results."""
    engine = sa.create_engine("sqlite://")
    results.create(engine)
    with engine.connect() as connected:
        yield connected
    engine.dispose()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_both_statements_find_each_message_without_a_result(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    """Whichever of five messages have one, behind any message; SQLite runs both statements."""
    total = 5
    stored = [
        set(chosen)
        for size in range(total + 1)
        for chosen in combinations(range(1, total + 1), size)
    ]
    texts = dict.fromkeys(("code", "detail", "provider_message_id"), "")
    connection.execute(
        sa.insert(results).values(
            outcome=4, attempt=1, record_time=datetime(2026, 1, 1, tzinfo=UTC), **texts
        ),
        [
            {"campaign": campaign, "sequence": sequence}
            for campaign, sequences in enumerate(stored)
            for sequence in sequences
        ],
    )
    monkeypatch.setattr(connection.dialect, "name", dialect)
    monkeypatch.setattr(gaps, "_CHUNK", 2)
    for campaign, after in product(range(len(stored)), range(total + 1)):
        found = missing_ranges(connection, campaign, total, after=after, limit=total)
        messages = [range(first, last + 1) for first, last in found]
        expected = sorted(set(range(after + 1, total + 1)) - stored[campaign])
        assert list(chain(*messages)) == expected, (stored[campaign], after)
        # Ranges that touch would be one.
        assert all(one.stop < other.start for one, other in pairwise(messages))
        first = missing_ranges(connection, campaign, total, after=after, limit=1)
        assert first == found[:1]
