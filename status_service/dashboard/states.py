"""The state of a campaign as pages name it: an icon, a word, and how it is; pure code."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from status_service.campaigns.wording import span
from status_service.dashboard.formats import whole
from status_service.domain import Diagnosis, State

if TYPE_CHECKING:
    from status_service.campaigns.standing import Standing

_WORDS = {
    State.DRAFT: "Draft",
    State.SCHEDULED: "Scheduled",
    State.SENDING: "Sending",
    State.PAUSED: "Paused",
    State.COMPLETED: "Completed",
    State.CANCELLED: "Cancelled",
}
_HOW = {
    State.DRAFT: "collecting recipients",
    State.PAUSED: "until it is resumed",
    State.CANCELLED: "ended by its owner",
}
#: The diagnosis of one that is SENDING, in words.
_COURSE = {
    Diagnosis.IN_PROGRESS: "on course",
    Diagnosis.STALLED: "stalled",
    Diagnosis.NEVER_STARTED: "no sender has reported",
    Diagnosis.FULLY_PROCESSED: "can be fixed",
    Diagnosis.COUNTER_DRIFT: "can be fixed",
    Diagnosis.PAUSED: "paused",
}


class Shown(NamedTuple):
    """A state as pages name it.

    Attributes:
        icon: the name of its icon.
        word: its name.
        how: more about it; empty: nothing.
    """

    icon: str
    word: str
    how: str

    @property
    def short(self) -> Shown:
        """The same in one line, as in "Sending, stalled"."""
        return Shown(self.icon, f"{self.word}, {self.how}" if self.how else self.word, "")


def shown(it: Standing) -> Shown:
    """Return the state of a campaign as pages name it."""
    return Shown(it.state.value.lower(), _WORDS[it.state], _how(it))


def word(state: str) -> str:
    """Return the name of a state."""
    return _WORDS[State(state)]


def _how(it: Standing) -> str:
    if it.state is State.SCHEDULED and it.schedule_time is not None:
        wait = it.schedule_time - it.now
        return f"starts in {span(wait)}" if wait >= timedelta(seconds=1) else "starts now"
    if it.state is State.SENDING and it.diagnosis is not None:
        if it.needs_attention and it.diagnosis is Diagnosis.IN_PROGRESS:
            return "held up"
        return _COURSE[it.diagnosis]
    if it.state is State.COMPLETED and it.counters.unknown:
        return f"with {whole(it.counters.unknown)} in doubt"
    return _HOW.get(it.state, "")
