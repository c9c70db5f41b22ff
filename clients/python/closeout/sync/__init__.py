"""The blocking clients, one for each service; ``closeout`` has them too."""

from __future__ import annotations

from closeout.sync.access import AccessClient
from closeout.sync.events import EventClient
from closeout.sync.sender import SenderClient
from closeout.sync.status import StatusClient

__all__ = ["AccessClient", "EventClient", "SenderClient", "StatusClient"]
