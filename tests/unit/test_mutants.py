"""Seeded bugs still fit the source; ``make mutants`` shows that their tests detect them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mutants.__main__ import MUTANTS
from mutants.dashboard_bugs import DASHBOARD_BUGS
from mutants.event_bugs import EVENT_BUGS
from mutants.family_bugs import FAMILY_BUGS
from mutants.mutant import Edit, Mutant, StaleMutantError
from mutants.outage_bugs import OUTAGE_BUGS
from mutants.result_bugs import RESULT_BUGS
from mutants.runner import ROOT, Verdict, run
from mutants.sender_bugs import SENDER_BUGS
from mutants.status_bugs import STATUS_BUGS


def a_mutant(*edits: Edit, test: str = "t.py::test_it") -> Mutant:
    """Return a mutant with these edits."""
    return Mutant("m", "S1", "a bug", "somewhere", edits, test)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_source(mutant: Mutant) -> None:
    """Its text exists exactly once, the result is Python, and its test exists."""
    changed = mutant.sources(ROOT)
    assert all((ROOT / file).read_text() != source for file, source in changed.items())
    mutant.check_test(ROOT)


def test_the_names_of_mutants_are_unique() -> None:
    """No mutant hides another."""
    bugs = (
        *(STATUS_BUGS, RESULT_BUGS, SENDER_BUGS, FAMILY_BUGS),
        *(OUTAGE_BUGS, DASHBOARD_BUGS, EVENT_BUGS),
    )
    assert len(MUTANTS) == sum(map(len, bugs))


def test_the_table_of_seeded_bugs_is_theirs() -> None:
    """docs/reliability.md lists every mutant as it is: see ``python -m mutants --table``."""
    document = (ROOT / "docs" / "reliability.md").read_text()
    _, _, section = document.partition("## Seeded bugs\n")
    section, _, _ = section.partition("\n## ")
    rows = re.findall(r"^\| `.+$", section, re.MULTILINE)
    assert rows == [mutant.row for mutant in MUTANTS.values()]


def test_each_mutant_breaks_a_line_that_is_promised() -> None:
    """The invariant of a mutant is one of docs/reliability.md, or API."""
    document = (ROOT / "docs" / "reliability.md").read_text()
    promised = re.findall(r"^\| ([SL]\d+) \|", document, re.MULTILINE)
    assert {mutant.invariant for mutant in MUTANTS.values()} <= {*promised, "API"}


@pytest.mark.parametrize("source", ["", "a = 1\na = 1\n"], ids=["gone", "twice"])
def test_a_mutant_that_does_not_fit_is_refused(tmp_path: Path, source: str) -> None:
    """The error for a missing or repeated text names the file and the text."""
    (tmp_path / "x.py").write_text(source)
    with pytest.raises(StaleMutantError, match=r"x\.py has [02] times: 'a = 1"):
        a_mutant(Edit("x.py", "a = 1\n", "a = 2\n")).sources(tmp_path)


def test_a_mutant_that_is_no_python_is_refused(tmp_path: Path) -> None:
    """A mutant with a syntax error is refused: any test would kill it."""
    (tmp_path / "x.py").write_text("a = 1\n")
    with pytest.raises(StaleMutantError, match=r"x\.py: .*syntax"):
        a_mutant(Edit("x.py", "1", "= 1")).sources(tmp_path)


@pytest.mark.parametrize("test", ["no.py::test_it", "t.py::test_its", "t.py::test_"])
def test_a_missing_test_is_reported(tmp_path: Path, test: str) -> None:
    """A renamed test is reported, even if another test begins with its name."""
    (tmp_path / "t.py").write_text("def test_it() -> None: ...\n")
    a_mutant().check_test(tmp_path)
    with pytest.raises(StaleMutantError, match=f"no test {test}"):
        a_mutant(test=test).check_test(tmp_path)


_RULES = "tests/unit/test_status_domain.py::test_s2_outcomes_rank_from_unknown_to_sent"


def ranked(new: str, *, file: str = "status_service/domain.py") -> Mutant:
    """Return a mutant of a rank, or of another file, with the test of ranks."""
    return a_mutant(Edit(file, "    UNKNOWN = 1\n", new), test=_RULES)


@pytest.mark.parametrize(
    ("mutant", "verdict", "why"),
    [
        (ranked("    UNKNOWN = 5\n"), Verdict.KILLED, "assert "),
        (ranked("    UNKNOWN = 0 + 1\n"), Verdict.SURVIVED, "its test passes"),
        (
            ranked("    UNKNOWN = 5\n", file="sender_service/domain.py"),
            Verdict.ERROR,
            "the test does not load it: loaded-sender_service-domain.py",
        ),
        (ranked("    UNKNOWN = nothing\n"), Verdict.ERROR, "the test does not load it: "),
    ],
    ids=["seen", "not-seen", "not-loaded", "not-importable"],
)
def test_only_a_test_that_fails_over_the_mutant_kills_it(
    mutant: Mutant, verdict: Verdict, why: str
) -> None:
    """A mutant that survives, is not loaded or breaks everything does not count as killed."""
    outcome = run(mutant)
    assert (outcome.verdict, outcome.why[: len(why)]) == (verdict, why), outcome.output
