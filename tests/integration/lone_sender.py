"""A sender service with real channels, in this process, without a status service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from closeout.aio import SenderClient
from integration.migrated import make_file
from providers.held_port import HeldPort
from sender_service import server
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.webhook.channel import WebhookChannel
from sender_service.channels.webhook.settings import WebhookSettings
from sender_service.migrations import MIGRATIONS
from sender_service.settings import SenderSettings, settings_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sender_service.channels.contract import Channel


@asynccontextmanager
async def lone_sender(folder: Path, *, url: str = "", **smtp: Any) -> AsyncIterator[SenderClient]:
    """Run a sender; nothing listens at its status address.

    Args:
        folder: where its database is.
        url: the setting of ``[webhook]``; empty: the channel is not configured.
        smtp: the settings of ``[smtp]``; none: the channel is not configured.
    """
    make_file(folder / "sender.db", MIGRATIONS)
    channels: dict[str, type[Channel]] = {"smtp": SmtpChannel, "webhook": WebhookChannel}
    with HeldPort() as nobody:
        settings = settings_model(channels)(
            sender=SenderSettings(
                http_listen="127.0.0.1:0",
                listen="127.0.0.1:0",
                database_url=f"sqlite:///{folder}/sender.db",
                status_address=nobody.address,
                grace_seconds=1,
            ),
            smtp=SmtpSettings(**smtp),
            webhook=WebhookSettings(url=url),
        )
        async with (
            server.running(settings, channels=channels) as running,
            SenderClient(running.address) as client,
        ):
            yield client
