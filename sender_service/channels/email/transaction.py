"""One mail transaction on one connection, and what its answers mean for the message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosmtplib

from sender_service.channels.contract import Answer, Reply
from sender_service.channels.email.failures import hung_up, refusal, silence
from sender_service.channels.email.steps import Step
from sender_service.channels.email.verdicts import verdict_of
from sender_service.channels.replies import detail

if TYPE_CHECKING:
    from sender_service.channels.contract import Handover
    from sender_service.channels.email.addresses import WireAddress
    from sender_service.channels.email.failures import Server
    from sender_service.channels.email.pool import SmtpConnection
    from sender_service.channels.odd_ones import OddOnes

_CLOSING = 421
_START_INPUT = 354
_TRANSIENT = 400
_SUCCESS = range(200, 300)
#: Answers to MAIL that ask for a login or TLS (RFC 4954, section 6; RFC 3207,
#: section 4): this connection is of no use.
_NO_ACCESS = frozenset({530, 534, 535, 538})

#: How servers name what they accepted: Postfix, Exim, Sendmail, Amazon SES.
_QUEUE_IDS = (
    re.compile(r"queued as <?([^\s<>]+)", re.IGNORECASE),
    re.compile(r"\bid=([^\s<>]+)"),
    re.compile(r"(?:2\.\d\.\d )?(\S+) Message accepted"),
    re.compile(r"(?:2\.\d\.\d )?ok:? ([^\s<>]{16,})", re.IGNORECASE),
)
_MAX_ID_CHARACTERS = 255
_LINE_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sends what to whom.

    Attributes:
        sender: the address of the campaign's sender.
        to: the recipient.
        data: as :func:`wire_data` made it.
        key: the message's idempotency key.
        campaign: its campaign.
    """

    sender: str
    to: WireAddress
    data: bytes
    key: str
    campaign: str


@dataclass(slots=True)
class Progress:
    """How far a message has come, known also when its time is up.

    Attributes:
        envelope: the message.
        server: where it goes.
        odd_ones: of this server.
        handover: of the call.
        step: what the server is to answer.
        named: the server heard of this recipient, on the present connection.
    """

    envelope: Envelope
    server: Server
    odd_ones: OddOnes
    handover: Handover
    step: Step = Step.CONNECT
    named: bool = False

    def awaits(self, step: Step) -> None:
        """Note that the server is to answer a step now."""
        self.step = step
        self.handover.stage = step.clause

    def refused(self, response: aiosmtplib.SMTPResponse) -> Reply:
        """Return the reply for an answer to the present step that is no success."""
        verdict = verdict_of(self.step, response.code, response.message)
        is_odd = verdict.alone is not None and self.odd_ones.is_odd(
            self.envelope.campaign, self.envelope.key, kind=verdict.kind
        )
        return refusal(self.server, self.step, response.code, response.message, is_odd=is_odd)

    def broken(self, text: str) -> Reply:
        """Return the reply for a connection that broke."""
        if self.handover.begun or self.named:
            return self._unanswered("connection_lost", text)
        return Reply(
            Answer.PROVIDER_FAULT,
            code="connection_lost",
            detail=detail(text),
            fault=hung_up(self.server, self.step),
        )

    def timed_out(self) -> Reply:
        """Return the reply for a time that was up."""
        reply = silence(self.server, self.handover.stage)
        if self.handover.begun or self.named:
            return self._unanswered(reply.code, reply.detail)
        return reply

    def taken(self) -> None:
        """Note that the server has taken the message."""
        self.odd_ones.taken(self.envelope.campaign, self.envelope.key)

    def _unanswered(self, code: str, text: str) -> Reply:
        """Return LOST once the data went out; before it, one recipient holds up no other."""
        answer = Answer.LOST if self.handover.begun else Answer.DEFERRED
        return Reply(answer, code=code, detail=detail(text))


class ConnectionClosingError(Exception):
    """The server does not go on with this connection, most often with 421.

    Args:
        reply: what that means for the message.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.detail)
        self.reply = reply


def wire_data(message: bytes) -> bytes:
    """Return the message with its dots doubled and its end marked (RFC 5321, 4.5.2)."""
    return _LINE_DOT.sub(b"..", message) + b".\r\n"


async def transact(connection: SmtpConnection, progress: Progress) -> Reply:
    """Hand over one message, and keep ``progress`` while doing so.

    Raises:
        ConnectionClosingError, SMTPException, OSError: the connection is of no use any
            more.
    """
    to = progress.envelope.to
    if to.needs_smtputf8 and not connection.client.supports_extension("smtputf8"):
        return Reply(
            Answer.REFUSED,
            code="smtputf8_unsupported",
            detail="the server takes no address with such characters before the @",
        )
    progress.awaits(Step.MAIL)
    await _reset(connection, progress)
    options = [b"BODY=8BITMIME", b"SMTPUTF8"] if to.needs_smtputf8 else []
    sender = f"FROM:<{progress.envelope.sender}>".encode()
    mail = await _command(connection, progress, b"MAIL", sender, *options)
    if mail.code in _NO_ACCESS:
        raise ConnectionClosingError(progress.refused(mail))
    if mail.code not in _SUCCESS:
        return progress.refused(mail)
    connection.needs_reset = True
    progress.named = True
    progress.awaits(Step.RCPT)
    rcpt = await _command(connection, progress, b"RCPT", f"TO:<{to.address}>".encode())
    if rcpt.code not in _SUCCESS:
        return progress.refused(rcpt)
    progress.awaits(Step.DATA)
    data = await _command(connection, progress, b"DATA")
    if data.code != _START_INPUT:
        return progress.refused(data)
    return await _hand_over(connection, progress)


async def _reset(connection: SmtpConnection, progress: Progress) -> None:
    if not connection.needs_reset:
        return
    response = await _command(connection, progress, b"RSET")
    if response.code not in _SUCCESS:
        raise ConnectionClosingError(progress.refused(response))
    connection.needs_reset = False


async def _hand_over(connection: SmtpConnection, progress: Progress) -> Reply:
    # Not through the client's data(): it hides whether the data had begun.
    protocol = connection.client.protocol
    if protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    progress.step = Step.MESSAGE
    # The data and the final dot go out in one write, so the server may take it from now on.
    progress.handover.begin(Step.MESSAGE.clause)
    protocol.write(progress.envelope.data)
    response = await protocol.read_response()
    connection.needs_reset = False
    if response.code == _CLOSING:
        connection.close()
    if response.code in _SUCCESS:
        progress.taken()
        return Reply(
            Answer.ACCEPTED,
            code=str(response.code),
            detail=detail(response.message),
            provider_message_id=_queue_id(response.message),
        )
    if response.code < _TRANSIENT:  # no answer to a message that RFC 5321 knows
        return Reply(Answer.LOST, code=str(response.code), detail=detail(response.message))
    return progress.refused(response)


async def _command(
    connection: SmtpConnection, progress: Progress, *words: bytes
) -> aiosmtplib.SMTPResponse:
    response = await connection.client.execute_command(*words)
    if response.code == _CLOSING:
        raise ConnectionClosingError(progress.refused(response))
    return response


def _queue_id(text: str) -> str:
    for pattern in _QUEUE_IDS:
        match = pattern.search(text)
        if match:
            return match[1][:_MAX_ID_CHARACTERS]
    return ""
