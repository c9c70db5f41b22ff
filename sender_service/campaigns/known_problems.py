"""What holds one campaign up: at most one problem for each source, and what is stored of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sender_service.domain import Problem


class KnownProblems:
    """The problems of a campaign as far as this process knows."""

    def __init__(self) -> None:
        self._by_source: dict[str, Problem] = {}
        #: Sources whose last change is to be stored.
        self._unstored: set[str] = set()

    @property
    def all(self) -> tuple[Problem, ...]:
        """What holds the campaign up."""
        return tuple(self._by_source.values())

    def note(self, source: str, problem: Problem | None) -> bool:
        """Replace the problem that ``source`` sees; False if nothing is to be stored.

        It keeps the time since when ``source`` has seen one: now, unless the first one
        names another.
        """
        before = self._by_source.get(source)
        if problem is not None:
            since = problem.since_time or datetime.now(UTC)
            problem = replace(problem, since_time=before.since_time if before else since)
        if problem == before:
            return source in self._unstored
        if problem is None:
            del self._by_source[source]
        else:
            self._by_source[source] = problem
        self._unstored.add(source)
        return True

    def stored(self, source: str) -> None:
        """Note that what ``source`` sees is in the store."""
        self._unstored.discard(source)
