"""Put a mutant into a copy of the project, run its test there, and say what came of it."""

from __future__ import annotations

import enum
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mutants.mutant import Mutant, StaleMutantError

ROOT = Path(__file__).resolve().parents[2]
#: What a copy does without. Names that begin with a dot are left out as well.
_LEFT_OUT = ("__pycache__", "build", "dist", "*.db", "*.db-*")
#: How long one test may take, and each of them without a mutant, seconds on an idle machine.
_TEST_SECONDS = 180.0
_UNCHANGED_SECONDS = 10.0
_PASSED, _FAILED = 0, 1


class Verdict(enum.StrEnum):
    """What became of a mutant."""

    #: Its test failed, as it must.
    KILLED = "killed"
    #: Its test passed: no test sees this bug.
    SURVIVED = "SURVIVED"
    #: It was not tried: it does not fit, was not loaded, or took too long.
    ERROR = "error"


class Outcome(NamedTuple):
    """A verdict, and why in a line; ``output`` is pytest's."""

    verdict: Verdict
    why: str
    output: str = ""


def busy() -> float:
    """Return how many times as long this machine takes now as an idle one; 1 at least."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def copied() -> Iterator[Path]:
    """Copy the project into a folder that is removed again."""
    with tempfile.TemporaryDirectory(prefix="closeout-mutant-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", *_LEFT_OUT))
        yield copy


def run_unchanged(mutants: Sequence[Mutant]) -> Outcome:
    """Run the tests of mutants on a copy without any: SURVIVED is what must come of it."""
    tests = sorted({mutant.test for mutant in mutants})
    files = sorted({file for mutant in mutants for file in mutant.files})
    with copied() as copy:
        markers = [_mark(copy, file) for file in files]
        seconds = _TEST_SECONDS + _UNCHANGED_SECONDS * len(tests)
        return _verdict(copy, tests, markers, seconds=seconds)


def run(mutant: Mutant) -> Outcome:
    """Put in the mutant, run its test."""
    with copied() as copy:
        try:
            mutant.check_test(copy)
            sources = mutant.sources(copy)
        except StaleMutantError as error:
            return Outcome(Verdict.ERROR, str(error))
        for file, source in sources.items():
            (copy / file).write_text(source)
        markers = [_mark(copy, file) for file in sources]
        return _verdict(copy, [mutant.test], markers, seconds=_TEST_SECONDS)


def _mark(copy: Path, file: str) -> Path:
    """Make a module of the copy leave a file behind when it is loaded, in whatever process."""
    marker = copy.parent / f"loaded-{file.replace('/', '-')}"
    with (copy / file).open("a") as source:
        source.write(f"\nopen({str(marker)!r}, 'a').close()\n")
    return marker


def _verdict(
    copy: Path, tests: Sequence[str], markers: Sequence[Path], *, seconds: float
) -> Outcome:
    seconds *= busy()
    try:
        code, output = run_tests(copy, tests, seconds)
    except subprocess.TimeoutExpired:
        return Outcome(Verdict.ERROR, f"no verdict within {seconds:.0f} s")
    unloaded = [marker.name for marker in markers if not marker.exists()]
    if unloaded:
        return Outcome(Verdict.ERROR, f"the test does not load it: {', '.join(unloaded)}", output)
    if code == _PASSED:
        return Outcome(Verdict.SURVIVED, "its test passes", output)
    if code == _FAILED:
        return Outcome(Verdict.KILLED, _reason(output), output)
    return Outcome(Verdict.ERROR, f"pytest ended with {code}", output)


def run_tests(copy: Path, tests: Sequence[str], seconds: float) -> tuple[int, str]:
    """Run tests of a copy with the packages of that copy; return the exit code and the output.

    Raises:
        TimeoutExpired: it took too long, and was ended.
    """
    # Where the packages are comes before an editable installation of them, also in
    # the processes that tests start.
    packages = os.pathsep.join(str(copy / name) for name in (".", "clients/cli", "clients/python"))
    environment = os.environ | {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-p", "no:cacheprovider", "--maxfail=1", "--tb=short"]
    with subprocess.Popen(  # noqa: S603 - our own interpreter, our own arguments
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=copy,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output


def _reason(output: str) -> str:
    """Return the first line that says what was wrong."""
    # Hypothesis draws several failures as a tree, without pytest's mark.
    said = re.search(r"^(?:E   | +\| (?=\w+Error))(\S.*)", output, re.MULTILINE)
    return said[1] if said else "it failed"
