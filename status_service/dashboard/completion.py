"""What "Mark complete" answers for a campaign, as its page shows it; pure code.

The page asks MarkComplete with ``dry_run``. Its answer or refusal becomes one of the
verdicts here, and only one of them offers force.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from service_runtime.errors import ServiceError
from status_service.campaigns.wording import ago, have, messages, number
from status_service.dashboard import formats
from status_service.dashboard.bar import LABELS, Bar, bar
from status_service.domain import Counters, State
from status_service.errors import CampaignNotFullyProcessedError, CampaignNotSendingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from status_service.campaigns.standing import Standing
    from status_service.campaigns.types import Changed

_MINUTE = 60


class Verdict(StrEnum):
    """What MarkComplete would do."""

    #: Complete it: every message has a result.
    POSSIBLE = "possible"
    #: Refuse, and nothing came for so long that force is offered.
    REFUSED = "refused"
    #: Refuse, while results still come.
    IN_PROGRESS = "in progress"
    #: Refuse: it is not being sent.
    WRONG_STATE = "wrong state"
    #: Nothing: it is completed.
    COMPLETED = "already completed"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of what force changes.

    Attributes:
        name: the outcome, or ``pending``.
        label: what people call it.
        now: how many there are.
        after: how many there would be.
    """

    name: str
    label: str
    now: int
    after: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What the page says.

    Attributes:
        verdict: what MarkComplete would do.
        sentence: the same for people.
        reason_code: the reason of the refusal; empty: it is none.
        pending: how many messages have no result.
        rows: what force would change.
        now: the bar as it is.
        after: the bar as force would make it.
        waiting: why force is not offered now; empty: it is.
    """

    verdict: Verdict
    sentence: str
    reason_code: str = ""
    pending: int = 0
    rows: Sequence[Row] = ()
    now: Bar | None = None
    after: Bar | None = None
    waiting: str = ""


def completion(
    answer: Changed | ServiceError, standing: Standing, *, stall_threshold: timedelta
) -> Completion:
    """Return what the page says of the answer of a dry run.

    Args:
        answer: what MarkComplete answered, or how it refused.
        standing: what is known of the campaign.
        stall_threshold: how long nothing must have come before force is offered.

    Raises:
        ServiceError: the refusal says nothing about the campaign.
    """
    match answer:
        case CampaignNotFullyProcessedError():
            return _refused(answer, standing, stall_threshold)
        case CampaignNotSendingError():
            return Completion(Verdict.WRONG_STATE, _wrong_state(standing.state), answer.reason)
        case ServiceError():
            raise answer
    if not answer.transitioned:
        return Completion(Verdict.COMPLETED, "This campaign is completed already.")
    return Completion(Verdict.POSSIBLE, _possible(standing.of))


def _possible(total: int) -> str:
    if total == 1:
        every = "The only message has a result."
    else:
        every = f"Every one of {messages(total)} has a result." if total else "It has no messages."
    return f"{every} Marking it complete changes nothing else."


def _wrong_state(state: State) -> str:
    if state is State.CANCELLED:
        return "This campaign was cancelled. A cancelled campaign stays cancelled."
    return "This campaign has not started, so it can't be marked complete. Start or cancel it."


def _refused(
    refusal: CampaignNotFullyProcessedError, standing: Standing, stall_threshold: timedelta
) -> Completion:
    # Counted again by the call itself: the counters of the campaign may be wrong.
    sent, failed, skipped, unknown, pending, total = (
        int(refusal.metadata[name])
        for name in ("sent", "failed", "skipped", "unknown", "pending", "total")
    )
    counted = Counters(sent, failed, skipped, unknown)
    forced = Counters(sent, failed, skipped, unknown + pending)
    waiting = _waiting(standing, stall_threshold)
    return Completion(
        Verdict.IN_PROGRESS if waiting else Verdict.REFUSED,
        f"{number(pending)} of {messages(total)} {have(pending)} no result, so this campaign"
        " can't be marked complete.",
        refusal.reason,
        pending,
        _rows(counted, forced, total),
        _bar(counted, total),
        _bar(forced, total),
        waiting,
    )


def _waiting(standing: Standing, stall_threshold: timedelta) -> str:
    """Return why force is not offered now; empty where nothing came for so long."""
    if standing.progress_time is not None:
        if standing.idle > stall_threshold:
            return ""
        still = f"Results are still coming in, the last one {ago(standing.idle)}."
    elif standing.state is State.SENDING and standing.sending <= stall_threshold:
        still = f"It started {ago(standing.sending)}, and no result has come yet."
    else:
        return ""
    return f"{still} Force is offered when none came for {in_words(stall_threshold)}."


def in_words(length: timedelta) -> str:
    """Return a time that is set, whole minutes as a word: "5 minutes"."""
    minutes, seconds = divmod(int(length.total_seconds()), _MINUTE)
    if minutes and not seconds and minutes < _MINUTE:
        return formats.counted(minutes, "minute")
    return formats.span(length)


def _rows(counted: Counters, forced: Counters, total: int) -> list[Row]:
    rows = [
        Row(name, LABELS[name], getattr(counted, name), getattr(forced, name))
        for name in ("sent", "failed", "skipped", "unknown")
    ]
    left = total - counted.processed
    return [*rows, Row("pending", LABELS["pending"], left, total - forced.processed)]


def _bar(counters: Counters, total: int) -> Bar:
    return bar(
        total,
        sent=counters.sent,
        failed=counters.failed,
        skipped=counters.skipped,
        unknown=counters.unknown,
    )


def what_changed(before: int | None, now: Completion) -> str:
    """Return what became of a campaign while somebody read its page.

    Args:
        before: how many messages had no result on the page that was read; None: not known.
        now: how it stands.
    """
    came = (before or 0) - now.pending
    what = f"{formats.counted(came, 'result')} came in" if came > 0 else "it stands differently"
    return f"It changed while you read: {what}. Here is how it stands now."
