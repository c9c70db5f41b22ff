"""A new process for a mutation of what runs at import, on a copy of the project."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mutants.runner import run_tests
from mutation.jobs import Job, longest
from mutation.verdicts import Outcome, Verdict

_PASSED, _NO_TESTS = 0, 5
#: What imports take, seconds.
_START_SECONDS = 10.0


def run_cold(job: Job, copy: Path) -> Outcome:
    """Put the mutation into a copy, run the tests there, and take it out again."""
    tests = len(job.tests)
    seconds = longest(sum(job.tests.values())) + _START_SECONDS
    after = job.mutation.sources(copy) if job.mutation else {}
    before = {file: (copy / file).read_text() for file in after}
    for file, source in after.items():
        (copy / file).write_text(source)
    try:
        code, output = run_tests(copy, list(job.tests), seconds)
    except subprocess.TimeoutExpired:
        return Outcome(Verdict.ENDLESS, tests=tests)
    finally:
        for file, source in before.items():
            (copy / file).write_text(source)
    if code in {_PASSED, _NO_TESTS}:
        return Outcome(Verdict.SURVIVED, tests=tests)
    return Outcome(Verdict.KILLED, _failed(output, job.tests), tests)


def _failed(output: str, tests: Iterable[str]) -> str:
    """Return the test, or the file, that a run of pytest names first; its name may have spaces."""
    line = re.search(r"^(?:FAILED|ERROR) (.+)", output, re.MULTILINE)
    if line is None:
        return ""
    named = [test for test in tests if f"{line[1]} ".startswith(f"{test} ")]
    return max(named, key=len, default=line[1].split()[0])
