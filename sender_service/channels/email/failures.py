"""Why there is no connection to the mail server, and what to do: from an exception to a reply.

Pure rules; the table of verdicts has the answers of the server itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosmtplib

from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.channels.email import faults
from sender_service.channels.email.settings import Security
from sender_service.channels.email.steps import Step
from sender_service.channels.email.verdict_row import NAMED
from sender_service.channels.email.verdicts import asked_wait_seconds, verdict_of
from sender_service.channels.network_faults import (
    Place,
    is_tls_error,
    network_reply,
    words,
)
from sender_service.channels.replies import Verdict, named
from sender_service.domain import ProblemKind

if TYPE_CHECKING:
    from sender_service.channels.email.settings import SmtpSettings

_TLS_PORT = 465


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server as it is named to people.

    Attributes:
        place: where it is.
        username: who logs in; empty: nobody.
        security: how the connection is protected.
        timeout_seconds: how long it may take.
    """

    place: Place
    username: str
    security: Security
    timeout_seconds: float

    @classmethod
    def from_settings(cls, settings: SmtpSettings) -> Server:
        """Return the server of the settings."""
        place = Place(
            host=settings.host,
            port=settings.effective_port,
            address_setting="[smtp] host, port",
            trust_setting="[smtp] ca_file, verify_certificates",
            no_tls_advice="set smtp.security to starttls or none, or use port 465",
            tls_setting="[smtp] security, port",
        )
        return cls(place, settings.username, settings.effective_security, settings.timeout_seconds)

    @property
    def names(self) -> dict[str, object]:
        """What the summary of a fault may name."""
        username = self.username or "the sender"
        return {"host": self.place.host, "port": self.place.port, "username": username}


def refusal(server: Server, step: Step, code: int, text: str, *, is_odd: bool = False) -> Reply:
    """Return the reply for an answer of the server that is no success.

    Args:
        server: the server.
        step: what it answered.
        code: the status.
        text: the text, with its enhanced code.
        is_odd: the server has taken other messages since it first said so here.
    """
    verdict = verdict_of(step, code, text)
    if verdict.fault is None and step in _BEFORE_A_RECIPIENT:
        verdict = Verdict(Answer.PROVIDER_FAULT, _NO_SMTP)
    return verdict.reply(
        str(code),
        text,
        names=server.names,
        is_odd=is_odd,
        retry_after_seconds=asked_wait_seconds(text),
    )


def failure(server: Server, step: Step, error: Exception) -> Reply:
    """Return the reply for an error before a message could be handed over.

    Args:
        server: the server.
        step: what it had not answered yet.
        error: what happened.
    """
    if isinstance(error, aiosmtplib.SMTPResponseException):
        if error.code < 0:  # not even a status
            reply = Verdict(Answer.PROVIDER_FAULT, _NO_SMTP).reply(
                "no_smtp", error.message, names=server.names
            )
        else:
            reply = refusal(server, step, error.code, error.message)
        return reply
    known = network_reply(error, server.place)
    ended = step is Step.GREETING or isinstance(
        error, aiosmtplib.SMTPServerDisconnected | ConnectionResetError
    )
    if ended and not is_tls_error(error):
        return _fault(hung_up(server, step), "connect_failed", words(error))
    if known is not None:
        return known
    if step is Step.LOGIN:  # it offers no login, or none that the client knows
        return _fault(named(faults.NO_LOGIN, server.names), "no_login", words(error))
    fault = Fault(
        ProblemKind.PROVIDER_UNREACHABLE,
        f"the conversation with {server.place.host} failed {step.clause}",
        server.place.address_setting,
    )
    return _fault(fault, "connect_failed", words(error))


def hung_up(server: Server, step: Step) -> Fault:
    """Return the fault of a server that ended the connection before it answered a step."""
    return _unanswered(server, step, f"{server.place.host} hung up {step.clause}")


def silence(server: Server, stage: str) -> Reply:
    """Return the reply for a server that did not answer in time.

    Args:
        server: the server.
        stage: how far the conversation had come, as in "before the server greeted".
    """
    fault = unanswered(server, stage, server.timeout_seconds)
    return _fault(fault, "timeout", f"no answer within {server.timeout_seconds:g} s, {stage}")


def unanswered(server: Server, stage: str, seconds: float) -> Fault:
    """Return the fault of a server that has not answered at a stage for so many seconds."""
    step = next((step for step in Step if step.clause == stage), Step.CONNECT)
    host, while_ = server.place.host, f"within {seconds:g} s"
    if step is Step.CONNECT:
        summary = f"port {server.place.port} of {host} took no connection {while_}"
    elif step is Step.GREETING:
        summary = f"{host} did not greet {while_}"
    else:
        summary = f"{host} did not answer {while_}, {stage}"
    return _unanswered(server, step, summary)


def no_starttls(server: Server) -> Reply:
    """Return the reply for a server that does not offer STARTTLS."""
    fault = named(faults.NO_TLS, server.names)
    said = f"{server.place.host} does not offer STARTTLS; to send in the clear, set smtp.security"
    return _fault(fault, "no_starttls", f"{said} to none")


_BEFORE_A_RECIPIENT = frozenset(set(Step) - set(NAMED))
_NO_SMTP = Fault(
    ProblemKind.PROVIDER_UNREACHABLE,
    "port {port} of {host} does not speak SMTP",
    "[smtp] host, port",
    needs_attention=True,
)


def _unanswered(server: Server, step: Step, summary: str) -> Fault:
    """Return the fault of a server without an answer, with a remedy if it may await TLS."""
    setting, needs_attention = server.place.address_setting, False
    if step is Step.LOGIN:
        setting = "[smtp] username, password"
    if step is Step.GREETING and server.security is not Security.TLS:
        setting = "[smtp] security"
        # A server that awaits TLS says nothing to a client that speaks in the clear.
        needs_attention = server.place.port == _TLS_PORT
        port = server.place.port
        known = f"{port} is a TLS port;" if needs_attention else f"if {port} is a TLS port,"
        summary = f"{summary}; {known} set smtp.security to tls"
    return Fault(ProblemKind.PROVIDER_UNREACHABLE, summary, setting, needs_attention)


def _fault(fault: Fault, code: str, said: str) -> Reply:
    return Reply(Answer.PROVIDER_FAULT, code=code, detail=said, fault=fault)
