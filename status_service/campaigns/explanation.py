"""How a campaign stands and what to do about it, in sentences for people; pure code.

The one source of these words: ExplainCampaign and RepairCampaigns give them, and every
screen prints them as they are.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from status_service.campaigns.wording import (
    ago,
    at,
    foreign,
    have,
    messages,
    number,
    sentence,
    since,
    span,
)
from status_service.domain import Diagnosis, State

if TYPE_CHECKING:
    from status_service.campaigns.standing import Standing
    from status_service.domain import Problem

#: How long a campaign takes is estimated from so long a time on, and only while results
#: are no older than this.
_KNOWN_RATE, _RECENT = timedelta(seconds=10), timedelta(minutes=1)
#: A longer estimate says nothing, and may be more than a timedelta holds.
_LONGEST_ESTIMATE = timedelta(days=365)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What to do about a problem that names no setting, by the number of its kind.
_BY_KIND = {
    # CHANNEL_UNAVAILABLE
    2: "Install and configure the channel at the sender, and start the sender again.",
    # CONTENT_INVALID
    3: "Start a sender whose version of the channel takes the content. Otherwise cancel this"
    " campaign, and send the corrected content as another one.",
    # START_REFUSED
    4: "Correct what the status service refuses: the sender tries again by itself. Otherwise"
    " cancel the campaign.",
    # RESULTS_REJECTED
    5: "Correct what the status service rejects: the sender keeps the results, and reports them"
    " again by itself.",
}
_GOES_ON = "The campaign then goes on by itself."


class Explanation(NamedTuple):
    """What is said of a campaign.

    Attributes:
        explanation: how it stands. A second line, if there is one, says what becomes of
            the messages without a result.
        action: what to do; empty: nothing can be done about it.
    """

    explanation: str
    action: str


def explain(it: Standing) -> Explanation:
    """Return how a campaign stands, and what to do."""
    match it.diagnosis:
        case Diagnosis.FULLY_PROCESSED:
            every = "The only message has" if it.total == 1 else f"All {messages(it.of)} have"
            text = f"{every} a result, and the campaign is still open."
            return Explanation(text, "Fix completes it.")
        case Diagnosis.COUNTER_DRIFT:
            text = "The counters differ from the stored results."
            return Explanation(text, "Fix counts them again.")
        case Diagnosis.PAUSED:
            return _paused(it)
        case Diagnosis.STALLED | Diagnosis.NEVER_STARTED | Diagnosis.IN_PROGRESS:
            return _sending(it) if it.problem is None else _held_up(it, it.problem)
    return _not_open(it)


def after_repair(it: Standing, found: Diagnosis) -> str:
    """Return what was done about a defect, and what is to be done now."""
    done = "Counted again" if found is Diagnosis.COUNTER_DRIFT else ""
    if it.diagnosis is None:
        every = "the only message has" if it.total == 1 else f"all {messages(it.of)} have"
        return f"{f'{done}, and completed' if done else 'Completed'}: {every} a result."
    return " ".join([sentence(done or "repaired"), explain(it).action]).strip()


def _held_up(it: Standing, problem: Problem) -> Explanation:
    summary = _summary(problem)
    if it.diagnosis is not Diagnosis.IN_PROGRESS:
        text = sentence(f"nothing has gone out for {span(it.idle)}: {summary}")
    elif it.progress_time is None:
        text = f"{sentence(summary)} It started {ago(it.sending)}, and no result has come yet."
    else:
        text = f"{sentence(summary)} Results still came {ago(it.idle)}."
    return Explanation(f"{text}\n{_what_waits(it, problem)}", _to_solve(problem))


def _summary(problem: Problem) -> str:
    return foreign(problem.summary) or "the sender names a problem without a description"


def _what_waits(it: Standing, problem: Problem) -> str:
    one = it.pending == 1
    text = f"{number(it.pending)} of {messages(it.of)} {have(it.pending)} no result. " + (
        "It is not lost: it waits at the sender."
        if one
        else "None is lost: they wait at the sender."
    )
    if problem.deadline_time is None:
        return text
    # Exact: as a number of seconds, the last moment of 9999 becomes one of the year after.
    deadline = _EPOCH + timedelta(microseconds=problem.deadline_time)
    if deadline <= it.now:
        return text
    return f"{text} {'It does not fail' if one else 'None fails'} before {at(deadline)}."


def _to_solve(problem: Problem) -> str:
    setting = foreign(problem.setting)
    if not problem.needs_attention:
        check = f", check {setting}" if setting else ", see to the provider"
        return f"Nothing to do yet: the sender tries again by itself. If it lasts{check}."
    if setting:
        return f"Correct {setting} at the sender and start it again. {_GOES_ON}"
    return _BY_KIND.get(problem.kind, f"Correct this at the sender or its provider. {_GOES_ON}")


def _sending(it: Standing) -> Explanation:
    if it.diagnosis is Diagnosis.STALLED:
        reporter = foreign(it.last_reporter) or "nobody"
        return Explanation(
            f"No result for {span(it.idle)}; {reporter} reported last.",
            "See that this sender runs and reaches this service. If it is gone for good with its"
            f" database, mark complete by force records {messages(it.pending)} as UNKNOWN.",
        )
    if it.diagnosis is Diagnosis.NEVER_STARTED:
        return Explanation(
            f"Started {ago(it.sending)}, and no sender has reported anything.",
            "See that a sender runs, reaches this service and has this campaign, or cancel it.",
        )
    processed = it.counters.processed
    if not processed:
        text = f"Started {ago(it.sending)}; no result has come yet of {messages(it.of)}."
        return Explanation(text, "Nothing to do.")
    left = _left(it)
    text = f"On course: {number(processed)} of {messages(it.of)} {have(processed)} a result"
    return Explanation(text + (f", about {left} to go." if left else "."), "Nothing to do.")


def _left(it: Standing) -> str:
    """Return how long it is still going to take; empty where that can't be said.

    One that was resumed has stood still for a time that is not known.
    """
    went_on = it.entry is not None and it.entry.create_time == it.start_time
    if not went_on or it.sending < _KNOWN_RATE or it.idle > _RECENT:
        return ""
    seconds = it.pending * it.sending.total_seconds() / it.counters.processed
    if seconds > _LONGEST_ESTIMATE.total_seconds():
        return ""
    return span(timedelta(seconds=math.ceil(seconds)))


def _paused(it: Standing) -> Explanation:
    text = f"Paused{_when(it)}; {messages(it.pending)} {'waits' if it.pending == 1 else 'wait'}."
    if it.problem is None:
        return Explanation(text, "Resume it, or cancel it.")
    return Explanation(
        f"{text} {sentence(_summary(it.problem))}",
        f"{_to_solve(it.problem)} Resume the campaign, or cancel it.",
    )


def _not_open(it: Standing) -> Explanation:
    problem = it.problem
    match it.state:
        case State.COMPLETED:
            return _completed(it)
        case State.CANCELLED:
            return Explanation(_cancelled(it), "")
        case State.SCHEDULED if it.schedule_time is not None:
            wait = it.schedule_time - it.now
            begins = f"in {span(wait)}" if wait >= timedelta(seconds=1) else "now"
            text = f"Starts {begins}, on {at(it.schedule_time)}: {messages(it.of)}."
        case _:
            text = "Not started; recipients are being collected."
            if problem is not None:
                text = sentence(f"not started: {_summary(problem)}")
                return Explanation(text, _to_solve(problem))
    if problem is None:
        return Explanation(text, "")
    return Explanation(f"{text} {sentence(_summary(problem))}", _to_solve(problem))


def _completed(it: Standing) -> Explanation:
    unknown = it.counters.unknown
    action = ""
    if unknown:
        them = "the one in doubt" if unknown == 1 else "those in doubt"
        action = f"Look at {them}, then resend if a second copy does no harm."
    if it.entry is not None and it.entry.forced:
        forced = it.entry.forced
        text = (
            f"Marked complete{_when(it)}; {messages(forced)} without a result"
            f" {'was' if forced == 1 else 'were'} recorded as UNKNOWN."
            f' Reason: "{foreign(it.entry.reason)}"'
        )
        return Explanation(text, action)
    done = "Completed" if it.entry is None else f"Completed {since(it.entry.create_time, it.now)}"
    if not it.total:
        return Explanation(f"{done}. It has no messages.", action)
    every = "Its only message" if it.total == 1 else f"Every one of {messages(it.of)}"
    doubt = f"; {number(unknown)} of them {'is' if unknown == 1 else 'are'} in doubt"
    if it.total == 1:
        doubt = ", which is in doubt"
    return Explanation(f"{done}. {every} has a result{doubt if unknown else ''}.", action)


def _cancelled(it: Standing) -> str:
    cancelled = f"Cancelled{_when(it)}"
    if it.total is None:
        return f"{cancelled}, before it was started."
    sent, failed, skipped = it.counters.sent, it.counters.failed, it.counters.skipped
    parts = [f"{number(sent)} {_were(sent)} sent", f"{number(skipped)} {_were(skipped)} not"]
    if failed:
        parts.append(f"{number(failed)} failed")
    if it.counters.unknown:
        parts.append(f"{number(it.counters.unknown)} {_are(it.counters.unknown)} in doubt")
    waiting = f"; {number(it.pending)} {have(it.pending)} no result yet" if it.pending else ""
    return f"{cancelled}. {', '.join(parts)}{waiting}."


def _when(it: Standing) -> str:
    """Return when and by whom it came into its state, as far as that is known."""
    if it.entry is None:
        return ""
    return f" {since(it.entry.create_time, it.now)} by {foreign(it.entry.who)}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
