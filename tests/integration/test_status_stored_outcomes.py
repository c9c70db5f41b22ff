"""What is stored is found, however the results of a transaction lie, on each database."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from integration.databases import Database
from service_runtime.database import Store
from status_service.domain import Outcome
from status_service.migrations import MIGRATIONS
from status_service.recording.result_columns import ResultColumns
from status_service.recording.result_rows import upsert
from status_service.recording.stored_outcomes import stored_outcomes

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def connection(database: Database) -> Iterator[sa.Connection]:
    """A transaction in a database with tables."""
    with closing(Store(database.url, MIGRATIONS, holder="tester")):
        engine = database.engine()
        with engine.begin() as connection:
            yield connection
        engine.dispose()


def _store(connection: sa.Connection, campaign: int, sequences: Sequence[int]) -> dict[int, int]:
    stored = {sequence: sequence % 4 + 1 for sequence in sequences}
    rows = [(sequence, outcome, 1, "", "", "", None) for sequence, outcome in stored.items()]
    upsert(connection, [(campaign, ResultColumns.of(rows))], _NOW, all_new=True)
    return stored


def test_s2_what_is_stored_is_found_wherever_it_lies(connection: sa.Connection) -> None:
    """Frames in order, far apart, overlapping, sparse and of single results, of many campaigns."""
    chance = random.Random(7)  # noqa: S311 - no secret
    requested: dict[int, list[Sequence[int]]] = {}
    stored = {}
    for campaign in range(1, 121):
        stored[campaign] = _store(connection, campaign, chance.sample(range(1, 3_001), 60))
        requested[campaign] = [
            [start, *range(start, start + 9)] for start in chance.sample(range(1, 3_001), 3)
        ]
    requested[1] = [range(1, 501), range(400, 900), [5], range(2_500, 3_001)]
    requested[2] = [chance.sample(range(1, 3_001), 1_500)]  # more than one statement's keys
    requested[3] = [[sequence] for sequence in chance.sample(range(1, 3_001), 40)]
    requested[4] = []
    found = stored_outcomes(connection, requested)
    assert found.keys() == requested.keys()
    for campaign, parts in requested.items():
        wanted = {sequence for part in parts for sequence in part}
        assert found[campaign].items() <= stored[campaign].items()
        assert wanted & found[campaign].keys() == wanted & stored[campaign].keys()


def test_nothing_stored_is_nothing_found(connection: sa.Connection) -> None:
    """Results of several streams of a new campaign take the quick path: none is there."""
    _store(connection, 2, [1, 2, 3])
    parts = [range(start, start + 500) for start in range(1, 10_000_000, 1_000_000)]
    assert stored_outcomes(connection, {1: parts}) == {1: {}}
    assert Outcome.SENT in stored_outcomes(connection, {2: [[1], [3]]})[2].values()
