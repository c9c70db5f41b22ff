"""What the provider of the demo accepted, written down before it answers."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message the provider took responsibility for."""

    recipient: str
    message_id: str
    #: Seconds since 1970.
    time: float


class Ledger:
    """Every accepted message, in memory and, given a path, in a file of JSON lines.

    A line is in the file before the provider answers, so that it stays when either side
    is killed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.accepted: list[Accepted] = []
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None

    def add(self, recipient: str, message_id: str) -> None:
        """Write a message down."""
        entry = Accepted(recipient, message_id, time.time())
        self.accepted.append(entry)
        if self._file:
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    @staticmethod
    def read(path: Path) -> list[Accepted]:
        """Return what a file holds; a line that is still being written is left out."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [Accepted(**json.loads(line)) for line in lines if line.endswith("\n")]
