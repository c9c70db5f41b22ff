"""A campaign that has ended, with a message of each outcome, and campaigns that resend it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from closeout.sender.v1 import sender_pb2 as pb
from integration import sender_support as support
from integration.family_support import got, send
from integration.sender_pair import Pair, pair
from sender_service.channels.contract import Message, Reply


def answer(message: Message) -> Reply:
    """Refuse fred, lose ulla, accept the others."""
    name = message.address.partition("@")[0]
    return {"fred": support.REFUSED, "ulla": support.LOST}.get(name, support.ACCEPTED)


@asynccontextmanager
async def ended_campaign(folder: Path) -> AsyncIterator[Pair]:
    """Run both services, and a campaign, ``first``, with one message of each outcome."""
    async with pair(folder) as services:
        await send(services, "earlier", ["skip"])
        services.channel.script = answer
        await send(
            services,
            "first",
            ["sara", "fred", "skip", "ulla"],
            repeat=pb.StartCampaignRequest.ONLY_NEW,
            labels={"list": "a"},
        )
        services.channel.script = lambda _: support.ACCEPTED
        yield services


async def sent_to(both: Pair, campaign_id: str) -> list[str]:
    """Start a campaign, wait for its end, and return whom its provider was handed."""
    await both.sender.start_campaign(campaign_id=campaign_id)
    await both.finished(campaign_id)
    return got(both, campaign_id)
