"""What every campaign at work shares."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sender_service.delivery.fair_scheduler import Turns

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from closeout.aio import StatusClient
    from sender_service.channels.registry import ChannelRegistry
    from sender_service.reporting.result_stream import Reporter
    from sender_service.settings import SenderSettings
    from service_runtime.database import Store


class Workplace:
    """The services of this process that campaigns at work use.

    Attributes:
        stopping: True once nothing new may be launched.
        tasks: those that a stop waits for.

    Args:
        store: the sender's.
        channels: where messages go.
        client: reaches the status service.
        reporter: is told of every entry in the journal.
        settings: of the sender.
        instance: the name of this process, which owns the leases.
    """

    def __init__(
        self,
        store: Store,
        channels: ChannelRegistry,
        client: StatusClient,
        reporter: Reporter,
        settings: SenderSettings,
        *,
        instance: str,
    ) -> None:
        self.store = store
        self.channels = channels
        self.client = client
        self.reporter = reporter
        self.settings = settings
        self.instance = instance
        self.stopping = False
        self.tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, Turns] = {}

    def turns_of(self, channel: str) -> Turns:
        """Return how campaigns of a channel take turns."""
        if channel not in self._turns:
            self._turns[channel] = Turns(self.settings.concurrent_campaigns)
        return self._turns[channel]

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else; a stop waits for it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
