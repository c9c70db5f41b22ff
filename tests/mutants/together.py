"""Many mutants in forks of one process: what each costs is its test, and no start of Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from mutants.mutant import Mutant, StaleMutantError
from mutants.runner import ROOT, Outcome, Verdict
from mutation import verdicts
from mutation.jobs import Job
from mutation.warm import run_warm

#: How long a test takes at most on an idle machine without its bug, seconds.
_SECONDS = 10.0


def run_together(
    mutants: Iterable[Mutant], report: Callable[[Mutant, Outcome], None], *, at_once: int
) -> None:
    """Try mutants, and report those that are killed.

    Nothing is said of the others: only a copy of the project shows what becomes of them.
    The tests must pass without a mutant.
    """

    def done(job: Job, outcome: verdicts.Outcome | None) -> None:
        assert isinstance(job.mutation, Mutant)
        if outcome is not None and outcome.verdict is verdicts.Verdict.KILLED:
            report(job.mutation, Outcome(Verdict.KILLED, f"{outcome.test} failed"))

    jobs = deque(Job(mutant, {mutant.test: _SECONDS}) for mutant in mutants if _fits(mutant))
    if jobs:
        run_warm(jobs, done, at_once=at_once)


def _fits(mutant: Mutant) -> bool:
    """Return whether a mutant changes nothing but modules of the services, which it fits."""
    try:
        mutant.check_test(ROOT)
        mutant.sources(ROOT)
    except StaleMutantError:
        return False
    return not any(file.startswith(("clients/", "tests/")) for file in mutant.files)
