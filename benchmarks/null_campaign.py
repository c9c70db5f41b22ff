"""Measure messages a second through both services, with a provider that costs nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.processes import service
from closeout.aio import SenderClient, StatusClient
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class CampaignFigures:
    """The figures of one run.

    Attributes:
        rate: messages a second from StartCampaign to COMPLETED.
        intake_rate: recipients a second through UploadRecipients.
        sender_mib: peak memory of the sender service.
        status_mib: peak memory of the status service.
    """

    rate: float
    intake_rate: float
    sender_mib: float
    status_mib: float


async def measure(folder: Path, messages: int) -> CampaignFigures:
    """Send a campaign of ``messages`` messages through the channel ``null``.

    Raises:
        RuntimeError: the campaign did not end COMPLETED with every message sent.
    """
    quiet = {"CLOSEOUT_LOG_LEVEL": "warning"}
    async with (
        service("status_service", folder, quiet) as status,
        service(
            "sender_service", folder, quiet | {"CLOSEOUT_SENDER_STATUS_ADDRESS": status.address}
        ) as sender,
        StatusClient(status.address) as campaigns,
        SenderClient(sender.address) as deliveries,
    ):
        await deliveries.create_campaign(campaign_id="bench", channel="null")
        begin = time.perf_counter()
        await deliveries.upload_recipients(
            campaign_id="bench", upload_id="bench", batches=_recipients(messages)
        )
        uploaded = time.perf_counter()
        await deliveries.start_campaign(campaign_id="bench")
        async for campaign in campaigns.watch_campaign(campaign_id="bench"):
            last = campaign
        completed = time.perf_counter()
        if last.state != status_pb2.Campaign.COMPLETED or last.sent != messages:
            raise RuntimeError(f"not completed: {last}")
        return CampaignFigures(
            rate=messages / (completed - uploaded),
            intake_rate=messages / (uploaded - begin),
            sender_mib=sender.peak_memory_mib(),
            status_mib=status.peak_memory_mib(),
        )


def _recipients(messages: int) -> Iterator[list[sender_pb2.Recipient]]:
    for first in range(0, messages, _BATCH):
        batch = []
        for number in range(first, min(first + _BATCH, messages)):
            recipient = sender_pb2.Recipient(address=f"person-{number}@example.com")
            recipient.fields["name"] = f"Person {number}"
            batch.append(recipient)
        yield batch
