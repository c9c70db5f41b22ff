"""Both services as processes, and an SMTP provider in the event loop of the test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service
from closeout.aio import SenderClient, StatusClient
from closeout.errors import UnavailableError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from integration.migrated import make_file
from providers.held_port import HeldPort
from providers.smtp_provider import SmtpProvider, SteppedProvider
from sender_service.migrations import MIGRATIONS as SENDER_MIGRATIONS
from status_service.migrations import MIGRATIONS as STATUS_MIGRATIONS

CAMPAIGN_ID = "newsletter"
#: Seconds between two polls.
_POLL_SECONDS = 0.002
CONTENT = {
    "subject": "Hello {{ name }}",
    "text": "Dear {{ name }}, this is for you.\n",
    "from": "News <news@example.com>",
}


@dataclass(slots=True)
class Deployment:
    """A status service, a sender service, and the provider of the sender."""

    status: Service
    sender: Service
    provider: SmtpProvider | SteppedProvider

    async def start(self, service: Service) -> None:
        """Start a service, always on the same port, without blocking the provider."""
        await asyncio.to_thread(service.start)

    async def kill_and_start(self, service: Service) -> None:
        """Kill a service and start it again."""
        await asyncio.to_thread(service.kill)
        await self.start(service)

    async def kill_sender_in_mid_sending(self) -> None:
        """Kill the sender while the provider delays its answers, so that messages are in doubt."""
        assert isinstance(self.provider, SmtpProvider)
        latency = self.provider.latency_seconds
        self.provider.latency_seconds = PATIENCE_SECONDS
        await asyncio.to_thread(self.sender.kill)
        self.provider.latency_seconds = latency

    async def send(
        self, addresses: list[str], options: sender_pb2.DeliveryOptions | None = None
    ) -> None:
        """Create, fill and start the campaign :data:`CAMPAIGN_ID`."""
        async with SenderClient(self.sender.address) as client:
            await client.create_campaign(
                campaign_id=CAMPAIGN_ID,
                channel="smtp",
                body=sender_pb2.EmailContent(**CONTENT),
                options=options,
            )
            await client.upload_recipients(
                campaign_id=CAMPAIGN_ID, upload_id="audience", batches=_batches(addresses)
            )
            await client.start_campaign(campaign_id=CAMPAIGN_ID)

    async def campaign(self) -> status_pb2.Campaign:
        """Return the campaign of the status service, retrying until the service answers."""
        async with StatusClient(self.status.address) as client:
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            while True:
                try:
                    return await client.get_campaign(campaign_id=CAMPAIGN_ID)
                except UnavailableError:
                    assert asyncio.get_running_loop().time() < deadline

    async def completed(self) -> status_pb2.Campaign:
        """Return the campaign once it is COMPLETED."""
        async with (
            StatusClient(self.status.address) as client,
            asyncio.timeout(4 * PATIENCE_SECONDS),
        ):
            async for campaign in client.watch_campaign(campaign_id=CAMPAIGN_ID):
                last = campaign
        assert last.state == status_pb2.Campaign.COMPLETED, last
        return last

    async def results(self) -> dict[int, status_pb2.Result]:
        """Return every stored result by sequence."""
        async with StatusClient(self.status.address) as client:
            return {
                result.sequence: result
                async for result in client.list_results(campaign_id=CAMPAIGN_ID)
            }

    async def accepted(self, at_least: int) -> None:
        """Wait until the provider has accepted ``at_least`` messages."""
        await until(lambda: len(self.provider.ledger.accepted) >= at_least)

    def accepted_by_address(self) -> Counter[str]:
        """Return how many messages the provider accepted for each address."""
        return Counter(entry.recipient for entry in self.provider.ledger.accepted)


@asynccontextmanager
async def deployed(
    folder: Path,
    provider: SmtpProvider | SteppedProvider,
    *,
    status_database: str = "",
    **settings: str,
) -> AsyncIterator[Deployment]:
    """Run both services and the provider while the block runs.

    Args:
        folder: where both have their files.
        provider: the mail server of the sender.
        status_database: the URL for the status service; empty: a file.
        settings: of the sender, as variables.
    """
    quiet = {"CLOSEOUT_LOG_LEVEL": "info"}
    async with provider:
        with (
            HeldPort() as status_port,
            HeldPort() as sender_port,
            ForkedService(
                "status_service",
                "status service listening on ",
                folder / "status",
                quiet
                | {"CLOSEOUT_STATUS_LISTEN": status_port.address}
                | ({"CLOSEOUT_STATUS_DATABASE_URL": status_database} if status_database else {}),
            ) as status,
            ForkedService(
                "sender_service",
                "sender service listening on ",
                folder / "sender",
                quiet
                | {
                    "CLOSEOUT_SENDER_LISTEN": sender_port.address,
                    "CLOSEOUT_SENDER_STATUS_ADDRESS": status_port.address,
                    "CLOSEOUT_SMTP_HOST": "127.0.0.1",
                    "CLOSEOUT_SMTP_PORT": str(provider.port),
                }
                | settings,
            ) as sender,
        ):
            if not status_database:
                make_file(status.folder / "closeout-status.db", STATUS_MIGRATIONS)
            make_file(sender.folder / "closeout-sender.db", SENDER_MIGRATIONS)
            deployment = Deployment(status, sender, provider)
            await deployment.start(status)
            await deployment.start(sender)
            yield deployment


async def until(condition: Callable[[], bool]) -> None:
    """Return once ``condition()`` is true; fail after PATIENCE_SECONDS."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - no event signals the condition
            await asyncio.sleep(_POLL_SECONDS)


def _batches(addresses: list[str]) -> list[list[sender_pb2.Recipient]]:
    recipients = []
    for address in addresses:
        recipient = sender_pb2.Recipient(address=address)
        recipient.fields["name"] = address.partition("@")[0]
        recipients.append(recipient)
    return [recipients[first : first + 1_000] for first in range(0, len(recipients), 1_000)]
