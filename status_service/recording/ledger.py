"""The write path: results in, counters and completion out, in one transaction.

Every function here works inside a transaction its caller holds, and decides with the
campaign rows it touches locked, so no two writers decide on each other's unseen rows. The
clock is read after that: a later writer has a later time. On PostgreSQL, results may be
copied before (:mod:`.ahead`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from service_runtime.database_time import database_now
from status_service.domain import Cause, State
from status_service.errors import RevisionMismatchError
from status_service.recording import ahead, counting, deleted, failure_groups, problems
from status_service.recording.completion import settle
from status_service.recording.merge import merge
from status_service.recording.refusals import refuse
from status_service.recording.result_rows import upsert
from status_service.recording.stored_outcomes import stored_outcomes
from status_service.recording.types import (
    CampaignKey,
    Frame,
    FrameReceipt,
    Recorded,
    change_of,
    counters_of,
    key_of,
)
from status_service.schema import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from status_service.domain import Counters
    from status_service.recording.counting import Count
    from status_service.recording.merge import Accepted, Merged

_NO_COUNTS: Mapping[CampaignKey, Count] = MappingProxyType({})


def lock(
    connection: sa.Connection, keys: Iterable[CampaignKey], *, skip_busy: bool = False
) -> dict[CampaignKey, sa.Row[Any]]:
    """Lock the rows of these campaigns, in one order for all callers, and return them.

    Each has a column more, ``now``: the database's time when it was locked. With
    ``skip_busy`` those that somebody else holds locked are left out. On SQLite the
    transaction holds the only write lock there is already.
    """
    rows = connection.execute(_LOCK_FREE if skip_busy else _LOCK, {"keys": list(keys)})
    return {key_of(row): row for row in rows}


def _locking(*, skip_locked: bool) -> sa.Executable:
    """Return the statement, built once: building it takes longer than running it."""
    key = sa.tuple_(campaigns.c.organisation, campaigns.c.campaign_id)
    locked = (
        sa.select(campaigns)
        .where(key.in_(sa.bindparam("keys", expanding=True)))
        .order_by(campaigns.c.campaign)
        .with_for_update(skip_locked=skip_locked)
    )
    # Within the SELECT that locks, the clock would be read before the lock is waited for.
    return sa.select(locked.cte("locked"), database_now().label("now"))


_LOCK = _locking(skip_locked=False)
_LOCK_FREE = _locking(skip_locked=True)


def lock_one(connection: sa.Connection, key: CampaignKey, *, revision: int = 0) -> sa.Row[Any]:
    """Lock one campaign and return its row.

    Args:
        connection: in a write transaction.
        key: the campaign.
        revision: the revision it must have, as :func:`check_revision` does; 0: any.

    Raises:
        CampaignNotFoundError: there is none in this organisation, or somebody deleted it.
        RevisionMismatchError: it changed since the caller read it.
    """
    found = lock(connection, [key])
    if key not in found:
        raise deleted.refusals(connection, [key])[key]
    check_revision(found[key], revision)
    return found[key]


def check_revision(campaign: sa.Row[Any], revision: int) -> None:
    """Check that a campaign has a revision, or has only other problems since then; 0: any.

    A sender may report other problems at any time, most of all where a person has to
    decide: no decision must fail because of them.

    Raises:
        RevisionMismatchError: it changed since that revision, or never had it.
    """
    oldest = current = campaign.revision
    if campaign.problems_revision == current:
        oldest = campaign.revision_before_problems
    if revision and not oldest <= revision <= current:
        raise RevisionMismatchError(campaign.campaign_id, current=campaign.revision, given=revision)


def record(
    connection: sa.Connection,
    frames: Sequence[Frame],
    *,
    skip_busy: bool = False,
    counts: Mapping[CampaignKey, Count] = _NO_COUNTS,
    copy_ahead: bool = False,
) -> Recorded:
    """Store the results and problems of ``frames``, and complete the campaigns they complete.

    A frame that can't be applied gets an ``error`` in its receipt and leaves the
    others alone. With ``skip_busy`` so do frames of campaigns that somebody else holds
    locked; without it they are waited for.

    Args:
        connection: in a write transaction.
        frames: the frames, in the order in which they came.
        skip_busy: whether locked campaigns are left out.
        counts: the results of large campaigns that these frames may fill, as they were
            counted; a campaign that needs one is ``uncounted`` in what is returned.
        copy_ahead: the frames are of one campaign, and their results are copied before it
            is locked, if they are new.

    Raises:
        NotAheadError: they can't stay as they were copied; nothing of the transaction does.
    """
    receipts = [FrameReceipt() for _ in frames]
    recorded = Recorded(receipts)
    by_campaign: dict[CampaignKey, list[tuple[Frame, FrameReceipt]]] = {}
    for frame, receipt in zip(frames, receipts, strict=True):
        by_campaign.setdefault(frame.key, []).append((frame, receipt))
    copied = ahead.copy(connection, by_campaign) if copy_ahead else {}
    locked = lock(connection, by_campaign, skip_busy=skip_busy)
    refuse(connection, by_campaign, locked, look_for_busy=skip_busy)
    confirmed = {key: one.confirm(locked.get(key), by_campaign[key]) for key, one in copied.items()}
    if not locked:
        return recorded
    accepted = {
        key: [(frame, receipt) for frame, receipt in by_campaign[key] if receipt.error is None]
        for key in locked
    }
    merges = confirmed or _merged(connection, locked, accepted)
    drifts = _counted(connection, locked, accepted, merges, counts=counts, recorded=recorded)
    replaced = failure_groups.replaced_results(
        connection,
        {locked[key].campaign: merged.replaced for key, merged in merges.items()},
    )
    # Read when the last of them was locked: whoever had it before has an earlier time.
    now = max(row.now for row in locked.values())
    if not confirmed:
        _store(connection, locked, merges, now=now)
    stored_now = {locked[key].campaign: one for key, one in merges.items() if one.changed}
    failure_groups.move(connection, stored_now, replaced)
    for key, merged in merges.items():
        campaign = locked[key]
        reported = problems.news(campaign, accepted[key])
        if merged.changed:
            deltas = merged.deltas.plus(drifts[key]) if key in drifts else merged.deltas
            campaign = _settle(connection, campaign, accepted[key], deltas, reported, now=now)
            last = _last_frame(accepted[key])
            recorded.note(campaign, state_before=locked[key].state, last=last)
            recorded.stored.append(merged.recorded)
        elif reported is not None:
            campaign = problems.store(connection, campaign, reported)
            recorded.changes.append(change_of(campaign))
        for _, receipt in by_campaign[key]:
            receipt.state = State(campaign.state)
            receipt.revision = campaign.revision
            receipt.processed = counters_of(campaign).processed
    return recorded


def _merged(
    connection: sa.Connection,
    locked: Mapping[CampaignKey, sa.Row[Any]],
    accepted: Mapping[CampaignKey, Accepted],
) -> dict[CampaignKey, Merged]:
    """Return what is to be stored of each campaign, by what is stored of it."""
    stored = stored_outcomes(
        connection,
        {
            locked[key].campaign: [frame.results.sequence for frame, _ in part]
            for key, part in accepted.items()
        },
    )
    return {key: merge(part, stored[locked[key].campaign]) for key, part in accepted.items()}


def _store(
    connection: sa.Connection,
    locked: Mapping[CampaignKey, sa.Row[Any]],
    merges: Mapping[CampaignKey, Merged],
    *,
    now: datetime,
) -> None:
    for all_new in (True, False):
        given = [
            (locked[key].campaign, part)
            for key, merged in merges.items()
            if merged.all_new is all_new
            for part in merged.changed
        ]
        upsert(connection, given, now, all_new=all_new)


def _last_frame(accepted: Accepted) -> Frame:
    """Return the last of the frames that changed anything."""
    return next(frame for frame, r in reversed(accepted) if r.new or r.raised)


def _settle(
    connection: sa.Connection,
    campaign: sa.Row[Any],
    accepted: Accepted,
    deltas: Counters,
    reported: str | None,
    *,
    now: datetime,
) -> sa.Row[Any]:
    last = _last_frame(accepted)
    return settle(
        connection,
        campaign,
        deltas,
        now=now,
        cause=Cause.RESULT,
        actor=last.actor,
        on_behalf_of=last.on_behalf_of,
        reporter=last.reporter,
        progressed=any(receipt.new for _, receipt in accepted),
        problems=reported,
    )


def _counted(
    connection: sa.Connection,
    locked: Mapping[CampaignKey, sa.Row[Any]],
    accepted: Mapping[CampaignKey, Accepted],
    merges: dict[CampaignKey, Merged],
    *,
    counts: Mapping[CampaignKey, Count],
    recorded: Recorded,
) -> dict[CampaignKey, Counters]:
    """Return what the counters of the campaigns lack that these results fill.

    Their results are counted, once, so that a counter somebody changed by hand completes
    nothing with people missing. A campaign that can't be counted here is taken out of
    ``merges``, and is ``uncounted``.
    """
    drifts = {}
    for key, merged in list(merges.items()):
        if not merged.changed or not counting.is_filled(locked[key], merged.deltas):
            continue
        try:
            campaign = locked[key]
            known = counting.of_locked(connection, campaign, campaign.total, counts.get(key))
        except counting.UncountedError as uncounted:
            recorded.uncounted[key] = uncounted.campaign
            del merges[key]
            for _, receipt in accepted[key]:
                receipt.new = receipt.raised = receipt.duplicate = 0
        else:
            drifts[key] = known.drift
            counting.correct_groups(connection, campaign.campaign, known)
    return drifts
