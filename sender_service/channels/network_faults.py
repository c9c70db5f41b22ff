"""What is wrong when a provider can't be reached: from an exception to a fault.

Pure rules for every channel that connects. A summary has no words of Python in it; the
detail has those of the network.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.channels.replies import detail
from sender_service.domain import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What Python puts around the words of the network and of OpenSSL.
_PYTHON = re.compile(r"\[Errno -?\d+\] |\[(?:SSL|X509)(?:: \w+)?\] | ?\(_ssl\.c:\d+\)")

#: OpenSSL's numbers of what is wrong with a certificate (X509_V_ERR_...).
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
_WRONG_NAME = frozenset({62, 64})

#: How OpenSSL calls an answer that is no TLS.
_NO_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "HTTP_REQUEST",
        "UNEXPECTED_MESSAGE",
    }
)

_UNREACHABLE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}
)


@dataclass(frozen=True, slots=True)
class Place:
    """A server as it is named to people, with the settings that lead to it.

    Attributes:
        host: its name.
        port: its port.
        address_setting: where host and port are set.
        trust_setting: what decides which certificates are trusted.
        no_tls_advice: what to do where the port does not speak TLS.
        tls_setting: where that is set.
    """

    host: str
    port: int
    address_setting: str
    trust_setting: str
    no_tls_advice: str
    tls_setting: str


def network_reply(error: BaseException, place: Place) -> Reply | None:
    """Return the reply for an error of the network; None for an error of another kind.

    Looks at the causes of the error too.
    """
    for cause in _causes(error):
        found = _tls_fault(cause, place) or _network_fault(cause, place)
        if found is not None:
            code, fault = found
            return Reply(
                Answer.PROVIDER_FAULT, code=code, detail=_words_of(cause, fault), fault=fault
            )
    return None


def is_tls_error(error: BaseException) -> bool:
    """Return whether TLS is the cause of an error."""
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def words(error: BaseException) -> str:
    """Return what an error says, without Python's own words around it."""
    said = getattr(error, "verify_message", "") or str(error)
    match error:
        case ssl.SSLError():
            pass
        case socket.gaierror(strerror=str(text)):
            said = text
        case OSError(errno=int(number)) if number > 0:  # asyncio puts words of its own here
            said = os.strerror(number)
    return detail(_PYTHON.sub("", said))


def _words_of(error: BaseException, fault: Fault) -> str:
    return words(error) or fault.summary


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and its causes, the first cause first: that one has the most to say."""
    if error is not None:
        yield from _causes(error.__cause__)
        yield error


def _unreachable(
    summary: str, setting: str = "", *, needs_attention: bool = False
) -> tuple[str, Fault]:
    kind = ProblemKind.PROVIDER_UNREACHABLE
    return "connect_failed", Fault(kind, summary, setting, needs_attention)


def _network_fault(error: BaseException, place: Place) -> tuple[str, Fault] | None:
    host, port = place.host, place.port
    needs_attention = False
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            summary = f"the name {host} can't be looked up now"
        case socket.gaierror() | UnicodeError():
            summary, needs_attention = f"there is no server named {host}", True
        case ConnectionRefusedError():
            summary = f"{host} refuses connections on port {port}"
        case OSError(errno=number) if number in _UNREACHABLE:
            summary = f"the network has no way to {host}"
        case OSError(errno=errno.ETIMEDOUT):
            summary = f"{host} does not answer on port {port}"
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            summary = f"{host} hung up on port {port}"
        case _:
            return None
    return _unreachable(summary, place.address_setting, needs_attention=needs_attention)


def _tls_fault(error: BaseException, place: Place) -> tuple[str, Fault] | None:
    host, port = place.host, place.port
    match error:
        case ssl.SSLCertVerificationError(verify_code=number):
            return _certificate_fault(number, place)
        case ssl.SSLError(reason=reason) if reason in _NO_TLS:
            return _unreachable(
                f"port {port} of {host} does not speak TLS; {place.no_tls_advice}",
                place.tls_setting,
                needs_attention=True,
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return _unreachable(f"{host} hung up while TLS was agreed", place.tls_setting)
        case ssl.SSLError():
            return _unreachable(
                f"{host} and the sender find no TLS that both speak",
                place.tls_setting,
                needs_attention=True,
            )
    return None


def _certificate_fault(number: int, place: Place) -> tuple[str, Fault]:
    host = place.host
    if number in _WRONG_NAME:
        summary = f"the certificate of the server is for another name than {host}"
        return _unreachable(summary, place.address_setting, needs_attention=True)
    if number == _EXPIRED:
        summary = f"the certificate of {host} has expired; its operator has to renew it"
    elif number == _NOT_YET_VALID:
        summary = f"the certificate of {host} is not valid yet; check the clock of this machine"
    elif number in _UNKNOWN_ISSUER:
        summary = f"the certificate of {host} is signed by nobody that the sender trusts"
    else:
        summary = f"the certificate of {host} can't be trusted"
    return _unreachable(summary, place.trust_setting, needs_attention=True)
