"""One mail transaction on one connection, and what its answers mean for the message."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiosmtplib

from sender_service.channels.contract import Answer, Reply
from sender_service.channels.replies import detail

if TYPE_CHECKING:
    from sender_service.channels.contract import Handover
    from sender_service.channels.email.addresses import WireAddress
    from sender_service.channels.email.pool import SmtpConnection

_CLOSING = 421
_START_INPUT = 354
_PERMANENT = 500
_TRANSIENT = 400
_SUCCESS = range(200, 300)
#: Answers to MAIL that ask for a login or TLS (RFC 4954, section 6; RFC 3207,
#: section 4): the settings are wrong, not the message.
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


class Stage(enum.Enum):
    """How far a message has come."""

    #: Waiting for a connection, or up to the answer to MAIL.
    BEFORE = "before"
    #: The server heard of this recipient.
    NAMED = "named"
    #: The message's data went out.
    HANDED_OVER = "handed over"


#: What a broken connection means for a message that had come so far.
_BROKEN = {
    Stage.BEFORE: Answer.PROVIDER_FAULT,
    Stage.NAMED: Answer.DEFERRED,
    Stage.HANDED_OVER: Answer.LOST,
}


@dataclass(slots=True)
class Progress:
    """How far a message has come, known also to who cancels it."""

    handover: Handover
    stage: Stage = Stage.BEFORE

    def broken(self, code: str, text: str) -> Reply:
        """Return the reply for a connection that broke, or a time that was up."""
        return Reply(_BROKEN[self.stage], code=code, detail=detail(text))


class ConnectionClosingError(Exception):
    """The server does not go on with this connection, most often with 421."""

    def __init__(self, response: aiosmtplib.SMTPResponse) -> None:
        super().__init__(response.message)
        self.code = response.code


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sends what to whom; ``data`` as :func:`wire_data` made it."""

    sender: str
    to: WireAddress
    data: bytes


def wire_data(message: bytes) -> bytes:
    """Return the message with its dots doubled and its end marked (RFC 5321, 4.5.2)."""
    return _LINE_DOT.sub(b"..", message) + b".\r\n"


async def transact(connection: SmtpConnection, envelope: Envelope, progress: Progress) -> Reply:
    """Hand over one message, and keep ``progress`` while doing so.

    Raises:
        ConnectionClosingError, SMTPException, OSError: the connection is of no use any
            more.
    """
    to = envelope.to
    if to.needs_smtputf8 and not connection.client.supports_extension("smtputf8"):
        return Reply(
            Answer.REFUSED,
            code="smtputf8_unsupported",
            detail="the server takes no address with such characters before the @",
        )
    await _reset(connection)
    options = [b"BODY=8BITMIME", b"SMTPUTF8"] if to.needs_smtputf8 else []
    mail = await _command(connection, b"MAIL", f"FROM:<{envelope.sender}>".encode(), *options)
    if mail.code in _NO_ACCESS:
        raise ConnectionClosingError(mail)
    if mail.code not in _SUCCESS:
        return _refusal(mail)
    connection.needs_reset = True
    progress.stage = Stage.NAMED
    rcpt = await _command(connection, b"RCPT", f"TO:<{to.address}>".encode())
    if rcpt.code not in _SUCCESS:
        return _refusal(rcpt)
    data = await _command(connection, b"DATA")
    if data.code != _START_INPUT:
        return _refusal(data)
    return await _hand_over(connection, envelope.data, progress)


async def _reset(connection: SmtpConnection) -> None:
    if not connection.needs_reset:
        return
    response = await _command(connection, b"RSET")
    if response.code not in _SUCCESS:
        raise ConnectionClosingError(response)
    connection.needs_reset = False


async def _hand_over(connection: SmtpConnection, data: bytes, progress: Progress) -> Reply:
    # Not through the client's data(): it hides whether the data had begun.
    protocol = connection.client.protocol
    if protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    progress.handover.begin("before the server answered")
    protocol.write(data)  # raises only where it writes nothing
    progress.stage = Stage.HANDED_OVER
    response = await protocol.read_response()
    connection.needs_reset = False
    if response.code == _CLOSING:
        connection.close()
    if response.code in _SUCCESS:
        return Reply(
            Answer.ACCEPTED,
            code=str(response.code),
            detail=detail(response.message),
            provider_message_id=_queue_id(response.message),
        )
    if response.code < _TRANSIENT:  # no answer to a message that RFC 5321 knows
        return progress.broken(str(response.code), response.message)
    return _refusal(response)


async def _command(connection: SmtpConnection, *words: bytes) -> aiosmtplib.SMTPResponse:
    response = await connection.client.execute_command(*words)
    if response.code == _CLOSING:
        raise ConnectionClosingError(response)
    return response


def _refusal(response: aiosmtplib.SMTPResponse) -> Reply:
    answer = Answer.REFUSED if response.code >= _PERMANENT else Answer.DEFERRED
    return Reply(answer, code=str(response.code), detail=detail(response.message))


def _queue_id(text: str) -> str:
    for pattern in _QUEUE_IDS:
        match = pattern.search(text)
        if match:
            return match[1][:_MAX_ID_CHARACTERS]
    return ""
