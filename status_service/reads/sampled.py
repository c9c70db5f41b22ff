"""What the samples of campaigns show: their counters over time, and their pace."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service_runtime.database_time import UtcTime, read_clock
from status_service.domain import Counters, State
from status_service.reads.pace import ESTIMATE_SPAN, NO_PACE, Course, Pace, Sample, pace, series
from status_service.recording import lookup
from status_service.recording.thinning import SAMPLE_INTERVAL
from status_service.recording.types import counters_of
from status_service.schema import campaigns, samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime


#: How long samples are kept that were read.
_KEPT = SAMPLE_INTERVAL / 2


def course_of(campaign: sa.Row[Any], now: datetime, stall_threshold: timedelta) -> Course:
    """Return a row of ``campaigns`` as what its pace is derived from."""
    return Course(
        state=State(campaign.state),
        total=campaign.total,
        counters=counters_of(campaign),
        start_time=campaign.start_time,
        progress_time=campaign.progress_time,
        now=now,
        stall_threshold=stall_threshold,
    )


def samples_of(connection: sa.Connection, campaign: int) -> Sequence[Sample]:
    """Return the samples of a campaign by its number, oldest first."""
    rows = connection.execute(
        sa.select(samples).where(samples.c.campaign == campaign).order_by(samples.c.sample_time)
    )
    return [_sample(row) for row in rows]


def series_of(
    connection: sa.Connection, organisation: str, campaign_id: str, *, stall_threshold: timedelta
) -> Sequence[Sample]:
    """Return the counters of a campaign over time: :func:`.pace.series`.

    Raises:
        CampaignNotFoundError: there is none.
    """
    campaign = lookup.get(connection, organisation, campaign_id)
    course = course_of(campaign, read_clock(connection), stall_threshold)
    return series(samples_of(connection, campaign.campaign), course)


class RecentSamples:
    """The samples that paces are derived from, for somebody who asks again and again.

    They are noted every ten seconds, so those of a few seconds ago do.
    """

    def __init__(self) -> None:
        self._read_time: datetime | None = None
        self._samples: dict[int, list[Sample]] = {}

    def of(
        self, connection: sa.Connection, numbers: Sequence[int], now: datetime
    ) -> Mapping[int, Sequence[Sample]]:
        """Return the samples of the last minutes of campaigns by their numbers."""
        age = None if self._read_time is None else now - self._read_time
        is_young = age is not None and timedelta() <= age < _KEPT
        if not (is_young and self._samples.keys() >= set(numbers)):
            self._samples = {number: [] for number in numbers}
            self._read_time = now
            if numbers:
                for row in connection.execute(_recent(numbers, now)):
                    self._samples[row.campaign].append(_sample(row))
        return self._samples


def paces(
    connection: sa.Connection,
    rows: Iterable[sa.Row[Any]],
    *,
    now: datetime,
    stall_threshold: timedelta,
    recent: RecentSamples | None = None,
) -> dict[int, Pace]:
    """Return the pace of each of these campaigns by its number, with one query for all of them.

    Args:
        connection: on a snapshot.
        rows: rows of ``campaigns``.
        now: the database's time.
        stall_threshold: how long without a new result is too long.
        recent: what was read for the same caller before; None: nothing.
    """
    courses = {row.campaign: course_of(row, now, stall_threshold) for row in rows}
    sending = [number for number, one in courses.items() if one.state is State.SENDING]
    known = (recent or RecentSamples()).of(connection, sending, now)
    return {
        number: pace(known[number], course) if course.state is State.SENDING else NO_PACE
        for number, course in courses.items()
    }


def _recent(numbers: Sequence[int], now: datetime) -> sa.Executable:
    """Return the query of the samples of the last minutes, and the last one before of each."""
    begin = now - ESTIMATE_SPAN
    last_before = (
        sa.select(sa.func.max(samples.c.sample_time))
        .where(samples.c.campaign == campaigns.c.campaign, samples.c.sample_time <= begin)
        .scalar_subquery()
    )
    # One look for each campaign, where a condition on ``samples`` would be one for each of them.
    bounds = (
        sa.select(
            campaigns.c.campaign,
            sa.func.coalesce(last_before, sa.literal(begin, UtcTime)).label("first"),
        )
        .where(campaigns.c.campaign.in_(numbers))
        .cte("bounds")
        # Without it PostgreSQL looks once for each sample.
        .prefix_with("MATERIALIZED")
    )
    return sa.select(samples).join(
        bounds,
        sa.and_(samples.c.campaign == bounds.c.campaign, samples.c.sample_time >= bounds.c.first),
    )


def _sample(row: sa.Row[Any]) -> Sample:
    return Sample(row.sample_time, Counters(row.sent, row.failed, row.skipped, row.unknown))
