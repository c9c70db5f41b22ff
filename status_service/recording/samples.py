"""The counters of campaigns over time, as rows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

# SQLite has the same clause and compiles this form of it.
from sqlalchemy.dialects.postgresql import insert

from service_runtime.database_time import UtcTime, database_now, read_clock
from status_service.domain import OPEN
from status_service.recording.thinning import MOST_SAMPLES, SAMPLE_INTERVAL, thinned
from status_service.recording.types import CampaignKey
from status_service.schema import campaigns, samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_COUNTERS = ("sent", "failed", "skipped", "unknown")
_COLUMNS = samples.c
#: One that is nearly as old as the interval is old enough for another.
_NEAR = SAMPLE_INTERVAL * 0.8
_FIRST_STEP = int(SAMPLE_INTERVAL.total_seconds())
#: Of the processes that share a database, one notes samples at a time.
_TAKE_TURN = "SELECT pg_try_advisory_xact_lock(7021947053)"


class DueSample(NamedTuple):
    """A sample to note: the campaign by its number, its counters when it was read, and so on."""

    key: CampaignKey
    values: dict[str, Any]


def due(
    connection: sa.Connection, keys: Sequence[CampaignKey]
) -> tuple[list[DueSample], list[CampaignKey]]:
    """Return the samples to note of those of ``keys`` whose counters differ from their last one.

    Args:
        connection: on a snapshot.
        keys: campaigns.

    Returns:
        The samples that are due, and the campaigns whose last one is too young for another.
    """
    now = read_clock(connection)  # before the rows: what is read is not older than it says
    found, young = [], []
    for row in connection.execute(_CHANGED, {"keys": list(keys)}):
        key = CampaignKey(row.organisation, row.campaign_id)
        if row.last_time is not None and row.last_time > now - _NEAR:
            young.append(key)
            continue
        values = {
            "of": row.campaign,
            "at": now,
            "young": now - _NEAR,
            **{f"new_{name}": getattr(row, name) for name in _COUNTERS},
            "new_number": (row.number or 0) + 1,
            "new_step": row.step or _FIRST_STEP,
        }
        found.append(DueSample(key, values))
    return found, young


def open_campaigns(connection: sa.Connection) -> list[CampaignKey]:
    """Return the campaigns in SENDING and PAUSED of all organisations."""
    rows = connection.execute(
        sa.select(campaigns.c.organisation, campaigns.c.campaign_id).where(
            campaigns.c.state.in_([state.value for state in OPEN])
        )
    )
    return [CampaignKey(*row) for row in rows]


def note(connection: sa.Connection, new: Sequence[DueSample]) -> bool:
    """Note samples, and thin those of campaigns that have too many.

    Returns:
        False if another process notes samples at this moment; nothing is done then.
    """
    if connection.dialect.name == "postgresql":
        took_turn: bool = connection.exec_driver_sql(_TAKE_TURN).scalar_one()
        if not took_turn:
            return False
    # One of them is left for the end of the campaign.
    full = [one for one in new if one.values["new_number"] >= MOST_SAMPLES]
    for one in full:
        _thin(connection, one)
    if new:
        connection.execute(_NOTE, [one.values for one in new])
    return True


def _thin(connection: sa.Connection, new: DueSample) -> None:
    """Drop older samples of a campaign; write into ``new`` what that leaves."""
    campaign = _COLUMNS.campaign == new.values["of"]
    times: list[datetime] = list(
        connection.execute(
            sa.select(_COLUMNS.sample_time).where(campaign).order_by(_COLUMNS.sample_time)
        ).scalars()
    )
    dropped, step = thinned(times, timedelta(seconds=new.values["new_step"]))
    connection.execute(sa.delete(samples).where(campaign, _COLUMNS.sample_time.in_(dropped)))
    new.values["new_number"] = len(times) - len(dropped) + 1
    new.values["new_step"] = int(step.total_seconds())


def note_end(connection: sa.Connection, campaign: int) -> None:
    """Note the counters of a campaign that ends, in the transaction that ends it.

    Args:
        connection: in a transaction that holds the campaign locked.
        campaign: its number.
    """
    connection.execute(_NOTE_END, {"of": campaign})


def _changed() -> sa.Executable:
    """Return the query of campaigns and their last samples; one without results has none."""
    columns = campaigns.c
    earlier = samples.alias()
    newest = (
        sa.select(sa.func.max(earlier.c.sample_time))
        .where(earlier.c.campaign == columns.campaign)
        .scalar_subquery()
    )
    differs = sa.or_(*(columns[name] != sa.func.coalesce(_COLUMNS[name], 0) for name in _COUNTERS))
    return (
        sa.select(
            columns.campaign,
            columns.organisation,
            columns.campaign_id,
            *(columns[name] for name in _COUNTERS),
            _COLUMNS.sample_time.label("last_time"),
            _COLUMNS.number,
            _COLUMNS.step,
        )
        .join_from(
            campaigns,
            samples,
            sa.and_(_COLUMNS.campaign == columns.campaign, _COLUMNS.sample_time == newest),
            isouter=True,
        )
        .where(
            sa.tuple_(columns.organisation, columns.campaign_id).in_(
                sa.bindparam("keys", expanding=True)
            ),
            differs,
        )
        .order_by(columns.campaign)
    )


def _noting() -> sa.Executable:
    """Return the statement that notes a sample, if another process has not noted one since."""

    def number(name: str) -> sa.ColumnElement[int]:
        return sa.cast(sa.bindparam(name, type_=sa.BigInteger), sa.BigInteger)

    of = number("of")
    noted_since = sa.exists().where(
        _COLUMNS.campaign == of, _COLUMNS.sample_time > sa.bindparam("young", type_=UtcTime)
    )
    row = sa.select(
        of,
        sa.cast(sa.bindparam("at", type_=UtcTime), UtcTime),
        *(number(f"new_{name}") for name in (*_COUNTERS, "number", "step")),
    ).where(~noted_since)
    return (
        insert(samples)
        .from_select(
            ["campaign", "sample_time", *_COUNTERS, "number", "step"],
            row,
        )
        .on_conflict_do_nothing()
    )


def _noting_end() -> sa.Executable:
    """Return the statement that notes a campaign's counters as they are."""
    columns = campaigns.c
    earlier = (
        sa.select(_COLUMNS.number, _COLUMNS.step)
        .where(_COLUMNS.campaign == sa.bindparam("of", type_=sa.BigInteger))
        .order_by(_COLUMNS.sample_time.desc())
        .limit(1)
        .subquery()
    )
    row = (
        sa.select(
            columns.campaign,
            database_now(),
            *(columns[name] for name in _COUNTERS),
            sa.func.coalesce(earlier.c.number, 0) + 1,
            sa.func.coalesce(earlier.c.step, _FIRST_STEP),
        )
        .join_from(campaigns, earlier, sa.true(), isouter=True)
        .where(columns.campaign == sa.bindparam("of", type_=sa.BigInteger))
    )
    return (
        insert(samples)
        .from_select(["campaign", "sample_time", *_COUNTERS, "number", "step"], row)
        .on_conflict_do_nothing()
    )


_CHANGED = _changed()
_NOTE = _noting()
_NOTE_END = _noting_end()
