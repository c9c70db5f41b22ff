"""When a campaign begins: what the status service answered, and when it was noted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from sender_service.domain import Phase
from sender_service.store import campaigns, schema
from service_runtime.database_time import read_clock

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("phase", "noted", "scheduled", "expected"),
    [
        pytest.param(Phase.FROZEN, -HOUR, None, None, id="frozen an hour ago, started now"),
        pytest.param(Phase.FROZEN, HOUR, None, None, id="frozen for later, started now"),
        pytest.param(Phase.STARTED, -HOUR, None, -HOUR, id="it runs, and is answered again"),
        pytest.param(Phase.STARTED, HOUR, None, None, id="it was to begin later, and begins now"),
        pytest.param(Phase.FROZEN, -HOUR, HOUR, HOUR, id="frozen, started for later"),
        pytest.param(Phase.STARTED, 2 * HOUR, HOUR, HOUR, id="it is moved"),
    ],
)
async def test_a_campaign_begins_when_the_status_service_says(
    tmp_path: Path,
    phase: Phase,
    noted: timedelta,
    scheduled: timedelta | None,
    expected: timedelta | None,
) -> None:
    """What repeats a campaign counts from its begin, so it moves where that does and only there.

    None stands for now.
    """
    async with support.open_store(tmp_path) as store:
        row = await support.add_campaign(store, messages=1)

        def starting(connection: sa.Connection) -> tuple[Any, Any]:
            before = read_clock(connection)
            connection.execute(
                sa.update(schema.campaigns).values(phase=phase.value, begin_time=before + noted)
            )
            time = None if scheduled is None else before + scheduled
            campaigns.mark_started(connection, row.campaign, schedule_time=time)
            return before, connection.scalar(sa.select(schema.campaigns.c.begin_time))

        before, begins = await store.write(starting)
        moved = begins - before
        wanted = expected or timedelta()
        assert wanted <= moved < wanted + HOUR / 2
