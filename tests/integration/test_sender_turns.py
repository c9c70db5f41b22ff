"""Campaigns of a channel take turns, and each does something with its turn."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from integration.sender_pair import pair
from sender_service.delivery import campaign_delivery
from sender_service.delivery.fair_scheduler import FairScheduler

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_l5_a_turn_lasts_its_time_although_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign is not sent away with each look of another one: its shard is claimed once."""
    monkeypatch.setattr(FairScheduler, "others_wait", True)
    monkeypatch.setattr(campaign_delivery, "_TURN_SECONDS", 3_600.0)
    async with pair(tmp_path, concurrent_campaigns=1) as both:
        await both.begin("c1", 40)
        assert (await both.ended("c1")).sent == 40
    with closing(sqlite3.connect(tmp_path / "sender.db")) as connection:
        assert connection.execute("SELECT epoch FROM shards").fetchall() == [(1,)]
