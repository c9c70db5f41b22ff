"""Both services with keys: a sender with a key of its own, and callers of organisations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from closeout.aio import SenderClient, StatusClient
from closeout.sender.v1 import sender_pb2
from integration import sender_support as support
from integration.databases import SqliteDatabase
from integration.key_support import make_key
from integration.sender_pair import Pair
from integration.status_support import by_hand
from sender_service.access.asking import CallerLimits
from service_runtime.caller import ALL_SCOPES, Scope
from status_service.access.key_access import AccessLimits
from status_service.access.keys import NewKey

SERVICE_SCOPES = (Scope.REPORT, Scope.WRITE, Scope.SERVICE)
ALPHA, BETA = "alpha", "beta"


class KeyedPair(Pair):
    """The two services; the sender has a key in a file, which a test can change."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.key_file = folder / "sender.key"
        self.settings["status_api_key_file"] = str(self.key_file)
        self.status_limits = AccessLimits(
            kept_seconds=0.0, recheck_seconds=0.1, attempts_per_second=1_000_000
        )
        self.caller_limits = CallerLimits(kept_seconds=0.0, recheck_seconds=0.1)
        self.service_key: NewKey

    async def start_sender(self, *, with_channel: bool = True) -> None:
        """Start the sender; the first time, with a good key unless a test wrote another one."""
        if not self.key_file.exists():
            self.give_service_key()
        await super().start_sender(with_channel=with_channel)

    def key(
        self, organisation: str, *, name: str = "shop", scopes: Iterable[Scope] = ALL_SCOPES
    ) -> NewKey:
        """Make a key of an organisation."""
        database = SqliteDatabase(self.folder / "status.db")
        return make_key(database, organisation=organisation, name=name, scopes=scopes)

    def give_service_key(self, scopes: Iterable[Scope] = SERVICE_SCOPES) -> None:
        """Make a key for the sender, and put it into its file."""
        self.service_key = self.key("operators", name="sender", scopes=scopes)
        self.key_file.write_text(f"{self.service_key.text}\n")

    def revoke(self, key: NewKey) -> None:
        """Revoke a key by hand."""
        with by_hand(self.folder) as connection:
            connection.execute(
                "UPDATE keys SET revoke_time = create_time WHERE key_id = ?", (key.key_id,)
            )

    @asynccontextmanager
    async def member(self, organisation: str, key: NewKey | None = None) -> AsyncIterator[Member]:
        """Return a caller of an organisation, with clients of both services."""
        text = (key or self.key(organisation)).text
        async with (
            StatusClient(self.status_address, api_key=text) as status,
            SenderClient(self.sender_address, api_key=text) as sender,
        ):
            yield Member(organisation, status, sender)


class Member:
    """A caller with a key."""

    def __init__(self, organisation: str, status: StatusClient, sender: SenderClient) -> None:
        self.organisation = organisation
        self.status = status
        self.sender = sender

    async def create(self, campaign_id: str, messages: int) -> None:
        """Create a campaign with so many recipients, whose addresses name the organisation."""
        await self.sender.create_campaign(
            campaign_id=campaign_id,
            channel="scripted",
            body=sender_pb2.EmailContent(subject=f"Hello from {self.organisation}"),
        )
        addresses = [f"p{number}@{self.organisation}.example" for number in range(messages)]
        await self.sender.upload_recipients(
            campaign_id=campaign_id,
            upload_id="u",
            batches=[[sender_pb2.Recipient(address=address) for address in addresses]],
        )

    async def begin(self, campaign_id: str, messages: int) -> None:
        """Create a campaign and start it."""
        await self.create(campaign_id, messages)
        await self.sender.start_campaign(campaign_id=campaign_id)

    async def finished(self, campaign_id: str) -> sender_pb2.GetDeliveryResponse:
        """Wait until the sender has nothing left to do for a campaign."""

        async def look() -> sender_pb2.GetDeliveryResponse | None:
            delivery = await self.sender.get_delivery(campaign_id=campaign_id)
            done = delivery.phase == sender_pb2.GetDeliveryResponse.FINISHED
            return delivery if done else None

        delivery: sender_pb2.GetDeliveryResponse = await support.eventually(look)
        return delivery


@asynccontextmanager
async def keyed_pair(folder: Path, **settings: object) -> AsyncIterator[KeyedPair]:
    """Run both services for the block."""
    both = KeyedPair(folder)
    both.settings |= settings
    try:
        await both.start()
        yield both
    finally:
        await asyncio.shield(both.close())
