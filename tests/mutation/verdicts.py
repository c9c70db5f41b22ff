"""What became of mutations: kept line by line, so that a run can be interrupted."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mutation.mutations import Mutation


class Verdict(enum.StrEnum):
    """What became of a mutation."""

    #: A test failed.
    KILLED = "killed"
    #: The tests took far too long, or the process ended: a test that never passes fails.
    ENDLESS = "endless"
    #: All tests passed.
    SURVIVED = "survived"
    #: No test runs the statement.
    UNCOVERED = "uncovered"
    #: Cosmic Ray made what is no Python, as ``not`` before ``a := b``: it does not count.
    NO_PYTHON = "no Python"

    @property
    def detected(self) -> bool:
        """Whether a test has seen it."""
        return self in {Verdict.KILLED, Verdict.ENDLESS}

    @property
    def is_final(self) -> bool:
        """Whether another test can change it no more."""
        return self.detected or self is Verdict.NO_PYTHON


class Outcome(NamedTuple):
    """A verdict.

    Attributes:
        test: which test failed, if one did.
        tests: how many were run at most.
    """

    verdict: Verdict
    test: str = ""
    tests: int = 0


class Outcomes:
    """The outcomes that a file keeps."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, Outcome] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                name, verdict, test, tests = json.loads(line)
                self._known[name] = Outcome(Verdict(verdict), test, tests)

    def get(self, mutation: Mutation) -> Outcome | None:
        """Return the last outcome of a mutation of this source."""
        return self._known.get(_name(mutation))

    def add(self, mutation: Mutation, outcome: Outcome) -> None:
        """Keep an outcome."""
        self._known[_name(mutation)] = outcome
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps([_name(mutation), *outcome]) + "\n")


def _name(mutation: Mutation) -> str:
    return f"{mutation} {mutation.digest}"


def by_mutation(outcomes: Outcomes, mutations: list[Mutation]) -> Mapping[Mutation, Outcome]:
    """Return the outcomes that are known of these mutations, and that count."""
    known = ((mutation, outcomes.get(mutation)) for mutation in mutations)
    return {
        mutation: outcome
        for mutation, outcome in known
        if outcome is not None and outcome.verdict is not Verdict.NO_PYTHON
    }
