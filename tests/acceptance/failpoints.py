"""The steps of the write path at which a client can request a fault, by name.

A client requests a fault by the ``code`` of a result, or the ``reason`` of MarkComplete:
the transaction of a frame with ``kill before commit`` dies there. Of a completion by force
with the reason ``block 2: kill before commit``, the second block does. So a test chooses the
moment exactly, whatever other transactions run, and each fault happens once, also when
its frame is sent again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: The steps of the service between receiving and answering a frame, in order.
WRITING = (
    "lock campaigns",
    "look up results",
    "insert results",
    "lock failure_groups",
    "insert failure_groups",
    "update campaigns",
    "commit",
    "acknowledge",
)
#: The same for a frame whose results are all new: no group loses any.
ADDING = tuple(
    one
    for step in WRITING
    for one in (("update failure_groups", step) if step == "lock failure_groups" else (step,))
)
#: The same for the frame that completes its campaign.
COMPLETING = (
    "lock campaigns",
    "look up results",
    "count results",
    "insert results",
    "lock failure_groups",
    "insert failure_groups",
    "update campaigns",
    "insert transitions",
    "insert events",
    "insert samples",
    "commit",
    "acknowledge",
)
#: What PostgreSQL does of that before it locks the campaign: results that are all new are
#: copied, others only looked for.
AHEAD = ("read campaigns", "look up results", "insert results")
#: The same for MarkComplete with force, while messages have no result.
FORCING = (
    "lock campaigns",
    "read clock",
    "insert results",
    "lock failure_groups",
    "insert failure_groups",
    "update campaigns",
    "insert transitions",
    "insert events",
    "insert samples",
    "commit",
)
#: The same for DeleteCampaign; what it leaves is removed later, in blocks.
DELETING = (
    "lock campaigns",
    "read clock",
    "insert deleted_campaigns",
    "update campaigns",
    "delete campaign_labels",
    "delete removals",
    "insert removals",
    "commit",
)
#: The file in its working folder in which the service records injected faults.
FIRED = "fired-faults"
#: The code that requests a record of each step of a transaction, without a fault.
TRACE = "trace"

_CHANGE = re.compile(r"\s*(INSERT|UPDATE|DELETE|COPY)\s+(?:INTO\s+|FROM\s+)?(\w+)", re.IGNORECASE)
_SELECT = re.compile(
    r"\s*(?:WITH\s+\w+\s+AS\s*\()?\s*SELECT\b.*?\bFROM\s+(\w+)\b(?!\()", re.IGNORECASE | re.DOTALL
)


class Fault(StrEnum):
    """A fault of the service."""

    KILL = "kill"  # the process dies, as by SIGKILL
    ERROR = "error"  # the database or the stream fails
    HANG = "hang"  # the thread stops for ever


class When(StrEnum):
    """The side of a step."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A fault and its moment; its text is the code by which a client requests it."""

    fault: Fault
    when: When
    step: str

    def __str__(self) -> str:
        """Return the code that requests it."""
        return f"{self.fault} {self.when} {self.step}"

    @classmethod
    def of(cls, code: str) -> Failpoint | None:
        """Return the fault that a code requests, or None."""
        fault, _, moment = code.partition(" ")
        when, _, step = moment.partition(" ")
        if fault not in set(Fault) or when not in set(When):
            return None
        return cls(Fault(fault), When(when), step)

    @property
    def is_committed(self) -> bool:
        """Whether its transaction is durable at that moment."""
        return self.step == "acknowledge" or (self.step, self.when) == ("commit", When.AFTER)


def step_of(statement: str) -> str:
    """Name a statement by its verb and its table.

    Two reads of one table have different purposes, so their names differ. COPY is the
    INSERT of PostgreSQL.
    """
    if "set_config(" in statement:  # what follows in this transaction waits for no lock
        return "read campaigns"
    if changed := _CHANGE.match(statement):
        return f"{changed[1].lower().replace('copy', 'insert')} {changed[2]}"
    found = _SELECT.match(statement)
    if "pg_notify" in statement:  # PostgreSQL announces the transition that comes next
        return "insert transitions"
    if found is None:
        return "read clock" if statement.lstrip().upper().startswith("SELECT") else statement
    if found[1] == "results":
        return "count results" if "count(" in statement else "look up results"
    return f"lock {found[1]}"


def fired(folder: Path) -> list[str]:
    """Return the faults of the service that runs in ``folder``, over all its starts."""
    path = folder / FIRED
    return path.read_text().splitlines() if path.exists() else []
