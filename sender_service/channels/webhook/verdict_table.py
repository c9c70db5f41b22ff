"""What each status of a webhook means: a table, of which the first row that fits counts.

A status is about the sender as a whole where every message would get it: a wrong path, a
wrong login, a server that asks to wait. ``docs/verdicts.md`` shows the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sender_service.channels.contract import Answer, Fault
from sender_service.channels.replies import Verdict
from sender_service.domain import ProblemKind

_URL, _LOGIN = "[webhook] url", "[webhook] authorization"


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        statuses: a pattern that the whole status must match, a dot for any digit.
        verdict: what it means.
        why: the reason.
        asks_to_wait: the row is for answers that have ``Retry-After`` only.
    """

    statuses: str
    verdict: Verdict
    why: str
    asks_to_wait: bool = False

    def fits(self, status: int, *, asks_to_wait: bool) -> bool:
        """Return whether this row says what an answer means."""
        known = re.fullmatch(self.statuses, str(status)) is not None
        return known and (asks_to_wait or not self.asks_to_wait)


def _refuses(summary: str, setting: str, alone: Answer | None = Answer.REFUSED) -> Verdict:
    """Return the verdict that only a person can end.

    Once the server has taken another message, the status is about this one: it is
    refused, as most servers mean it.
    """
    fault = Fault(ProblemKind.PROVIDER_REFUSES, summary, setting, needs_attention=True)
    return Verdict(Answer.PROVIDER_FAULT, fault, alone)


def _defers(summary: str) -> Verdict:
    fault = Fault(ProblemKind.PROVIDER_DEFERS, summary)
    return Verdict(Answer.PROVIDER_FAULT, fault, alone=Answer.DEFERRED)


_WAIT = _defers("{host} asks the sender to wait")
_AWAY = _defers("{host} says that the server behind it is away")

TABLE: tuple[Row, ...] = (
    Row("2..", Verdict(Answer.ACCEPTED), "The receiver has the message."),
    Row(
        "3..",
        _refuses("{host} redirects; set webhook.url to where it leads", _URL),
        "Redirections are not followed: a message would go where nobody sent it.",
    ),
    Row(
        "401",
        _refuses("{host} refuses the sender's authorization", _LOGIN, alone=None),
        "The header Authorization is the same for every message.",
    ),
    Row(
        "402",
        _refuses("{host} asks for a payment for the sender's account", ""),
        "It is about the account.",
    ),
    Row(
        "403",
        _refuses("{host} does not let the sender in", _LOGIN),
        "Most often the authorization lacks a right.",
    ),
    Row(
        "404",
        _refuses("{host} knows no such path", _URL),
        "Every message is posted to the same path.",
    ),
    Row("405|501", _refuses("{host} takes no POST on this path", _URL), "Every message is a POST."),
    Row(
        "407|511",
        _refuses("a proxy before {host} asks for a login", _URL, alone=None),
        "The message did not come to the receiver.",
    ),
    Row(
        "410",
        _refuses("the path of {host} is gone", _URL),
        "Gone is the path; a receiver that means the address says 422.",
    ),
    Row("415", _refuses("{host} takes no JSON on this path", _URL), "Every body is JSON."),
    Row(
        "421|426|505",
        _refuses("{host} does not serve webhook.url over this connection", _URL),
        "It is about the connection.",
    ),
    Row("429", _WAIT, "The rate is that of the sender, whatever the message."),
    Row("503", _WAIT, "With `Retry-After`, it is the whole service.", asks_to_wait=True),
    Row("408|425", Verdict(Answer.DEFERRED), "The receiver did not act on this request."),
    Row(
        "409",
        Verdict(Answer.DEFERRED),
        "Most often an earlier try with the same `Idempotency-Key` is still at work; the next"
        " one gets its answer.",
    ),
    Row(
        "502|504|520|524",
        Verdict(Answer.LOST),
        "A gateway had no answer; the receiver behind it may have acted.",
    ),
    Row(
        "52[12356]|530",
        _AWAY,
        "A gateway could not connect to the receiver (Cloudflare).",
    ),
    Row("5..", Verdict(Answer.DEFERRED), "An error of the receiver, who may take it later."),
    Row(
        "4..",
        Verdict(Answer.REFUSED),
        "It is about this message: 400 and 422 for its fields, 413 for its size, 451 for the law.",
    ),
)
