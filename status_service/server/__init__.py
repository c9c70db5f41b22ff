"""The process: its parts, what it answers, what it does besides, and its start and stop."""

from __future__ import annotations

from status_service.server.calls import SERVICES
from status_service.server.serving import running

__all__ = ["SERVICES", "running"]
