"""Which open campaigns want a look, by their rows: the same as by the rules."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from integration.status_support import serving
from service_runtime.database import Store
from status_service.campaigns import open_campaigns
from status_service.domain import Counters, fails_often
from status_service.migrations import MIGRATIONS
from status_service.schema import campaigns

if TYPE_CHECKING:
    from integration.databases import Database

_TOTAL = 1_000
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
