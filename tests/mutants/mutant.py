"""A bug that was seen in other systems, as a change of our source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """A mutant does not fit the source any more: it must be renewed, not dropped."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a file: ``old``, which must occur exactly once, becomes ``new``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug to put back.

    Attributes:
        name: short, unique.
        invariant: the line of docs/reliability.md that it breaks; API: none of those, but
            what a call promises.
        bug: what goes wrong, for people.
        seen: where it went wrong for others.
        edits: the bug.
        test: the pytest node that sees it.
    """

    name: str
    invariant: str
    bug: str
    seen: str
    edits: tuple[Edit, ...]
    test: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files it changes, each once."""
        return tuple(dict.fromkeys(edit.file for edit in self.edits))

    @property
    def row(self) -> str:
        """Its row in docs/reliability.md."""
        file, _, test = self.test.partition("::")
        cells = (f"`{self.name}`", self.bug, self.seen, self.invariant, f"[{test}](../{file})")
        return f"| {' | '.join(cells)} |"

    def sources(self, root: Path) -> dict[str, str]:
        """Return the files it changes below ``root``, by name, as they become.

        Raises:
            StaleMutantError: an old text does not occur exactly once, or the result
                is no Python.
        """
        changed = {file: (root / file).read_text() for file in self.files}
        for edit in self.edits:
            found = changed[edit.file].count(edit.old)
            if found != 1:
                raise StaleMutantError(
                    f"{self.name}: renew it, {edit.file} has {found} times: {edit.old!r}"
                )
            changed[edit.file] = changed[edit.file].replace(edit.old, edit.new)
        for file, source in changed.items():
            try:
                compile(source, file, "exec")
            except SyntaxError as error:
                raise StaleMutantError(f"{self.name}: renew it, {file}: {error}") from error
        return changed

    def check_test(self, root: Path) -> None:
        """Check that its test is there.

        Raises:
            StaleMutantError: it is not.
        """
        file, _, name = self.test.partition("::")
        source = root / file
        if not source.is_file() or not re.search(
            rf"^((async )?def {name}\(|class {name}:)", source.read_text(), re.MULTILINE
        ):
            raise StaleMutantError(f"{self.name}: renew it, there is no test {self.test}")
