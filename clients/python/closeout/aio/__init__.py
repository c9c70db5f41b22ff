"""The clients for asyncio, one for each service."""

from __future__ import annotations

from closeout.aio.access import AccessClient
from closeout.aio.events import EventClient
from closeout.aio.sender import SenderClient
from closeout.aio.status import StatusClient

__all__ = ["AccessClient", "EventClient", "SenderClient", "StatusClient"]
