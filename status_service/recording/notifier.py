"""Announces changes of campaigns, within this process, to those who watch them."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from status_service.recording.types import CampaignKey, Change


class Notifier:
    """Who watches which campaign. Used from the event loop only, after a commit.

    A change may come twice, from the writer and from the database, late, or out of
    order: each listener compares revisions for itself.

    Attributes:
        changed: the campaigns that changed; who has looked at one takes it out.
    """

    def __init__(self) -> None:
        self._listeners: defaultdict[CampaignKey, set[Callable[[Change], None]]] = defaultdict(set)
        self._revisions: dict[CampaignKey, int] = {}  # of campaigns that are listened to
        self.changed: set[CampaignKey] = set()

    def publish(self, changes: Iterable[Change]) -> None:
        """Call the listeners of each changed campaign. Listeners must not block or raise."""
        for change in changes:
            self.changed.add(change.key)
            if change.key in self._listeners:
                # A late change is no news; only a store that went back lowers what is known.
                if change.went_back_to is not None:
                    self._revisions[change.key] = change.revision
                else:
                    self.note(change.key, change.revision)
                for listener in tuple(self._listeners[change.key]):
                    listener(change)

    def note(self, key: CampaignKey, revision: int) -> None:
        """Remember a revision that a listener knows from elsewhere to be committed."""
        if key in self._listeners:
            self._revisions[key] = max(revision, self.revision(key))

    def revision(self, key: CampaignKey) -> int:
        """Return the highest revision of a campaign that is known to be committed; 0 if none is.

        Read before a transaction begins, it is what the transaction must find, or a later
        one: see :meth:`.types.Change.based_on`.
        """
        return self._revisions.get(key, 0)

    def is_watched(self, key: CampaignKey) -> bool:
        """Return whether somebody listens to a campaign."""
        return key in self._listeners

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
            self._revisions.pop(key, None)

    @contextmanager
    def listening(self, key: CampaignKey, listener: Callable[[Change], None]) -> Iterator[None]:
        """Call ``listener`` at each change of a campaign while the block runs."""
        self.add(key, listener)
        try:
            yield
        finally:
            self.remove(key, listener)
