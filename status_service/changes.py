"""Tell those who watch a campaign, in this process, that it changed."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from status_service.ledger import CampaignKey, Change


class Changes:
    """Who watches what. Used from the event loop only, after a commit."""

    def __init__(self) -> None:
        self._listeners: defaultdict[CampaignKey, set[Callable[[Change], None]]] = defaultdict(set)

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell the listeners of each changed campaign. Listeners must not block or raise."""
        for change in changes:
            for listener in tuple(self._listeners.get(change.key, ())):
                listener(change)

    def add(self, key: CampaignKey, listener: Callable[[Change], None]) -> None:
        """Call ``listener`` at each change of a campaign from now on."""
        self._listeners[key].add(listener)

    def remove(self, key: CampaignKey, listener: Callable[[Change], None]) -> None:
        """Stop calling ``listener``."""
        listeners = self._listeners[key]
        listeners.discard(listener)
        if not listeners:
            del self._listeners[key]

    @contextmanager
    def listening(self, key: CampaignKey, listener: Callable[[Change], None]) -> Iterator[None]:
        """Call ``listener`` at each change of a campaign while the block runs."""
        self.add(key, listener)
        try:
            yield
        finally:
            self.remove(key, listener)
