"""Whatever calls meet, the sender and every watcher end with the state that the database has."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.databases import SqliteDatabase
from integration.migrated import MigratedDatabases
from integration.order_races import racing


@pytest.mark.parametrize("instances", [0, 1, 2], ids=["sqlite", "postgresql", "postgresql-2"])
async def test_s16_s17_l6_calls_that_meet_leave_one_truth(
    instances: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status_databases: MigratedDatabases,
    order_rounds: int,
) -> None:
    """StartCampaign again, pause, resume and cancel meet within 10 ms, half the rounds slowly.

    Afterwards the sender and the watchers agree with the database, nothing was handed
    over later than a second after a confirmed pause or cancel, and what was resumed
    goes on.
    """
    url = status_databases.take() if instances else SqliteDatabase(tmp_path / "s").url
    async with racing(
        tmp_path, url, monkeypatch, instances=max(instances, 1), seed=order_rounds
    ) as races:
        await races.run(order_rounds)
    assert races.violations == []
    assert set(races.seen) >= {"SENDING", "PAUSED", "CANCELLED"}
    if instances:
        status_databases.give_back(url)
