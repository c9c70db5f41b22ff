"""MarkComplete: a person completes a campaign, by force also one with messages missing.

It is decided on a snapshot, which holds up nobody: a refusal never locks anything. What a
completion by force lacks is recorded as UNKNOWN in blocks, a transaction each, and each
leaves the counters equal to the results: a crash in between leaves an open campaign with
some messages UNKNOWN, and the same call continues with the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service_runtime.database_time import read_clock
from status_service.campaigns.types import Changed
from status_service.domain import OPEN, Cause, Counters, Outcome, State
from status_service.errors import CampaignNotFullyProcessedError, CampaignNotSendingError
from status_service.recording import counting, failure_groups, gaps, lookup, result_rows
from status_service.recording.code_groups import MOST_EXAMPLES, Added
from status_service.recording.completion import settle
from status_service.recording.ledger import check_revision, lock_one
from status_service.recording.types import CampaignKey, counters_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from service_runtime.caller import Caller
    from status_service.recording.counting import Count

#: The code of messages that are recorded as UNKNOWN by force.
FORCED = "forced"
#: Missing messages recorded in one transaction, at most; mostly fewer: ``BlockSize``.
BLOCK = 5_000
#: Missing ranges named by a refusal.
_RANGES_NAMED = 10


def decide(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    *,
    force: bool,
    revision: int = 0,
) -> tuple[sa.Row[Any], Count | None]:
    """Return a campaign that can be completed, and its results; change nothing.

    The results are counted, so a wrong counter neither completes a campaign nor stands in
    its way. Of a large campaign the first messages that are missing are enough to refuse.

    Args:
        connection: on a snapshot.
        caller: who asks.
        campaign_id: the campaign.
        force: what is missing is to be recorded as UNKNOWN.
        revision: refuse unless it is the current one; 0: any.

    Returns:
        Its row, and the count; None: it is COMPLETED already.

    Raises:
        CampaignNotFoundError: there is none.
        RevisionMismatchError: it changed since the caller read it.
        CampaignNotSendingError: it is neither SENDING nor PAUSED nor COMPLETED.
        CampaignNotFullyProcessedError: messages have no result, and no force.
    """
    campaign = lookup.get(connection, caller.organisation, campaign_id)
    check_revision(campaign, revision)
    if _is_completed(campaign):
        return campaign, None
    if not force and campaign.total > counting.MOST_TO_ANSWER:
        _refuse_uncounted(connection, campaign)
    known = counting.count(connection, campaign, campaign.total)
    if known.counted.processed < campaign.total and not force:
        missing = gaps.find(
            connection, campaign.campaign, campaign.total, limit=_RANGES_NAMED, most_windows=None
        )
        raise CampaignNotFullyProcessedError(
            campaign_id, total=campaign.total, counters=known.counted, missing=missing.ranges
        )
    return campaign, known


def _refuse_uncounted(connection: sa.Connection, campaign: sa.Row[Any]) -> None:
    """Refuse a large campaign by the first messages without a result, if that is enough.

    One missing message is a reason to refuse. Its counters decide how many are looked for,
    and are what the refusal says; they complete nothing.

    Raises:
        CampaignNotFullyProcessedError: as many are missing as its counters say, or more.
    """
    counters = counters_of(campaign)
    pending = campaign.total - counters.processed
    if pending <= 0:
        return
    missing = gaps.find(
        connection,
        campaign.campaign,
        campaign.total,
        limit=_RANGES_NAMED,
        most_windows=None,
        enough=pending,
    )
    if len(missing.ranges) == _RANGES_NAMED or gaps.messages_in(missing.ranges) >= pending:
        raise CampaignNotFullyProcessedError(
            campaign.campaign_id, total=campaign.total, counters=counters, missing=missing.ranges
        )


def complete(
    connection: sa.Connection,
    caller: Caller,
    campaign_id: str,
    *,
    reason: str,
    count: Count | None,
    missing: Sequence[tuple[int, int]] = (),
    forced_before: int,
    revision: int,
) -> Changed:
    """Record messages as UNKNOWN, and complete the campaign if every message has a result then.

    Args:
        connection: in a write transaction.
        caller: who asks.
        campaign_id: the campaign.
        reason: for the audit trail.
        count: its results, as :func:`decide` counted them.
        missing: ranges of messages without a result, of :data:`BLOCK` messages at most;
            those that got one since are left out.
        forced_before: how many messages this call recorded before.
        revision: refuse unless it is the current one; 0: any.

    Returns:
        ``transitioned`` says whether this completed it.

    Raises:
        CampaignNotFoundError: there is none.
        RevisionMismatchError: it changed since the caller read it.
        CampaignNotSendingError: it was cancelled since it was decided.
        UncountedError: ``count`` does not hold any more; count again.
    """
    key = CampaignKey(caller.organisation, campaign_id)
    campaign = lock_one(connection, key, revision=revision)
    if _is_completed(campaign):
        return Changed(campaign, transitioned=False, before=campaign)
    known = counting.of_locked(connection, campaign, campaign.total, count)
    counting.correct_groups(connection, campaign.campaign, known)
    now = read_clock(connection)
    recorded = _record(connection, campaign.campaign, missing, now=now)
    deltas = known.drift.plus(Counters(unknown=recorded))
    if missing and deltas == Counters():
        return Changed(campaign, transitioned=False, before=campaign)
    # With those of a call that was interrupted; unless the code is one of too many.
    forced = failure_groups.number_of(connection, campaign.campaign, Outcome.UNKNOWN, FORCED)
    after = settle(
        connection,
        campaign,
        deltas,
        now=now,
        cause=Cause.MANUAL,
        actor=caller.actor,
        reason=reason,
        on_behalf_of=caller.on_behalf_of,
        forced=forced or forced_before + recorded,
    )
    return Changed(after, after.state != campaign.state, before=campaign, cause=Cause.MANUAL)


def _is_completed(campaign: sa.Row[Any]) -> bool:
    """Return whether a campaign is COMPLETED, and false if it can be.

    Raises:
        CampaignNotSendingError: it can't.
    """
    state = State(campaign.state)
    if state is not State.COMPLETED and state not in OPEN:
        raise CampaignNotSendingError(campaign.campaign_id, state=state)
    return state is State.COMPLETED


def _record(
    connection: sa.Connection, campaign: int, missing: Sequence[tuple[int, int]], *, now: datetime
) -> int:
    """Record messages as UNKNOWN; return how many had no result yet."""
    if not missing:
        return 0
    recorded = result_rows.fill(
        connection, campaign, missing, outcome=Outcome.UNKNOWN, code=FORCED, now=now
    )
    if recorded:
        examples: list[int] = []
        if recorded == gaps.messages_in(missing):  # else some of them may have another outcome
            for first, last in gaps.first_messages(missing, MOST_EXAMPLES)[0]:
                examples += range(first, last + 1)
        added = Added(recorded, "", tuple(examples))
        failure_groups.add(connection, campaign, Outcome.UNKNOWN, FORCED, added)
    return recorded
