"""Places that callers have at once, shared fairly.

One connection gets a quarter of them at most, and one organisation a half. Where all are
taken, whoever has fewer takes one from whoever has most: so a hostile caller keeps nobody
out, however many streams it opens.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

#: Where nobody has more than others, a place that was silent for longer is taken, seconds.
SILENT_SECONDS = 5.0
#: A connection, by the organisation of its caller and the address that it calls from.
Connection = tuple[str, str]


class Place:
    """A place that a caller has.

    Args:
        connection: whose it is.

    Attributes:
        connection: whose it is.
        yields: whether it can be given to somebody else.
        is_taken_away: whether that happened; the task that had it was cancelled.
        is_heard: whether its caller has sent a message.
        heard_at: when its caller sent something last, on the monotonic clock.
    """

    def __init__(self, connection: Connection, *, yields: bool) -> None:
        self.connection = connection
        self.yields = yields
        self.is_taken_away = False
        self.is_heard = False
        self.heard_at = time.monotonic()
        self._task = asyncio.current_task()

    def take_away(self) -> None:
        """Cancel the task that has it."""
        self.is_taken_away = True
        if self._task is not None:
            self._task.cancel("another caller needs the place")

    def forgive(self) -> None:
        """Note that the cancellation has reached its task."""
        if self._task is not None:
            self._task.uncancel()


class Places:
    """The places of one kind.

    Args:
        kind: what has them, for people.
        most: how many there are.
        of_organisation: how many one organisation gets; None: a half.
        takes_silent: whether a place that was silent for long can be taken by anybody.
    """

    def __init__(
        self,
        kind: str,
        most: int,
        *,
        of_organisation: int | None = None,
        takes_silent: bool = False,
    ) -> None:
        self.kind = kind
        self.most = most
        self.of_organisation = of_organisation or most // 2
        self._takes_silent = takes_silent
        self._held: dict[Connection, list[Place]] = {}
        self._of_organisation: Counter[str] = Counter()
        self._taken = 0

    def take(self, organisation: str, address: str, *, yields: bool = False) -> Place | None:
        """Return a place, or None if the caller has as many as it may.

        Args:
            organisation: of the caller; empty: it has not said who it is.
            address: where it calls from, with its port.
            yields: whether the place can be given to somebody who has fewer.
        """
        connection = (organisation, address)
        mine = len(self._held.get(connection, ()))
        if mine >= self.of_organisation // 2:
            return None
        if self._of_organisation[organisation] >= self.of_organisation:
            freed = self._take_away(organisation, mine)
        elif self._taken >= self.most:
            freed = self._take_from_another(organisation, mine)
        else:
            freed = True
        if not freed:
            self._forget(organisation)
            return None
        place = Place(connection, yields=yields)
        self._held.setdefault(connection, []).append(place)
        self._of_organisation[organisation] += 1
        self._taken += 1
        return place

    def give_back(self, place: Place) -> None:
        """Give a place back; one that was taken away is no one's already."""
        if not place.is_taken_away:
            self._remove(place)

    def is_used(self, address: str) -> bool:
        """Return whether anybody who calls from an address has a place and has sent a message."""
        return any(
            place.is_heard
            for (_, known), held in self._held.items()
            if known == address
            for place in held
        )

    def _take_from_another(self, organisation: str, mine: int) -> bool:
        """Take a place from whoever has most; return whether anybody has more than the caller."""
        most = max(self._of_organisation, key=self._of_organisation.__getitem__)
        if self._of_organisation[most] > self._of_organisation[organisation] + 1:
            return self._take_away(most, 0, least=1)
        return self._take_away(organisation, mine)

    def _take_away(self, organisation: str, mine: int, *, least: int = 2) -> bool:
        """Take a place from the connection of an organisation that has most of those that yield.

        Args:
            organisation: whose.
            mine: how many the caller has.
            least: how many more the other one must have.
        """
        having = [
            (len(held), held)
            for (known, _), held in self._held.items()
            if known == organisation and any(place.yields for place in held)
        ]
        count, held = max(having, key=lambda one: one[0], default=(0, []))
        if count >= mine + least:
            place = next(place for place in reversed(held) if place.yields)
        elif (silent := self._silent(organisation)) is not None:
            place = silent
        else:
            return False
        self._remove(place)
        place.take_away()
        return True

    def _silent(self, organisation: str) -> Place | None:
        """Return the place of an organisation that was silent for longest, if that is long."""
        found = (
            place
            for (known, _), held in self._held.items()
            if known == organisation and self._takes_silent
            for place in held
            if place.yields
        )
        place = min(found, key=lambda place: place.heard_at, default=None)
        if place is None or time.monotonic() - place.heard_at < SILENT_SECONDS:
            return None
        return place

    def _remove(self, place: Place) -> None:
        held = self._held[place.connection]
        held.remove(place)
        if not held:
            del self._held[place.connection]
        self._of_organisation[place.connection[0]] -= 1
        self._taken -= 1
        self._forget(place.connection[0])

    def _forget(self, organisation: str) -> None:
        """Keep nothing of those who have no place."""
        if not self._of_organisation[organisation]:
            del self._of_organisation[organisation]
