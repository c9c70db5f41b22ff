"""What a provider's reply does to a message: its outcome, another try, or nothing.

Pure rules, without a database or a network.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from sender_service.domain import (
    MAX_CODE,
    MAX_DETAIL,
    MAX_PROVIDER_MESSAGE_ID,
    Guarantee,
    Outcome,
    Policy,
    ProblemKind,
    RetryPolicy,
    clean,
)


class Answer(enum.Enum):
    """What a provider's answer means for the message."""

    #: The provider has it.
    ACCEPTED = "accepted"
    #: It will never take it, or it can't be rendered: not to be tried again.
    REFUSED = "refused"
    #: It did not take it now; try the message again later.
    DEFERRED = "deferred"
    #: It may have it: the answer was lost after the message was handed over.
    LOST = "lost"
    #: Nothing was handed over, and not because of this message: the provider can't be
    #: reached, refuses this sender as a whole (login, TLS, sender address, path), or asks
    #: it to wait with everything. Not a try of this message; try all later.
    PROVIDER_FAULT = "provider_fault"


_FAULT_KINDS = (
    ProblemKind.PROVIDER_UNREACHABLE,
    ProblemKind.PROVIDER_REFUSES,
    ProblemKind.PROVIDER_DEFERS,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a provider as a whole; see ``Problem`` of the contract.

    Attributes:
        kind: PROVIDER_UNREACHABLE, PROVIDER_REFUSES or PROVIDER_DEFERS.
        summary: a clause for people, as in "the mail server refuses the sender's login".
        setting: the setting to correct, as in ``[smtp] password``; empty if none is known.
        needs_attention: true if only a person can solve it.
    """

    kind: ProblemKind
    summary: str
    setting: str = ""
    needs_attention: bool = False

    def __post_init__(self) -> None:
        """Refuse what the contract can't carry: a channel may be of another package.

        Raises:
            ValueError: the kind is not one of a provider, or a text is none.
        """
        if self.kind not in _FAULT_KINDS:
            raise ValueError(f"a fault is one of {', '.join(_FAULT_KINDS)}, not {self.kind!r}")
        if any(type(text) is not str for text in (self.summary, self.setting)):
            raise ValueError("summary and setting of a fault are texts")


@dataclass(frozen=True, slots=True)
class Reply:
    """A provider's answer to one message.

    Attributes:
        answer: what it means.
        code: the provider's code, or a word of ours such as ``render_error``;
            at most 64 characters.
        detail: what it said, for people; at most 500 characters, no secrets.
        provider_message_id: the provider's id of an accepted message, if any.
        retry_after_seconds: how long it asked to be left alone, if it did.
        fault: what is wrong with the provider; with PROVIDER_FAULT only, and always then.
    """

    answer: Answer
    code: str = ""
    detail: str = ""
    provider_message_id: str = ""
    retry_after_seconds: float | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The message has its outcome."""

    outcome: Outcome
    code: str = ""
    detail: str = ""
    provider_message_id: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """The message waits ``delay_seconds`` for another try.

    ``lost``: a try so far may have reached the recipient.
    """

    delay_seconds: float
    lost: bool
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Requeue:
    """The message was not tried: it waits until its provider can be reached."""


Effect: TypeAlias = Finished | Retry | Requeue


def effect_of(
    reply: Reply,
    *,
    attempt: int,
    lost_before: bool,
    elapsed_seconds: float,
    policy: Policy,
    jitter: float,
) -> Effect:
    """Return what a provider's reply does to the message.

    Args:
        reply: what the provider said.
        attempt: which try this was, from 1.
        lost_before: an earlier try may have reached the recipient.
        elapsed_seconds: since its first try began.
        policy: the campaign's.
        jitter: a random number from 0 to 1, which keeps retries apart.
    """
    code = clean(reply.code, MAX_CODE)
    detail = clean(reply.detail, MAX_DETAIL)
    match reply.answer:
        case Answer.ACCEPTED:
            provider_id = clean(reply.provider_message_id, MAX_PROVIDER_MESSAGE_ID)
            return Finished(Outcome.SENT, code, detail, provider_id)
        case Answer.REFUSED:
            return Finished(Outcome.FAILED, code, detail)
        case Answer.PROVIDER_FAULT:
            return Requeue()
        case Answer.LOST if policy.guarantee is Guarantee.AT_MOST_ONCE:
            return Finished(Outcome.UNKNOWN, code or "in_doubt", detail)
        case Answer.LOST | Answer.DEFERRED:
            lost = lost_before or reply.answer is Answer.LOST
            if policy.retry.allows(attempts=attempt, elapsed_seconds=elapsed_seconds):
                delay = retry_delay(attempt, reply.retry_after_seconds, policy.retry, jitter)
                # A wait beyond the deadline ends there, so that a last try is left.
                left = policy.retry.deadline_seconds - elapsed_seconds
                return Retry(min(delay, left), lost, code, detail)
            # A message that may have arrived must not be called one that did not.
            return Finished(Outcome.UNKNOWN if lost else Outcome.FAILED, code, detail)


def retry_delay(
    attempt: int, retry_after_seconds: float | None, retry: RetryPolicy, jitter: float
) -> float:
    """Return the wait after try number ``attempt``, seconds.

    Between three quarters and five quarters of what the schedule or the doubled backoff
    says, and never less than the provider asked for.
    """
    delay = retry.wait_seconds(attempt) * (0.75 + 0.5 * jitter)
    asked = max(retry_after_seconds or 0.0, 0.0) * (1 + 0.1 * jitter)
    return max(delay, asked)
