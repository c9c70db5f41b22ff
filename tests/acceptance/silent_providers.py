"""Mail servers that fall silent or speak the wrong protocol, and senders stopped beside them."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from acceptance.deployment import Deployment, deployed, until
from closeout.aio import SenderClient
from closeout.status.v1 import status_pb2
from providers.smtp_provider import SteppedProvider

MESSAGES = 100
_ADDRESSES = [f"person{number}@example.com" for number in range(MESSAGES)]
#: Within this time a stop of a sender ends, seconds; its own grace is far longer.
_STOPS_WITHIN_SECONDS = 40.0
_GRACE_SECONDS = "120"


@dataclass(frozen=True)
class Fault:
    """How a server fails, and how the sender is set to reach it.

    Attributes:
        steps: where the server falls silent.
        security: the sender's setting.
        tls: the server begins with TLS.
        after_the_dot: it gets the data of messages, and never answers.
        in_doubt: how many messages without their data sent a kill may leave in doubt.
    """

    steps: dict[str, str] = field(default_factory=dict)
    security: str = "none"
    tls: bool = False
    after_the_dot: bool = False
    in_doubt: int = 0


FAULTS = {
    "never-greets": Fault({"greeting": "hang"}),
    "silent-after-mail": Fault({"mail": "hang"}, in_doubt=1),
    "silent-after-dot": Fault({"message": "hang"}, after_the_dot=True, in_doubt=1),
    "tls-on-a-plain-port": Fault(security="tls"),
    "plain-on-a-tls-port": Fault(tls=True),
}
SIGNALS = {"ctrl-c": signal.SIGINT, "sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}


async def stop_beside(folder: Path, fault: Fault, number: signal.Signals, after: float) -> None:
    """Send beside a server that fails, stop the sender, and send on to a good server.

    Everybody gets one message. Only those whose data went out may be UNKNOWN, and after
    SIGKILL the one message with which the sender probes its provider.

    Args:
        folder: for the files of the services.
        fault: how the server fails.
        number: how the sender is stopped.
        after: when, seconds after the campaign says that it waits, or has one message out.
    """
    provider = SteppedProvider(dict(fault.steps))
    if fault.tls:
        provider.tls, provider.tls_from_start = _tls(), True
    settings = {
        "CLOSEOUT_SMTP_SECURITY": fault.security,
        "CLOSEOUT_SENDER_GRACE_SECONDS": "1" if fault.after_the_dot else _GRACE_SECONDS,
    }
    async with deployed(folder, provider, **settings) as deployment:
        await deployment.send(_ADDRESSES)
        await until(lambda: provider.connections > 0)
        # The moment of the stop is what is varied here: it waits for nothing.
        await asyncio.sleep(after)
        deployment.sender.signal(number)
        async with asyncio.timeout(_STOPS_WITHIN_SECONDS):
            await asyncio.to_thread(deployment.sender.wait)
        dots = _recipients(provider, "message")
        _mend(deployment, provider)
        await deployment.start(deployment.sender)
        campaign = await deployment.completed()
        results = await deployment.results()
        await _check_no_problem(deployment)

    accepted = Counter(entry.recipient for entry in provider.ledger.accepted)
    unknown = {
        _ADDRESSES[sequence - 1]
        for sequence, result in results.items()
        if result.outcome == status_pb2.Result.UNKNOWN
    }
    assert max(accepted.values()) == 1
    assert campaign.failed == campaign.skipped == 0
    assert set(accepted) == set(_ADDRESSES) - unknown
    assert dots <= unknown
    assert len(unknown - dots) <= (fault.in_doubt if number is signal.SIGKILL else 0)
    _check_reasons(results, killed=number is signal.SIGKILL)


def _recipients(provider: SteppedProvider, step: str) -> set[str]:
    return {line.partition(" ")[2] for line in provider.seen if line.startswith(f"{step} ")}


def _mend(deployment: Deployment, provider: SteppedProvider) -> None:
    """Let the server work, and correct the sender's settings."""
    provider.steps.clear()
    provider.tls, provider.tls_from_start = None, False
    deployment.sender.environment["CLOSEOUT_SMTP_SECURITY"] = "none"


async def _check_no_problem(deployment: Deployment) -> None:
    async with SenderClient(deployment.sender.address) as client:
        delivery = await client.get_delivery(campaign_id="newsletter")
    assert not delivery.problems


def _check_reasons(results: dict[int, status_pb2.Result], *, killed: bool) -> None:
    """Check that every UNKNOWN result says how far its message had come."""
    reason = "while the provider had the message" if killed else "before the server answered"
    for result in results.values():
        if result.outcome == status_pb2.Result.UNKNOWN and result.code == "in_doubt":
            assert reason in result.detail


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context
