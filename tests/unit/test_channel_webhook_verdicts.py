"""What each status of a webhook means: every row of the table, and the health address."""

from __future__ import annotations

import ssl

import aiohttp
import pytest

from sender_service.channels.contract import Answer
from sender_service.channels.webhook.verdict_table import TABLE
from sender_service.channels.webhook.verdicts import (
    ASKING,
    CONNECTING,
    failure,
    health_reply,
    place_of,
    retry_after_seconds,
    silence,
    verdict_of,
)
from sender_service.domain import ProblemKind

PLACE = place_of("https://x.example/hook")
REFUSES, DEFERS = ProblemKind.PROVIDER_REFUSES, ProblemKind.PROVIDER_DEFERS
URL, LOGIN = "[webhook] url", "[webhook] authorization"

#: Statuses that are about the message.
ABOUT_THE_MESSAGE = {
    Answer.ACCEPTED: [200, 201, 202, 204, 299],
    Answer.REFUSED: [400, 406, 411, 412, 413, 414, 417, 418, 422, 423, 424, 428, 431, 451, 499],
    Answer.DEFERRED: [408, 409, 425, 500, 503, 506, 507, 508, 510, 599],
    Answer.LOST: [502, 504, 520, 524],
}
#: Statuses that are about the sender as a whole: kind, setting, and what they mean for a
#: message that alone gets them.
ABOUT_THE_SENDER = [
    *((status, REFUSES, URL, Answer.REFUSED) for status in (300, 301, 302, 303, 304, 307, 308)),
    *((status, REFUSES, URL, Answer.REFUSED) for status in (404, 405, 410, 415, 421, 426)),
    *((status, REFUSES, URL, Answer.REFUSED) for status in (501, 505)),
    (401, REFUSES, LOGIN, None),
    (403, REFUSES, LOGIN, Answer.REFUSED),
    (402, REFUSES, "", Answer.REFUSED),
    (407, REFUSES, URL, None),
    (511, REFUSES, URL, None),
    *((status, DEFERS, "", Answer.DEFERRED) for status in (429, 521, 522, 523, 525, 526, 530)),
]


@pytest.mark.parametrize(
    ("status", "answer"),
    [(status, answer) for answer, statuses in ABOUT_THE_MESSAGE.items() for status in statuses],
)
def test_a_status_about_the_message(status: int, answer: Answer) -> None:
    """It ends this message, or a try of it, and no other."""
    verdict = verdict_of(status)
    assert (verdict.answer, verdict.fault, verdict.alone) == (answer, None, None)


@pytest.mark.parametrize(("status", "kind", "setting", "alone"), ABOUT_THE_SENDER)
def test_a_status_about_the_sender(
    status: int, kind: ProblemKind, setting: str, alone: Answer | None
) -> None:
    """No message is tried by it; a person is asked where no time cures it."""
    verdict = verdict_of(status)
    assert verdict.answer is Answer.PROVIDER_FAULT
    assert verdict.fault is not None
    assert (verdict.fault.kind, verdict.fault.setting) == (kind, setting)
    assert verdict.fault.needs_attention == (kind is REFUSES)
    assert verdict.alone is alone


@pytest.mark.parametrize(
    ("header", "answer"),
    [("7", Answer.PROVIDER_FAULT), ("", Answer.DEFERRED), ("soon", Answer.DEFERRED)],
)
def test_503_with_a_time_is_the_whole_service(header: str, answer: Answer) -> None:
    """A receiver that can't say when may mean this one request."""
    verdict = verdict_of(503, header)
    assert verdict.answer is answer
    if verdict.fault is not None:
        assert (verdict.fault.kind, verdict.fault.needs_attention) == (DEFERS, False)


def test_every_row_has_a_status_here() -> None:
    """No row is without a test of its meaning, or hidden by an earlier one."""
    statuses = [status for each in ABOUT_THE_MESSAGE.values() for status in each]
    statuses += [status for status, *_ in ABOUT_THE_SENDER]
    asked = [(status, False) for status in statuses] + [(503, True)]
    hit = [
        next(row for row in TABLE if row.fits(status, asks_to_wait=wait)) for status, wait in asked
    ]
    assert [row.statuses for row in TABLE if row not in hit] == []
    assert all(row.why for row in TABLE)


def test_a_status_that_http_does_not_know_says_nothing() -> None:
    """The message may have arrived."""
    assert verdict_of(999).answer is Answer.LOST


@pytest.mark.parametrize(
    ("status", "header", "kind", "setting"),
    [
        (401, "", REFUSES, LOGIN),
        (403, "", REFUSES, LOGIN),
        (301, "", REFUSES, "[webhook] health_url"),
        (404, "", REFUSES, "[webhook] health_url"),
        (400, "", REFUSES, "[webhook] health_url"),
        (405, "", REFUSES, "[webhook] health_url"),
        (429, "7", DEFERS, ""),
        (500, "", DEFERS, ""),
        (502, "", DEFERS, ""),
        (503, "7", DEFERS, ""),
    ],
)
def test_a_health_address_that_is_not_well(
    status: int, header: str, kind: ProblemKind, setting: str
) -> None:
    """Whatever it answers but 2xx is a fault of the provider, as no message is in it."""
    reply = health_reply(PLACE, status, "Bad day", header)
    assert (reply.answer, reply.code, reply.detail) == (
        Answer.PROVIDER_FAULT,
        str(status),
        "Bad day",
    )
    assert reply.fault is not None
    assert (reply.fault.kind, reply.fault.setting) == (kind, setting)
    assert reply.fault.needs_attention == (kind is REFUSES)
    assert "x.example" in reply.fault.summary
    assert reply.retry_after_seconds == (7 if header else None)


@pytest.mark.parametrize("status", [200, 204])
def test_a_health_address_that_is_well(status: int) -> None:
    """A message may be posted now."""
    assert health_reply(PLACE, status, "OK").answer is Answer.ACCEPTED


def test_silence_and_a_broken_connection_depend_on_the_stage() -> None:
    """A summary for people, and where to look."""
    connecting, asking = silence(PLACE, 30.0, CONNECTING), silence(PLACE, 30.0, ASKING)
    hung_up = failure(PLACE, aiohttp.ServerDisconnectedError(), ASKING)
    plain = failure(place_of("https://x.example:80/", "health_url"), no_tls(), CONNECTING)
    advice = "correct the port in webhook.health_url, or begin it with http://"
    faults = [reply.fault for reply in (connecting, asking, hung_up, plain)]
    assert [fault and fault.summary for fault in faults] == [
        "port 443 of x.example took no connection within 30 s",
        "x.example did not answer within 30 s, before the health address answered",
        "x.example hung up before the health address answered",
        f"port 80 of x.example does not speak TLS; {advice}",
    ]
    assert [fault and fault.setting for fault in faults] == [URL, URL, URL, "[webhook] health_url"]
    assert asking.detail == "no answer within 30 s, before the health address answered"


def no_tls() -> ssl.SSLError:
    """Return the error of a port that does not speak TLS."""
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


def test_a_date_that_no_calendar_knows_asks_for_nothing() -> None:
    """A header of nonsense is no reason to lose the answer beside it."""
    assert retry_after_seconds(f"Mon, 01 Jan 2035 00:00:00 +{'9' * 20}") is None
