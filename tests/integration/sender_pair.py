"""Both services in this process, on free ports, with a scripted channel."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from closeout.aio import SenderClient, StatusClient
from closeout.errors import UnavailableError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.migrated import make_file
from providers.held_port import HeldPort
from sender_service import server as sender_server
from sender_service.access.asking import CallerLimits
from sender_service.delivery.clock import Clock
from sender_service.migrations import MIGRATIONS as SENDER_MIGRATIONS
from sender_service.settings import SenderSettings
from sender_service.settings import Settings as SenderServiceSettings
from status_service import server as status_server
from status_service.access.key_access import AccessLimits
from status_service.migrations import MIGRATIONS as STATUS_MIGRATIONS
from status_service.settings import Settings as StatusServiceSettings
from status_service.settings import StatusSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sender_service.channels.contract import Channel

State = status_pb2.Campaign.State
TERMINAL = {State.COMPLETED, State.CANCELLED}


class Pair:
    """The two services, either of which can be stopped and started again.

    The ports stay the same over restarts, as do the databases.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.channel = support.ScriptedChannel()
        self.options = sender_pb2.DeliveryOptions()
        self.clock = Clock()
        self.settings: dict[str, Any] = {"grace_seconds": 2, "shard_size": 50}
        self.asks_sender = False
        self.status_limits = AccessLimits()
        self.caller_limits = CallerLimits()
        self.status_address = "127.0.0.1:0"
        self.sender_address = "127.0.0.1:0"
        self.status_http = ""
        self.sender_http = ""
        self._ports = ExitStack()
        self._status = AsyncExitStack()
        self._sender = AsyncExitStack()
        self._clients = AsyncExitStack()
        self.status: StatusClient
        self.sender: SenderClient

    async def start(self) -> None:
        """Start both, and connect."""
        self.status_address = self._ports.enter_context(HeldPort()).address
        self.sender_address = self._ports.enter_context(HeldPort()).address
        await self.start_status()
        await self.start_sender()
        self.status = await self._clients.enter_async_context(StatusClient(self.status_address))
        self.sender = await self._clients.enter_async_context(SenderClient(self.sender_address))

    async def start_status(self, database: str = "status.db") -> None:
        """Start the status service."""
        make_file(self.folder / database, STATUS_MIGRATIONS)
        settings = StatusSettings(
            http_listen="127.0.0.1:0",
            listen=self.status_address,
            database_url=f"sqlite:///{self.folder}/{database}",
            grace_seconds=0,
            sender_address=self.sender_address if self.asks_sender else "",
        )
        running = await self._status.enter_async_context(
            status_server.running(StatusServiceSettings(status=settings), limits=self.status_limits)
        )
        self.status_address = running.address
        self.status_http = running.http_address

    async def stop_status(self) -> None:
        """Stop the status service in order."""
        await self._status.aclose()

    async def start_sender(self, *, with_channel: bool = True) -> None:
        """Start the sender service."""
        make_file(self.folder / "sender.db", SENDER_MIGRATIONS)
        settings = SenderSettings(
            http_listen="127.0.0.1:0",
            listen=self.sender_address,
            database_url=f"sqlite:///{self.folder}/sender.db",
            status_address=self.status_address,
            **self.settings,
        )
        channels: dict[str, type[Channel]] = {}
        if with_channel:
            channels["scripted"] = support.channel_class(self.channel)
        running = await self._sender.enter_async_context(
            sender_server.running(
                SenderServiceSettings(sender=settings),
                channels=channels,
                clock=self.clock,
                limits=self.caller_limits,
            )
        )
        self.sender_address = running.address
        self.sender_http = running.http_address

    async def stop_sender(self) -> None:
        """Stop the sender service in order; calls that do not end stay in doubt."""
        await self._sender.aclose()

    async def close(self) -> None:
        """Stop everything."""
        self.channel.hold.set()
        await self._clients.aclose()
        await self._sender.aclose()
        await self._status.aclose()
        self._ports.close()

    async def create(self, campaign_id: str, messages: int, **fields: Any) -> None:
        """Create a campaign with so many recipients."""
        await self.sender.create_campaign(
            campaign_id=campaign_id,
            channel="scripted",
            body=sender_pb2.EmailContent(subject="Hello"),
            options=self.options,
            **fields,
        )
        addresses = [f"p{number}@example.com" for number in range(messages)]
        await self.sender.upload_recipients(
            campaign_id=campaign_id,
            upload_id="u",
            batches=[[sender_pb2.Recipient(address=address) for address in addresses]],
        )

    async def begin(self, campaign_id: str, messages: int, **fields: Any) -> None:
        """Create a campaign and start it."""
        await self.create(campaign_id, messages, **fields)
        await self.sender.start_campaign(campaign_id=campaign_id)

    async def hold_calls(self) -> None:
        """Let no further call answer; as many as the channel takes at once may wait.

        For that the provider must be known to take messages, so it gets one before.
        """
        await self.begin("reaches-the-provider", 1)
        await self.finished("reaches-the-provider")
        self.channel.forget()
        self.channel.hold.clear()

    async def ended(self, campaign_id: str) -> status_pb2.Campaign:
        """Wait until a campaign is in a terminal state and fully processed."""

        async def look() -> status_pb2.Campaign | None:
            try:
                campaign = await self.status.get_campaign(campaign_id=campaign_id)
            except UnavailableError:
                return None  # it was started again only now
            done = campaign.state in TERMINAL and campaign.pending == 0
            return campaign if done else None

        campaign: status_pb2.Campaign = await support.eventually(look)
        return campaign

    async def finished(self, campaign_id: str) -> sender_pb2.GetDeliveryResponse:
        """Wait until the sender has nothing left to do for a campaign."""

        async def look() -> sender_pb2.GetDeliveryResponse | None:
            delivery = await self.sender.get_delivery(campaign_id=campaign_id)
            done = delivery.phase == sender_pb2.GetDeliveryResponse.FINISHED
            return delivery if done else None

        delivery: sender_pb2.GetDeliveryResponse = await support.eventually(look)
        return delivery

    async def results(self, campaign_id: str) -> dict[int, status_pb2.Result]:
        """Return the results the status service has, by sequence."""
        return {
            result.sequence: result
            async for result in self.status.list_results(campaign_id=campaign_id)
        }

    async def problem(self, campaign_id: str) -> str:
        """Return what the sender says holds a campaign up."""
        return problem_text(await self.sender.get_delivery(campaign_id=campaign_id))


def problem_text(delivery: sender_pb2.GetDeliveryResponse) -> str:
    """Return what holds a delivery up, each with the other side's words."""
    return "; ".join(f"{problem.summary}: {problem.detail}" for problem in delivery.problems)


@asynccontextmanager
async def pair(folder: Path, *, speed: float = 1.0, **settings: Any) -> AsyncIterator[Pair]:
    """Run both services for the block; the sender's waits for providers pass at ``speed``."""
    both = Pair(folder)
    both.clock = Clock(speed)
    both.settings |= settings
    try:
        await both.start()
        yield both
    finally:
        await asyncio.shield(both.close())
