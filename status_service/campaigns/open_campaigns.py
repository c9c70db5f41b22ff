"""The open campaigns that want a look, found by their rows alone: no result is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from service_runtime.database_time import read_clock
from status_service.domain import OPEN, Diagnosis, State
from status_service.recording.types import CampaignKey
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

_COLUMNS = campaigns.c
PROCESSED = _COLUMNS.sent + _COLUMNS.failed + _COLUMNS.skipped + _COLUMNS.unknown
_STARTED = sa.func.coalesce(_COLUMNS.start_time, _COLUMNS.create_time)
#: Since when no new result came, or since the start.
IDLE_SINCE = sa.case(
    (_COLUMNS.progress_time > _STARTED, _COLUMNS.progress_time), else_=_STARTED
).label("idle_since")
#: As ``recording.problems`` writes it; within a text, its quotation marks are escaped.
NEEDS_A_PERSON = '%"needs_attention": true%'


class Noticed(NamedTuple):
    """An open campaign that wants a look.

    Attributes:
        key: the campaign.
        is_full: its counters say that every message has a result.
        diagnosis: what its row says is the matter with it.
        needs_attention: only a person, or a sender, brings it further.
        fails_often: so many of its results failed that people should hear of it.
    """

    key: CampaignKey
    is_full: bool
    diagnosis: Diagnosis
    needs_attention: bool
    fails_often: bool


class OpenCampaigns(NamedTuple):
    """All open campaigns at one moment.

    Attributes:
        by_organisation: how many there are.
        noticed: those that want a look, in order of their numbers.
        now: the database's time.
    """

    by_organisation: Mapping[str, int]
    noticed: Sequence[Noticed]
    now: datetime


def read(connection: sa.Connection, stall_threshold: timedelta) -> OpenCampaigns:
    """Return how many campaigns are open in each organisation, and which want a look.

    Two statements, whatever their number; nothing is made of the others.

    Args:
        connection: on a snapshot.
        stall_threshold: how long without a new result is too long.
    """
    now = read_clock(connection)
    is_open = _COLUMNS.state.in_(sorted(state.value for state in OPEN))
    counted = connection.execute(
        sa.select(_COLUMNS.organisation, sa.func.count().label("number"))
        .where(is_open)
        .group_by(_COLUMNS.organisation)
    )
    is_full = _COLUMNS.total <= PROCESSED
    is_sending = _COLUMNS.state == State.SENDING.value
    is_stalled = sa.and_(is_sending, ~is_full, now - stall_threshold > IDLE_SINCE)
    is_troubled = _COLUMNS.problems.like(NEEDS_A_PERSON)
    bad = _COLUMNS.failed + _COLUMNS.unknown
    # As :func:`.domain.fails_often`, which decides under the lock.
    fails_often = sa.and_(PROCESSED >= 100, 10 * bad >= PROCESSED)  # noqa: PLR2004
    rows = connection.execute(
        sa.select(
            _COLUMNS.organisation,
            _COLUMNS.campaign_id,
            _COLUMNS.state,
            _COLUMNS.progress_time.is_not(None).label("has_progress"),
            is_full.label("is_full"),
            is_stalled.label("is_stalled"),
            is_troubled.label("is_troubled"),
            fails_often.label("fails_often"),
        )
        .where(is_open, sa.or_(is_full, is_stalled, is_troubled, fails_often))
        .order_by(_COLUMNS.campaign)
    )
    return OpenCampaigns(
        {row.organisation: row.number for row in counted}, list(map(_noticed, rows)), now
    )


def _noticed(row: sa.Row[Any]) -> Noticed:
    if row.is_full:
        diagnosis = Diagnosis.FULLY_PROCESSED
    elif row.is_stalled:
        diagnosis = Diagnosis.STALLED if row.has_progress else Diagnosis.NEVER_STARTED
    else:
        diagnosis = Diagnosis.PAUSED if row.state == State.PAUSED.value else Diagnosis.IN_PROGRESS
    return Noticed(
        CampaignKey(row.organisation, row.campaign_id),
        is_full=bool(row.is_full),
        diagnosis=diagnosis,
        needs_attention=bool(row.is_stalled or row.is_troubled),
        fails_often=bool(row.fails_often),
    )
