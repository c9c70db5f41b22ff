"""A row of the table of verdicts: which answers of a mail server it is for, and what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sender_service.channels.contract import Answer, Fault
from sender_service.channels.email.steps import Step
from sender_service.channels.replies import Verdict

#: Steps that name the message's recipient.
NAMED = (Step.RCPT, Step.DATA, Step.MESSAGE)
#: Steps of a message.
FROM_MAIL = (Step.MAIL, *NAMED)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: an answer fits it if step, status, enhanced code and text all do.

    Attributes:
        steps: what was answered.
        status: a pattern that the whole status must match, as in ``45.`` with a dot for
            any digit.
        example: such an answer.
        verdict: what it means.
        enhanced: a pattern of the whole enhanced code; empty: any, or none.
        text: a pattern to be found in the text, in any case; empty: any.
        why: the reason, where it is not obvious.
    """

    steps: tuple[Step, ...]
    status: str
    example: str
    verdict: Verdict
    enhanced: str = ""
    text: str = ""
    why: str = ""
    _text: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the pattern of the text."""
        object.__setattr__(self, "_text", re.compile(self.text, re.IGNORECASE))

    def fits(self, step: Step, status: str, enhanced: str, text: str) -> bool:
        """Return whether this row says what the answer means."""
        return (
            step in self.steps
            and re.fullmatch(self.status, status) is not None
            and (not self.enhanced or re.fullmatch(self.enhanced, enhanced) is not None)
            and self._text.search(text) is not None
        )


def holds_all(fault: Fault) -> Verdict:
    """Return the verdict that holds everything up, but for one that is refused alone.

    That one is DEFERRED even where the server says 5xx: what it says is not about the
    recipient, and may change.
    """
    return Verdict(Answer.PROVIDER_FAULT, fault, alone=Answer.DEFERRED)


def holds_session(fault: Fault) -> Verdict:
    """Return the verdict of a step that no message has part in."""
    return Verdict(Answer.PROVIDER_FAULT, fault)
