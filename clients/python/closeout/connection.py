"""How every client connects to a service, whichever kind of channel it uses."""

from __future__ import annotations

import json
from typing import Any

#: Largest message sent or received, bytes; the servers have the same limit.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: Deadline of a call that reads or changes one campaign, seconds.
DEFAULT_TIMEOUT_SECONDS = 10.0
#: Deadline of a call that may read every result of a campaign, seconds.
SCAN_TIMEOUT_SECONDS = 60.0
#: Deadline of a call that may write a result for every message of a campaign, seconds.
FORCE_TIMEOUT_SECONDS = 3600.0
#: As many characters may say for whom a caller acts.
_LONGEST_CLAIM = 128
#: Targets that name several addresses in the form of gRPC.
_ADDRESSES = ("ipv4:", "ipv6:", "unix:")
_ON_BEHALF_OF = "closeout-on-behalf-of"
_ORGANIZATION = "closeout-organization"

# Every call may be repeated, so UNAVAILABLE is tried again, and so is CANCELLED: with it
# gRPC refuses calls that come faster than a service begins to answer. The two streams that
# their caller writes are not: only the caller knows what was acknowledged. A
# timeout in this configuration fires at random: deadlines go with each call.
_SERVICE_CONFIG: dict[str, Any] = {
    # Of several addresses all are used, and one that does not answer is passed over.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": "closeout.status.v1.StatusService"},
                {"service": "closeout.sender.v1.SenderService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        },
        {
            "name": [
                {"service": "closeout.status.v1.StatusService", "method": "ReportResults"},
                {"service": "closeout.sender.v1.SenderService", "method": "UploadRecipients"},
            ],
        },
    ],
}

#: The options of every channel.
CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished without a word is noticed after 30 s and 10 s more, also by a
    # stream on which nothing is said: by default gRPC stops after two pings without data,
    # and waits a minute for the answer to one.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # A restarted service is found again within seconds, not minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A new channel tries at once, and does not wait for what another one learned.
    ("grpc.use_local_subchannel_pool", 1),
    # The proxy of the environment is for the web, not for services next door.
    ("grpc.enable_http_proxy", 0),
]


def grpc_target(target: str) -> str:
    """Return the name that gRPC has for ``target``.

    Args:
        target: an address, as in ``127.0.0.1:20051``; a name that resolves to several,
            as in ``dns:///status:20051``; or several IPv4 addresses with commas between.
    """
    several = "," in target and ":///" not in target and not target.startswith(_ADDRESSES)
    return f"ipv4:{target}" if several else target


def tls_options(target: str) -> list[tuple[str, Any]]:
    """Return the options of a channel with TLS to ``target``.

    Of several addresses, the certificate of each must be for the first: gRPC has one name
    for a channel, and it would take all the addresses together for it.
    """
    addresses = grpc_target(target)
    if not addresses.startswith("ipv4:"):
        return CHANNEL_OPTIONS
    first = addresses.removeprefix("ipv4:").partition(",")[0]
    return [*CHANNEL_OPTIONS, ("grpc.default_authority", first)]


def call_options(on_behalf_of: str, organization: str = "") -> dict[str, Any]:
    """Return what every call of a client is made with, beside its deadline.

    Args:
        on_behalf_of: for whom the caller acts; empty: nothing is said.
        organization: in which organisation a key with scope ``service`` acts; empty: in
            its own.

    Raises:
        ValueError: ``on_behalf_of`` is no text that metadata of a call can have.
    """
    metadata = []
    if on_behalf_of:
        metadata.append((_ON_BEHALF_OF, _claim(on_behalf_of)))
    if organization:
        metadata.append((_ORGANIZATION, organization))
    return {"metadata": tuple(metadata)} if metadata else {}


def _claim(on_behalf_of: str) -> str:
    printable = on_behalf_of.isascii() and on_behalf_of.isprintable()
    if not printable or len(on_behalf_of) > _LONGEST_CLAIM or on_behalf_of.strip() != on_behalf_of:
        raise ValueError(
            f"on_behalf_of must be at most {_LONGEST_CLAIM} printable ASCII characters, without"
            f" blanks at either end: {on_behalf_of[:_LONGEST_CLAIM]!r}"
        )
    return on_behalf_of
