"""What an answer of a webhook, or its silence, means; pure rules over the table of verdicts."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.channels.network_faults import Place, network_reply, words
from sender_service.channels.replies import Verdict, detail
from sender_service.channels.webhook.verdict_table import TABLE
from sender_service.domain import ProblemKind

#: A status that HTTP does not know.
_STRANGE = Verdict(Answer.LOST)

#: How far a call has come, as clauses that follow "stopped".
CONNECTING: Final = "before there was a connection"
AGREEING: Final = "before TLS was agreed"
ASKING: Final = "before the health address answered"
POSTING: Final = "after the request went out, before the server answered"


def place_of(url: str, field: str = "url") -> Place:
    """Return the server of a URL, as it is named to people.

    Args:
        url: the URL.
        field: the setting that it is from.
    """
    parts = urlsplit(url)
    return Place(
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        address_setting=f"[webhook] {field}",
        trust_setting="SSL_CERT_FILE in the environment of the sender",
        no_tls_advice=f"correct the port in webhook.{field}, or begin it with http://",
        tls_setting=f"[webhook] {field}",
    )


def verdict_of(status: int, retry_after: str = "") -> Verdict:
    """Return what a status means.

    Args:
        status: the status.
        retry_after: the header Retry-After; empty: there is none.
    """
    asks_to_wait = retry_after_seconds(retry_after) is not None
    for row in TABLE:
        if row.fits(status, asks_to_wait=asks_to_wait):
            return row.verdict
    return _STRANGE


def health_reply(place: Place, status: int, said: str, retry_after: str = "") -> Reply:
    """Return the reply for the answer of the health address.

    ACCEPTED for 2xx; everything else is a fault of the provider.
    """
    verdict = verdict_of(status, retry_after)
    if verdict.answer is Answer.ACCEPTED:
        return Reply(Answer.ACCEPTED, code=str(status))
    if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        passes = verdict.answer in (Answer.DEFERRED, Answer.LOST) or (
            verdict.fault is not None and not verdict.fault.needs_attention
        )
        verdict = Verdict(Answer.PROVIDER_FAULT, _UNWELL if passes else _NO_HEALTH)
    return verdict.reply(
        str(status),
        said,
        names={"host": place.host, "status": status},
        retry_after_seconds=retry_after_seconds(retry_after),
    )


_UNWELL = Fault(
    ProblemKind.PROVIDER_DEFERS, "the health address of {host} answers {status} for now"
)
_NO_HEALTH = Fault(
    ProblemKind.PROVIDER_REFUSES,
    "the health address of {host} answers {status}, not 2xx; correct it, or leave"
    " webhook.health_url empty",
    "[webhook] health_url",
    needs_attention=True,
)


def silence(place: Place, seconds: float, stage: str) -> Reply:
    """Return the reply for a server that did not answer before a message went out."""
    said = f"no answer within {seconds:g} s, {stage}"
    fault = unanswered(place, seconds, stage)
    return Reply(Answer.PROVIDER_FAULT, code="timeout", detail=said, fault=fault)


def unanswered(place: Place, seconds: float, stage: str) -> Fault:
    """Return the fault of a server that has not answered at a stage for so many seconds."""
    if stage == CONNECTING:
        summary = f"port {place.port} of {place.host} took no connection within {seconds:g} s"
    else:
        summary = f"{place.host} did not answer within {seconds:g} s, {stage}"
    return Fault(ProblemKind.PROVIDER_UNREACHABLE, summary, place.address_setting)


def failure(place: Place, error: Exception, stage: str) -> Reply:
    """Return the reply for an error before a message went out."""
    known = network_reply(error, place)
    if known is not None:
        return known
    summary = f"{place.host} hung up {stage}"
    fault = Fault(ProblemKind.PROVIDER_UNREACHABLE, summary, place.address_setting)
    said = words(error) or type(error).__name__
    return Reply(Answer.PROVIDER_FAULT, code="connect_failed", detail=detail(said), fault=fault)


def retry_after_seconds(header: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, if it can be read."""
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        due = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return max(0.0, (due - datetime.now(UTC)).total_seconds())
