"""The steps of the write path at which a fault can be asked for, by name.

A client asks for one by the ``code`` of a result, or the ``reason`` of MarkComplete:
the transaction of a frame that carries ``kill before commit`` dies there. So a test
chooses the moment exactly, whatever other transactions run beside it, and each fault
happens once, also where its frame is sent again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: In order, what the service does with a frame between taking and answering it.
WRITING = (
    "lock campaigns",
    "look up results",
    "insert results",
    "update campaigns",
    "commit",
    "acknowledge",
)
#: The same for the frame that completes its campaign.
COMPLETING = (
    "lock campaigns",
    "look up results",
    "insert results",
    "count results",
    "update campaigns",
    "insert transitions",
    "insert events",
    "commit",
    "acknowledge",
)
#: The same for MarkComplete with force, while messages have no result.
FORCING = (
    "lock campaigns",
    "count results",
    "read clock",
    "look up results",
    "insert results",
    "update campaigns",
    "insert transitions",
    "insert events",
    "commit",
)
#: Where the service notes what happened, in its working folder.
FIRED = "fired-faults"
#: What asks for a transaction to be noted step by step, and not disturbed.
TRACE = "trace"

_CHANGE = re.compile(r"\s*(INSERT|UPDATE|DELETE)\s+(?:INTO\s+|FROM\s+)?(\w+)", re.IGNORECASE)
_SELECT = re.compile(
    r"\s*(?:WITH\s+\w+\s+AS\s*\()?\s*SELECT\b.*?\bFROM\s+(\w+)\b(?!\()", re.IGNORECASE | re.DOTALL
)


class Fault(StrEnum):
    """What happens to the service."""

    KILL = "kill"  # it is gone, as by SIGKILL
    ERROR = "error"  # the database, or the stream, fails
    HANG = "hang"  # the thread never goes on


class When(StrEnum):
    """On which side of a step."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A fault and the moment of it; as text, what a client asks by."""

    fault: Fault
    when: When
    step: str

    def __str__(self) -> str:
        """Return the code that asks for it."""
        return f"{self.fault} {self.when} {self.step}"

    @classmethod
    def of(cls, code: str) -> Failpoint | None:
        """Return what a code asks for, if anything."""
        fault, _, moment = code.partition(" ")
        when, _, step = moment.partition(" ")
        if fault not in set(Fault) or when not in set(When):
            return None
        return cls(Fault(fault), When(when), step)

    @property
    def is_committed(self) -> bool:
        """Whether the transaction it happens in is durable by then."""
        return self.step == "acknowledge" or (self.step, self.when) == ("commit", When.AFTER)


def step_of(statement: str) -> str:
    """Name a statement by its verb and its table.

    Two reads of one table do different things, so they have names of their own.
    """
    if changed := _CHANGE.match(statement):
        return f"{changed[1].lower()} {changed[2]}"
    found = _SELECT.match(statement)
    if found is None:
        return "read clock" if statement.lstrip().upper().startswith("SELECT") else statement
    if found[1] == "results":
        return "count results" if "count(" in statement else "look up results"
    return f"lock {found[1]}"


def fired(folder: Path) -> list[str]:
    """Return what happened to the service that runs in ``folder``, over all its starts."""
    path = folder / FIRED
    return path.read_text().splitlines() if path.exists() else []
