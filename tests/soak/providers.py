"""Senders beside mail servers that fail: every stop, and bad hours in real time."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from pathlib import Path

from acceptance.deployment import Deployment, deployed
from acceptance.silent_providers import FAULTS, SIGNALS, stop_beside
from closeout.aio import SenderClient, StatusClient
from closeout.status.v1 import status_pb2
from providers.smtp_provider import SteppedProvider

#: Seconds from the first connection to the stop of the sender.
_MOMENTS = (1.0, 4.0, 29.0)
#: So many deployments run at once.
_AT_ONCE = 4
_ADDRESSES = [f"person{number}@example.com" for number in range(100)]
_MINUTE = 60.0
#: The rules of a server for so many minutes.
_HOURS: dict[str, tuple[dict[str, str], float]] = {
    "greylisting": ({"rcpt": "451 4.7.1 Greylisted, try again later"}, 5),
    "421": ({"mail": "421 4.7.0 Too many messages, try again later"}, 10),
    "450": ({"rcpt": "450 4.3.2 Too busy, try again later"}, 10),
    "554 to MAIL": ({"mail": "554 5.7.1 Your account is suspended"}, 10),
}


async def stop_senders() -> list[str]:
    """Stop senders beside every kind of bad server; return what went wrong."""
    running = asyncio.Semaphore(_AT_ONCE)

    async def one(fault: str, by: str, after: float) -> str:
        async with running:
            with tempfile.TemporaryDirectory(prefix="closeout-soak-") as folder:
                try:
                    await stop_beside(Path(folder), FAULTS[fault], SIGNALS[by], after)
                except (AssertionError, TimeoutError) as error:
                    return f"{fault}, {by} after {after:g} s: {error!r}"
        return ""

    cases = itertools.product(FAULTS, SIGNALS, _MOMENTS)
    found = await asyncio.gather(*(one(*case) for case in cases))
    return [violation for violation in found if violation]


async def bad_hours(scale: float) -> list[str]:
    """Send through servers that take nobody's message for minutes; return what went wrong.

    Args:
        scale: 1 for the real minutes.
    """
    found = await asyncio.gather(*(_bad_hour(name, scale) for name in _HOURS))
    return [violation for violation in found if violation]


async def _bad_hour(name: str, scale: float) -> str:
    steps, minutes = _HOURS[name]
    provider = SteppedProvider(dict(steps))
    with tempfile.TemporaryDirectory(prefix="closeout-soak-") as folder:
        async with deployed(Path(folder), provider) as deployment:
            await deployment.send(_ADDRESSES)
            await asyncio.sleep(minutes * _MINUTE * scale)
            waited = await _has_problem(deployment)
            provider.steps.clear()
            campaign = await _completed(deployment)
    accepted = Counter(entry.recipient for entry in provider.ledger.accepted)
    if not waited:
        return f"{name}: the campaign did not say why it waited"
    if campaign.sent != len(_ADDRESSES) or accepted != Counter(_ADDRESSES):
        return f"{name}: {campaign.sent} sent, {campaign.failed} failed, {campaign.unknown} unknown"
    return ""


async def _has_problem(deployment: Deployment) -> bool:
    async with SenderClient(deployment.sender.address) as client:
        return bool((await client.get_delivery(campaign_id="newsletter")).problems)


async def _completed(deployment: Deployment) -> status_pb2.Campaign:
    """Return the campaign once it has ended; the last wait for a probe may be five minutes."""
    async with StatusClient(deployment.status.address) as client, asyncio.timeout(15 * _MINUTE):
        async for campaign in client.watch_campaign(campaign_id="newsletter"):
            last = campaign
    return last
