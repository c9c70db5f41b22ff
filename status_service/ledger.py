"""The write path: results in, counters and completion out, in one transaction.

Every function here works inside a transaction its caller holds, and begins by
locking the campaign rows it touches, so no two writers decide on each other's unseen
rows. The clock is read after that: a later writer has a later time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from service_runtime.database import read_clock
from status_service import queries
from status_service.completion import settle
from status_service.domain import OPEN, Cause, Counters, State
from status_service.errors import (
    CampaignBusyError,
    CampaignNotFoundError,
    CampaignNotSealedError,
    SequenceOutOfRangeError,
)
from status_service.result_rows import ResultRow, count, stored_outcomes, upsert
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from service_runtime.errors import ServiceError


class CampaignKey(NamedTuple):
    """What callers know a campaign by."""

    organisation: str
    campaign_id: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Results of one campaign as one frame of a stream brought them."""

    key: CampaignKey
    reporter: str
    rows: Sequence[ResultRow]


@dataclass(slots=True)
class FrameReceipt:
    """What became of a frame. ``error`` set: nothing of it is stored.

    ``state`` and ``processed`` are those of the campaign afterwards; None and 0 if there
    is none.
    """

    new: int = 0
    raised: int = 0
    duplicate: int = 0
    error: ServiceError | None = None
    state: State | None = None
    processed: int = 0


class Change(NamedTuple):
    """A campaign that a transaction changed, for those who watch it."""

    key: CampaignKey
    state: State
    total: int | None
    counters: Counters
    revision: int


@dataclass(slots=True)
class Recorded:
    """What a batch of frames did: a receipt for each, and the campaigns changed.

    Of those, ``completed`` were by this batch, and ``late`` had been before it: a
    better result corrected their counters.
    """

    receipts: list[FrameReceipt]
    changes: list[Change] = field(default_factory=list)
    completed: list[Change] = field(default_factory=list)
    late: list[Change] = field(default_factory=list)


def key_of(campaign: sa.Row[Any]) -> CampaignKey:
    """Return the key of a row of ``campaigns``."""
    return CampaignKey(campaign.organisation, campaign.campaign_id)


def counters_of(campaign: sa.Row[Any]) -> Counters:
    """Return the counters of a row of ``campaigns``."""
    return Counters(campaign.sent, campaign.failed, campaign.skipped, campaign.unknown)


def change_of(campaign: sa.Row[Any]) -> Change:
    """Return a row of ``campaigns`` as those who watch it see it."""
    return Change(
        key_of(campaign),
        State(campaign.state),
        campaign.total,
        counters_of(campaign),
        campaign.revision,
    )


def lock(
    connection: sa.Connection, keys: Iterable[CampaignKey], *, skip_busy: bool = False
) -> dict[CampaignKey, sa.Row[Any]]:
    """Lock the rows of these campaigns, in one order for all callers, and return them.

    With ``skip_busy`` those that somebody else holds locked are left out. On SQLite the
    transaction holds the only write lock there is already.
    """
    wanted = sa.tuple_(campaigns.c.organisation, campaigns.c.campaign_id).in_(list(keys))
    rows = connection.execute(
        sa.select(campaigns)
        .where(wanted)
        .order_by(campaigns.c.campaign)
        .with_for_update(skip_locked=skip_busy)
    )
    return {key_of(row): row for row in rows}


def lock_one(connection: sa.Connection, key: CampaignKey) -> sa.Row[Any]:
    """Lock one campaign and return its row.

    Raises:
        CampaignNotFoundError: there is none in this organisation.
    """
    found = lock(connection, [key])
    if key not in found:
        raise CampaignNotFoundError(key.campaign_id)
    return found[key]


def record(
    connection: sa.Connection, frames: Sequence[Frame], *, skip_busy: bool = False
) -> Recorded:
    """Store the results of ``frames``, and complete the campaigns they complete.

    A frame that can't be applied gets an ``error`` in its receipt and leaves the
    others alone. With ``skip_busy`` so do frames of campaigns that somebody else holds
    locked; without it they are waited for.
    """
    receipts = [FrameReceipt() for _ in frames]
    recorded = Recorded(receipts)
    by_campaign: dict[CampaignKey, list[int]] = {}
    for index, frame in enumerate(frames):
        by_campaign.setdefault(frame.key, []).append(index)
    locked = lock(connection, by_campaign, skip_busy=skip_busy)
    busy = _others(connection, by_campaign.keys() - locked) if skip_busy else set()
    now = read_clock(connection)
    for key, indexes in by_campaign.items():
        campaign = locked.get(key)
        if campaign is None:
            for index in indexes:
                receipts[index].error = (
                    CampaignBusyError(key.campaign_id)
                    if key in busy
                    else CampaignNotFoundError(key.campaign_id)
                )
            continue
        accepted = []
        for index in indexes:
            receipts[index].error = _refusal(campaign, frames[index])
            if receipts[index].error is None:
                accepted.append((frames[index], receipts[index]))
        campaign = _record_campaign(connection, campaign, accepted, now, recorded)
        for index in indexes:
            receipts[index].state = State(campaign.state)
            receipts[index].processed = counters_of(campaign).processed
    return recorded


def _others(connection: sa.Connection, keys: Collection[CampaignKey]) -> set[CampaignKey]:
    """Return those of ``keys`` that are there although they could not be locked."""
    return {key_of(row) for row in queries.get_many(connection, list(keys))} if keys else set()


def _refusal(campaign: sa.Row[Any], frame: Frame) -> ServiceError | None:
    if not frame.rows:
        return None  # a subscription
    if campaign.total is None:
        return CampaignNotSealedError(campaign.campaign_id)
    sequences = [row[0] for row in frame.rows]
    for sequence in (min(sequences), max(sequences)):
        if not 1 <= sequence <= campaign.total:
            return SequenceOutOfRangeError(
                campaign.campaign_id, sequence=sequence, total=campaign.total
            )
    return None


def _record_campaign(
    connection: sa.Connection,
    campaign: sa.Row[Any],
    accepted: _Accepted,
    now: datetime,
    recorded: Recorded,
) -> sa.Row[Any]:
    sequences = [row[0] for frame, _ in accepted for row in frame.rows]
    stored = stored_outcomes(connection, campaign.campaign, sequences)
    all_new = not stored and len(set(sequences)) == len(sequences)
    if all_new:
        changed, deltas = _all_new(accepted)
    else:
        changed, deltas = _merged(accepted, stored)
    if not changed:
        return campaign
    upsert(connection, campaign.campaign, changed, now, all_new=all_new)
    after = settle(
        connection,
        campaign,
        _believed(connection, campaign, Counters.of(deltas)),
        now=now,
        cause=Cause.RESULT,
        actor=next(f.reporter for f, r in reversed(accepted) if r.new or r.raised),
        progressed=any(receipt.new for _, receipt in accepted),
    )
    recorded.changes.append(change_of(after))
    if after.state != campaign.state:
        recorded.completed.append(change_of(after))
    elif State(after.state) is State.COMPLETED:
        recorded.late.append(change_of(after))
    return after


#: Frames that can be applied, each with its receipt.
_Accepted: TypeAlias = "Sequence[tuple[Frame, FrameReceipt]]"


def _all_new(accepted: _Accepted) -> tuple[list[ResultRow], Counter[int]]:
    """Return the rows to store and the deltas of the counters, where nothing is stored yet."""
    rows: list[ResultRow] = []
    for frame, receipt in accepted:
        receipt.new = len(frame.rows)
        rows += frame.rows
    return rows, Counter(row[1] for row in rows)


def _merged(accepted: _Accepted, stored: dict[int, int]) -> tuple[list[ResultRow], Counter[int]]:
    """Return the rows to store and the deltas of the counters; the higher outcome stays.

    ``stored`` has the outcomes of before, by sequence; those of after when this returns.
    """
    changed: dict[int, ResultRow] = {}
    deltas: Counter[int] = Counter()
    for frame, receipt in accepted:
        for row in frame.rows:
            sequence, outcome = row[0], row[1]
            before = stored.get(sequence)
            if before is None:
                receipt.new += 1
            elif outcome > before:
                receipt.raised += 1
                deltas[before] -= 1
            else:
                receipt.duplicate += 1
                continue
            stored[sequence] = outcome
            changed[sequence] = row
            deltas[outcome] += 1
    return list(changed.values()), deltas


def _believed(connection: sa.Connection, campaign: sa.Row[Any], deltas: Counters) -> Counters:
    """Return what to add to the counters for results that were just stored.

    Those deltas, unless they fill the campaign: then its results are counted, once,
    so that a counter somebody changed by hand completes nothing with people missing.
    """
    counters = counters_of(campaign)
    fills = counters.processed + deltas.processed >= campaign.total
    if State(campaign.state) not in OPEN or not fills:
        return deltas
    return count(connection, campaign.campaign, campaign.total).minus(counters)
