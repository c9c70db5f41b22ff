"""Mutations that no test can detect, or that none shall, each with the reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mutation.mutations import ROOT, Mutation

FILE = Path(__file__).with_name("explained.toml")
#: Explains every change of a number by one in a line.
_ANY_NUMBER = "one more or one less"
_NUMBERS = "NumberReplacer"


class Change(NamedTuple):
    """What a mutation does, wherever its lines are: see :meth:`Mutation.change`."""

    file: str
    before: str
    after: str = _ANY_NUMBER


@cache
def explanations() -> Mapping[Change, str]:
    """Return why each of these changes survives."""
    entries = tomllib.loads(FILE.read_text()).get("survivor", [])
    return {
        Change(**{name: each[name] for name in each if name != "why"}): each["why"]
        for each in entries
    }


def explanation(mutation: Mutation) -> str | None:
    """Return why a mutation survives, if that is known."""
    change = Change(mutation.file, *mutation.change())
    why = explanations().get(change)
    if why is None and mutation.operator == _NUMBERS:
        return explanations().get(Change(change.file, change.before))
    return why


def rows() -> list[str]:
    """Return the rows of the table in docs/reliability.md."""
    cells = (
        (f"`{file}`", f"`{before}` becomes {_quoted(after)}", why)
        for (file, before, after), why in explanations().items()
    )
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]


def _quoted(after: str) -> str:
    return after if after == _ANY_NUMBER else f"`{after}`"


def stale() -> list[Change]:
    """Return the explained changes whose lines are not in the source any more."""
    return [change for change in explanations() if not _fits(change)]


def _fits(change: Change) -> bool:
    path = ROOT / change.file
    return path.is_file() and change.before in " ".join(
        line.strip() for line in path.read_text().splitlines()
    )
