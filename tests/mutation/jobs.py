"""What a process is to run: the tests for a mutation, or a test without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mutants.runner import busy

#: A test may take this many times as long, and this much longer, seconds.
_TIMES_AS_LONG, _LONGER_SECONDS = 8.0, 30.0


class Change(Protocol):
    """A change of the source: a mutation, or a seeded bug."""

    @property
    def files(self) -> Sequence[str]:
        """The files it changes, below the root."""

    def sources(self, root: Path) -> Mapping[str, str]:
        """Return the files as they become."""


@dataclass(frozen=True, slots=True)
class Job:
    """A change, or none, and the tests to run with it.

    Attributes:
        tests: their names, each with how long it takes without a mutation, seconds.
        at_import: the statement runs when its module is imported.
    """

    mutation: Change | None
    tests: Mapping[str, float]
    at_import: bool = False


def longest(seconds: float) -> float:
    """Return after how many seconds tests are endless that take so many on an idle machine."""
    return busy() * (_TIMES_AS_LONG * seconds + _LONGER_SECONDS)
