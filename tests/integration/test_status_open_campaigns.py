"""Which open campaigns want a look, by their rows: the same as by the rules."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from integration.status_support import serving
from service_runtime.database import Store
from status_service.campaigns import open_campaigns
from status_service.domain import Counters, Diagnosis, State, fails_often
from status_service.migrations import MIGRATIONS
from status_service.schema import campaigns

if TYPE_CHECKING:
    from integration.databases import Database

_TOTAL = 1_000
_HOUR = timedelta(hours=1)
_COUNTERS = {
    "few": Counters(sent=0, failed=99),
    "enough": Counters(sent=90, failed=10),
    "almost": Counters(sent=91, failed=9),
    "doubtful": Counters(sent=90, failed=4, unknown=6),
    "skipped": Counters(sent=60, failed=10, skipped=30),
    "more": Counters(sent=180, failed=20),
    "less": Counters(sent=181, failed=19),
    "full": Counters(sent=_TOTAL),
    "short": Counters(sent=_TOTAL - 1),
}


async def test_a_row_says_what_the_rules_say_of_its_counters(database: Database) -> None:
    """On either side of each limit: a tenth of 100 results failed, and every message has one."""
    async with serving(database) as status:
        for name in _COUNTERS:
            await status.start(name, _TOTAL)

    def count(connection: sa.Connection) -> None:
        for name, counters in _COUNTERS.items():
            connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.campaign_id == name)
                .values(
                    sent=counters.sent,
                    failed=counters.failed,
                    skipped=counters.skipped,
                    unknown=counters.unknown,
                )
            )

    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        await store.write(count)
        found = await store.read(lambda one: open_campaigns.read(one, timedelta(hours=1)))
    finally:
        store.close()
    assert found.by_organisation == {"default": len(_COUNTERS)}
    by_name = {one.key.campaign_id: one for one in found.noticed}
    often = {name for name, counters in _COUNTERS.items() if fails_often(counters)}
    assert often == {"enough", "doubtful", "skipped", "more"}
    assert {name for name, one in by_name.items() if one.fails_often} == often
    full = {name for name, counters in _COUNTERS.items() if counters.processed == _TOTAL}
    assert {name for name, one in by_name.items() if one.is_full} == full == {"full"}
    assert by_name.keys() == often | full
    assert not any(one.needs_attention for one in found.noticed)


async def test_what_is_the_matter_with_a_campaign_is_said_by_its_row(database: Database) -> None:
    """The first that holds: it is full, it has stood still for too long, or it only fails often."""
    now = datetime.now(UTC)
    failing = {"failed": 100}
    rows: dict[str, dict[str, Any]] = {
        "never": {"start_time": now - 2 * _HOUR},
        "stalled": {"start_time": now - 3 * _HOUR, "progress_time": now - 2 * _HOUR},
        "stalled failing": failing
        | {"start_time": now - 3 * _HOUR, "progress_time": now - 2 * _HOUR},
        "started again": {"start_time": now, "progress_time": now - 2 * _HOUR},
        "moving": failing | {"start_time": now - 3 * _HOUR, "progress_time": now},
        "paused": failing | {"start_time": now - 3 * _HOUR, "state": State.PAUSED.value},
        "full": {"sent": _TOTAL, "start_time": now - 3 * _HOUR},
    }
    async with serving(database) as status:
        for name in rows:
            await status.start(name.replace(" ", "-"), _TOTAL)

    def change(connection: sa.Connection) -> None:
        for name, values in rows.items():
            connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.campaign_id == name.replace(" ", "-"))
                .values(**values)
            )

    store = await asyncio.to_thread(Store, database.url, MIGRATIONS, holder="test")
    try:
        await store.write(change)
        found = await store.read(lambda one: open_campaigns.read(one, _HOUR))
    finally:
        store.close()
    said = {
        one.key.campaign_id: (one.diagnosis, one.needs_attention, one.fails_often)
        for one in found.noticed
    }
    assert said == {
        "never": (Diagnosis.NEVER_STARTED, True, False),
        "stalled": (Diagnosis.STALLED, True, False),
        "stalled-failing": (Diagnosis.STALLED, True, True),
        "moving": (Diagnosis.IN_PROGRESS, False, True),
        "paused": (Diagnosis.PAUSED, False, True),
        "full": (Diagnosis.FULLY_PROCESSED, False, False),
    }
    assert found.by_organisation == {"default": len(rows)}
