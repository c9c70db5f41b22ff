"""The process: its parts, what it answers, what it does besides, and its start and stop."""

from __future__ import annotations

from status_service.server.calls import SERVICES
from status_service.server.serving import Running, running

__all__ = ["SERVICES", "Running", "running"]
