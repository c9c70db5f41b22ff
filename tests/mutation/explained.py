"""Mutations that no test can detect, or that none shall, each with the reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mutation.mutations import ROOT, Mutation

FILE = Path(__file__).with_name("explained.toml")


class Change(NamedTuple):
    """What a mutation does, wherever its lines are: see :meth:`Mutation.change`."""

    file: str
    before: str
    after: str


@cache
def explanations() -> Mapping[Change, str]:
    """Return why each of these changes survives."""
    entries = tomllib.loads(FILE.read_text()).get("survivor", [])
    return {Change(each["file"], each["before"], each["after"]): each["why"] for each in entries}


def explanation(mutation: Mutation) -> str | None:
    """Return why a mutation survives, if that is known."""
    return explanations().get(Change(mutation.file, *mutation.change()))


def rows() -> list[str]:
    """Return the rows of the table in docs/reliability.md."""
    cells = (
        (f"`{file}`", f"`{before}` becomes `{after}`", why)
        for (file, before, after), why in explanations().items()
    )
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]


def stale() -> list[Change]:
    """Return the explained changes whose lines are not in the source any more."""
    return [change for change in explanations() if not _fits(change)]


def _fits(change: Change) -> bool:
    path = ROOT / change.file
    return path.is_file() and change.before in " ".join(
        line.strip() for line in path.read_text().splitlines()
    )
