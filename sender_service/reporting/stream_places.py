"""Which organisations have a stream now: as many as there are places, in turns; pure."""

from __future__ import annotations

from typing import NamedTuple


class Moves(NamedTuple):
    """Whose stream is to be closed, and whose opened, in this order."""

    closed: list[str]
    opened: list[str]


class StreamPlaces:
    """Gives places to organisations, first come, first served.

    Where more organisations want one than there are places, those that had theirs for
    longest give it up once they had it for a turn, and wait behind the others. Visits, which
    only look whether something was lost, take places that nobody else wants.

    Args:
        most: how many places there are.
        most_visits: how many of them visits may have at once.
        turn_seconds: how long a place is kept at least, whoever waits.
    """

    def __init__(self, most: int, *, most_visits: int, turn_seconds: float) -> None:
        self._most = most
        self._most_visits = most_visits
        self._turn_seconds = turn_seconds
        #: Who has a place, and since when, the first one first.
        self._open: dict[str, float] = {}
        self._waiting: dict[str, None] = {}
        self._to_visit: dict[str, None] = {}
        #: Those of ``_open`` that are on a visit.
        self._visiting: set[str] = set()

    @property
    def open(self) -> list[str]:
        """The organisations that have a place."""
        return list(self._open)

    @property
    def others_wait(self) -> bool:
        """True while an organisation with work waits for a place."""
        return bool(self._waiting)

    def is_visit(self, organisation: str) -> bool:
        """Return whether an organisation has its place for a visit alone."""
        return organisation in self._visiting

    def ask(self, organisation: str) -> None:
        """Ask for a place, for an organisation that has work."""
        self._visiting.discard(organisation)
        self._to_visit.pop(organisation, None)
        if organisation not in self._open:
            self._waiting.setdefault(organisation)

    def visit(self, organisation: str) -> None:
        """Ask for a short visit, unless there is a stream anyway, or soon."""
        if organisation not in self._open and organisation not in self._waiting:
            self._to_visit.setdefault(organisation)

    def leave(self, organisation: str) -> None:
        """Give up a place, or the wait for one."""
        self._open.pop(organisation, None)
        self._waiting.pop(organisation, None)
        self._visiting.discard(organisation)

    def move(self, now: float) -> Moves:
        """Return what is to change at ``now``, seconds on a clock that never goes back."""
        closed: list[str] = []
        wanting = len(self._waiting) - (self._most - len(self._open))
        for organisation, since in list(self._open.items()):
            if len(closed) >= wanting or now - since < self._turn_seconds:
                break
            self.leave(organisation)
            closed.append(organisation)
        opened = self._take(self._waiting, self._most - len(self._open))
        self._waiting.update(dict.fromkeys(closed))
        visits = min(self._most - len(self._open) - len(opened), self._visits_left)
        visited = self._take(self._to_visit, visits)
        self._visiting.update(visited)
        self._open.update(dict.fromkeys([*opened, *visited], now))
        return Moves(closed, [*opened, *visited])

    @property
    def _visits_left(self) -> int:
        return self._most_visits - len(self._visiting)

    @staticmethod
    def _take(queue: dict[str, None], number: int) -> list[str]:
        taken = list(queue)[: max(number, 0)]
        for organisation in taken:
            del queue[organisation]
        return taken
