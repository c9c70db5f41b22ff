"""Tell those who watch a campaign, in this process, that it changed."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from status_service.recording.types import CampaignKey, Change


class Notifier:
    """Who watches what. Used from the event loop only, after a commit.

    A change may come twice, from the writer and from the database, or late: only one
    with a higher revision than the last is told.
    """

    def __init__(self) -> None:
        self._listeners: defaultdict[CampaignKey, set[Callable[[Change], None]]] = defaultdict(set)
        self._told: dict[CampaignKey, int] = {}  # the last revision of what is listened to

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell the listeners of each changed campaign. Listeners must not block or raise."""
        for change in changes:
            if self.is_news(change.key, change.revision):
                self._told[change.key] = change.revision
                for listener in tuple(self._listeners[change.key]):
                    listener(change)

    def is_news(self, key: CampaignKey, revision: int) -> bool:
        """Return whether somebody listens to a campaign and knows an older revision only."""
        return key in self._listeners and revision > self._told.get(key, 0)

    def keys(self) -> list[CampaignKey]:
        """Return the campaigns that somebody listens to."""
        return list(self._listeners)

    def add(self, key: CampaignKey, listener: Callable[[Change], None]) -> None:
        """Call ``listener`` at each change of a campaign from now on."""
        self._listeners[key].add(listener)

    def remove(self, key: CampaignKey, listener: Callable[[Change], None]) -> None:
        """Stop calling ``listener``."""
        listeners = self._listeners[key]
        listeners.discard(listener)
        if not listeners:
            del self._listeners[key]
            self._told.pop(key, None)

    @contextmanager
    def listening(self, key: CampaignKey, listener: Callable[[Change], None]) -> Iterator[None]:
        """Call ``listener`` at each change of a campaign while the block runs."""
        self.add(key, listener)
        try:
            yield
        finally:
            self.remove(key, listener)
