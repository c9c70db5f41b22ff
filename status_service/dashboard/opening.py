"""Puts the pages together, for the process that serves them."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import cache, partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

from service_runtime.database_time import read_clock
from service_runtime.errors import KeyInvalidError
from status_service.dashboard import assets
from status_service.dashboard.live import Live
from status_service.dashboard.problem_scans import ProblemScans
from status_service.dashboard.rendering import Renderer
from status_service.dashboard.security import names_this_machine
from status_service.dashboard.sessions import Sessions
from status_service.dashboard.visit import Board

if TYPE_CHECKING:
    from service_runtime.caller import Caller
    from status_service.settings import StatusSettings


class NoKeys:
    """Knows no key: everybody is served."""

    async def caller_of_key(self, key_id: str) -> Caller:
        """Refuse.

        Raises:
            KeyInvalidError: always.
        """
        raise KeyInvalidError(f"there is no key {key_id}; sign in again")

    async def keys_exist(self) -> bool:
        """Return False."""
        return False


@cache
def _renderer() -> Renderer:
    """Return what makes pages: it compiles each template once in a process."""
    return Renderer(assets.load(), version=metadata.version("closeout-server"))


def open_board(settings: StatusSettings, **parts: Any) -> Board:
    """Return what the pages of a service with these settings work with.

    Args:
        settings: of the service.
        parts: what :class:`Board` has that the service has made.
    """
    views = parts["views"]

    def badge(organisation: str) -> int:
        scan = views.latest_scan(organisation)
        return scan.repaired + scan.attention if scan else 0

    return Board(
        badge=badge,
        live=Live(views),
        renderer=_renderer(),
        assets=assets.load(),
        sessions=Sessions(parts["store"]),
        stall_threshold=timedelta(seconds=settings.stall_threshold_seconds),
        only_this_machine=names_this_machine(settings.http_listen),
        process_secret=secrets.token_bytes(32),
        scans=ProblemScans(parts["service"], partial(parts["store"].read, read_clock)),
        **parts,
    )
