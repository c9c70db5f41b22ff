"""How the open campaigns of all organisations stand, for metrics: one read, now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
import structlog
from prometheus_client import Gauge

from service_runtime.database_time import database_now
from service_runtime.errors import StoreUnavailableError
from status_service.domain import State
from status_service.schema import campaigns

if TYPE_CHECKING:
    from datetime import timedelta

    from prometheus_client import CollectorRegistry

    from service_runtime.database import Store

log = structlog.get_logger()

#: What is known is read again after so long, at most once for each scrape, seconds.
_KEEP_SECONDS = 3.0
_STATES = (State.SCHEDULED, State.SENDING, State.PAUSED)
#: How a problem that needs a person is stored: see ``recording.problems``.
_NEEDY = '%"needs_attention": true%'


class Standings(NamedTuple):
    """How the open campaigns stand together.

    Attributes:
        by_state: how many are in each state that is not terminal, but for drafts.
        longest_seconds: how long the one that stands longest has had no new result; 0: none
            is SENDING.
        stalled: how many are SENDING without a new result for longer than the threshold.
        needy: how many are stalled, or have a problem that only a person can solve.
    """

    by_state: dict[str, int]
    longest_seconds: float
    stalled: int
    needy: int


def read_standings(connection: sa.Connection, stall_threshold: timedelta) -> Standings:
    """Return how the open campaigns stand, by one pass over the index of open campaigns."""
    columns = campaigns.c
    now = sa.select(database_now().label("now")).cte("clock")
    since = sa.type_coerce(
        sa.func.coalesce(columns.progress_time, columns.start_time, columns.create_time),
        sa.BigInteger,
    )
    idle = sa.type_coerce(now.c.now, sa.BigInteger) - since
    sending = columns.state == State.SENDING.value
    is_stalled = sa.and_(sending, idle > round(stall_threshold.total_seconds() * 1_000_000))
    # A paused campaign waits for whoever paused it.
    is_held = sa.and_(columns.state != State.PAUSED.value, columns.problems.like(_NEEDY))
    rows = connection.execute(
        sa.select(
            columns.state,
            sa.func.count().label("campaigns"),
            sa.func.max(sa.case((sending, idle), else_=0)).label("longest"),
            _how_many(is_stalled).label("stalled"),
            _how_many(sa.or_(is_stalled, is_held)).label("needy"),
        )
        .select_from(campaigns.join(now, sa.true()))
        .where(columns.state.in_([state.value for state in _STATES]))
        .group_by(columns.state)
    ).all()
    return Standings(
        {row.state: row.campaigns for row in rows},
        max((max(row.longest, 0) / 1_000_000 for row in rows), default=0.0),
        sum(row.stalled for row in rows),
        sum(row.needy for row in rows),
    )


def _how_many(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.sum(sa.case((condition, 1), else_=0)), sa.BigInteger)


class CampaignGauges:
    """Shows how the open campaigns stand.

    Every instance on one database shows the same numbers: take their maximum, not their sum.

    Args:
        store: the database.
        registry: where the metrics are registered.
        stall_threshold: how long without a new result is too long.
    """

    def __init__(
        self, store: Store, registry: CollectorRegistry, *, stall_threshold: timedelta
    ) -> None:
        self._store = store
        self._threshold = stall_threshold
        self._read_time = float("-inf")
        self._campaigns = Gauge(
            "closeout_campaigns",
            "Campaigns that are started or scheduled and not ended, by state.",
            ["state"],
            registry=registry,
        )
        for state in _STATES:
            self._campaigns.labels(state.value)
        self._longest = Gauge(
            "closeout_longest_standing_seconds",
            "Seconds since the last new result of the SENDING campaign that stands longest.",
            registry=registry,
        )
        self._stalled = Gauge(
            "closeout_campaigns_stalled",
            "SENDING campaigns without a new result for longer than the stall threshold.",
            registry=registry,
        )
        self._needy = Gauge(
            "closeout_campaigns_need_attention",
            "Campaigns that are stalled, or have a problem that only a person can solve.",
            registry=registry,
        )

    async def refresh(self) -> None:
        """Read the numbers again if they are old; while the database fails they stay."""
        now = time.monotonic()
        if now - self._read_time < _KEEP_SECONDS:
            return
        self._read_time = now
        try:
            found = await self._store.read(lambda c: read_standings(c, self._threshold))
        except StoreUnavailableError as error:
            log.debug("campaign_metrics_old", error=error.message)
            return
        for state in _STATES:
            self._campaigns.labels(state.value).set(found.by_state.get(state.value, 0))
        self._longest.set(found.longest_seconds)
        self._stalled.set(found.stalled)
        self._needy.set(found.needy)
