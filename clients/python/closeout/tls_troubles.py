"""What to do when a connection fails for TLS; gRPC says only what its library met."""

from __future__ import annotations

from typing import Final

#: Parts of gRPC's texts, and what to do; the first that is found counts.
_REMEDIES: Final = (
    (
        "WRONG_VERSION_NUMBER",
        "the service speaks no TLS: call it without, or give it a certificate",
    ),
    (
        "certificate has expired",
        "the certificate of the service has ended: renew it there, or set the clock here",
    ),
    (
        "certificate is not yet valid",
        "the certificate of the service is not valid yet: set the clocks of both machines",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the service has a certificate of no known authority: name that as CLOSEOUT_TLS_CA_FILE",
    ),
    (
        "Hostname Verification Check failed",
        "the service has a certificate for other names: call it by a name that its certificate has",
    ),
    (
        "Failed parsing HTTP/2",
        (
            "what answers there speaks no gRPC, such as the port for HTTP: name the port of gRPC,"
            " by default 20051 of the status service and 20052 of the sender service"
        ),
    ),
)
#: At the end of the text about a connection that the service closed before any call.
_CLOSED: Final = ": Socket closed"
_AT_CONNECTING: Final = "last error:"
_CLOSED_REMEDY: Final = (
    "the service ends each connection at once: it may speak TLS only (ca_file,"
    " CLOSEOUT_TLS_CA_FILE), or take only clients with a certificate that its authority has"
    " signed (certificate_file and key_file, CLOSEOUT_TLS_CERTIFICATE_FILE and"
    " CLOSEOUT_TLS_KEY_FILE)"
)


def remedy(details: str) -> str:
    """Return what to do about a failed connection; empty if the reason is another one.

    Args:
        details: gRPC's text of a call that ended UNAVAILABLE.
    """
    for part, text in _REMEDIES:
        if part in details:
            return text
    # The service saw what was wrong, and the client only that it hung up.
    if _AT_CONNECTING in details and _CLOSED in details:
        return _CLOSED_REMEDY
    return ""
