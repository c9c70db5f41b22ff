"""Whether this sender has ever met a key: from then on it serves nobody without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sender_service.store import met_keys
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from service_runtime.database import Store

log = structlog.get_logger()


class MetKeys:
    """Remembers, also over restarts, that the status service knows callers by keys.

    Args:
        store: the sender's.
        has_key: whether the sender has a key of its own.
    """

    def __init__(self, store: Store, *, has_key: bool) -> None:
        self._store = store
        self._met = has_key
        self._stored = False

    async def ever(self) -> bool:
        """Return whether a key was ever met.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if not self._met:
            self._met = self._stored = await self._store.read(met_keys.read)
        return self._met

    async def note(self) -> None:
        """Note that one was met; where the store does not answer, it is tried the next time."""
        self._met = True
        if self._stored:
            return
        try:
            await self._store.write(met_keys.note)
        except StoreUnavailableError as error:
            log.warning("met_keys_not_stored", error=error.message)
        else:
            self._stored = True
