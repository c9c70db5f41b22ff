"""Campaigns of a family through both services: who got what, and how long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pysqlite3 import dbapi2

from closeout.sender.v1 import sender_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from integration.sender_pair import Pair

NAME = "Welcome"


def people(*names: str) -> list[pb.Recipient]:
    """Return recipients with these names."""
    return [pb.Recipient(address=f"{name}@example.com", recipient_key=name) for name in names]


async def create(
    both: Pair, campaign_id: str, names: Iterable[str], *, subject: str = "Hello", **fields: Any
) -> None:
    """Create a campaign of the family of this page, and upload its audience."""
    await both.sender.create_campaign(
        campaign_id=campaign_id,
        channel="scripted",
        body=pb.EmailContent(subject=subject),
        options=both.options,
        **({"display_name": NAME} | fields),
    )
    await both.sender.upload_recipients(
        campaign_id=campaign_id, upload_id="u", batches=[people(*names)]
    )


async def send(
    both: Pair,
    campaign_id: str,
    names: Iterable[str],
    *,
    repeat: pb.StartCampaignRequest.Repeat.ValueType = pb.StartCampaignRequest.REFUSE,
    **fields: Any,
) -> pb.StartCampaignResponse:
    """Create a campaign, start it, and wait until the sender has finished it."""
    await create(both, campaign_id, names, **fields)
    started = await both.sender.start_campaign(campaign_id=campaign_id, repeat=repeat)
    await both.finished(campaign_id)
    return started


def got(both: Pair, campaign_id: str) -> list[str]:
    """Return who was handed to the provider for a campaign, by name, in order."""
    calls = [call for call in both.channel.calls if call.campaign_id == campaign_id]
    return sorted(call.address.partition("@")[0] for call in calls)


def change(both: Pair, statement: str, *values: Any) -> None:
    """Change the sender's store by hand, while the sender uses it."""
    connection = dbapi2.connect(both.folder / "sender.db", timeout=10)
    try:
        with connection:
            assert connection.execute(statement, values).rowcount == 1
    finally:
        connection.close()


def age(both: Pair, campaign_id: str, by: timedelta) -> None:
    """Have a campaign begin earlier than it did."""
    change(
        both,
        "UPDATE campaigns SET begin_time = begin_time - ? WHERE campaign_id = ?",
        round(by.total_seconds() * 1_000_000),
        campaign_id,
    )
