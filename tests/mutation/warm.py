"""A process that has collected the tests, and forks for each mutation.

It imports everything once and starts nothing: no fixture, thread or connection exists when it
forks, so a child equals a new run of pytest after its collection.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

from mutation.jobs import Job, seconds_for
from mutation.mutations import ROOT, Mutation, module_name
from mutation.rebind import constant, rebind
from mutation.swap import Functions, NotSwappableError, functions, swap
from mutation.verdicts import Outcome, Verdict

#: Exit codes of children: none that a service, pytest or Python ends with.
_PASSED, _FAILED, _NOT_SWAPPABLE, _BROKEN, _NO_PYTHON = 50, 51, 52, 53, 54


class BrokenRunError(Exception):
    """Tests could not be collected, or a child could not run them."""


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    descriptor: int
    job: Job
    folder: Path
    deadline: float


@dataclass(eq=False)
class WarmTests:
    """A plugin of pytest that runs jobs in place of the tests that were collected.

    Args:
        jobs: what to run; it may grow meanwhile.
        done: is called with each job and its outcome; None if the mutation has to be imported.
        at_once: how many children there are at a time.
    """

    jobs: deque[Job]
    done: Callable[[Job, Outcome | None], None]
    at_once: int
    _items: dict[str, pytest.Item] = field(default_factory=dict)
    _existing: Functions = field(default_factory=dict)
    _failure: str = ""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the jobs."""
        self._items = {item.nodeid: item for item in session.items}
        files = {job.mutation.file for job in self.jobs if job.mutation}
        for file in files:
            import_module(module_name(file))
        self._existing = functions(str(ROOT / file) for file in files)
        children = selectors.DefaultSelector()
        try:
            while self.jobs or children.get_map():
                while self.jobs and len(children.get_map()) < self.at_once:
                    child = self._fork(self.jobs.popleft())
                    children.register(child.descriptor, selectors.EVENT_READ, child)
                self._wait(children)
        finally:
            for key in list(children.get_map().values()):
                _end(key.data)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first failure, in a child."""
        if report.failed and not self._failure:
            self._failure = report.nodeid

    def _fork(self, job: Job) -> _Child:
        folder = Path(tempfile.mkdtemp(prefix="closeout-mutation-"))
        pid = os.fork()
        if pid == 0:
            self._run(job, folder)
        deadline = time.monotonic() + seconds_for(job)
        return _Child(pid, os.pidfd_open(pid), job, folder, deadline)

    def _wait(self, children: selectors.BaseSelector) -> None:
        """Wait until a child ends, or has taken too long."""
        running: list[_Child] = [key.data for key in children.get_map().values()]
        patience = min(child.deadline for child in running) - time.monotonic()
        ended = {key.data.pid for key, _ in children.select(max(0.0, patience))}
        for child in running:
            if child.pid in ended or time.monotonic() > child.deadline:
                children.unregister(child.descriptor)
                self.done(child.job, _end(child))

    def _run(self, job: Job, folder: Path) -> NoReturn:
        """Run the tests of a job, in a child."""
        code = _BROKEN
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(folder / "output", os.O_CREAT | os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
            tempfile.tempdir = str(folder)
            code = self._tests_of(job, folder)
        finally:
            if code == _BROKEN:
                (folder / "failure").write_text(traceback.format_exc())
            # No fixture of a whole run is taken down: all that they have ends with the process.
            os._exit(code)

    def _tests_of(self, job: Job, folder: Path) -> int:
        if job.mutation:
            try:
                _put_in(job.mutation, self._existing)
            except NotSwappableError:
                return _NOT_SWAPPABLE
            except SyntaxError:
                return _NO_PYTHON
        items = [self._items[test] for test in job.tests if test in self._items]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failure:
                (folder / "failure").write_text(self._failure)
                return _FAILED
        return _PASSED


def _put_in(mutation: Mutation, existing: Functions) -> None:
    before, after = mutation.original(), mutation.source()
    if constant(before, mutation.line):
        rebind(mutation.module, before, after)
    else:
        swap(str(ROOT / mutation.file), before, after, existing)


def _end(child: _Child) -> Outcome | None:
    """End a child and what it has started; return what became of its job."""
    os.kill(child.pid, signal.SIGKILL)  # nothing, if it has ended: it is waited for below
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    os.close(child.descriptor)
    failure = child.folder / "failure"
    said = failure.read_text() if failure.exists() else ""
    shutil.rmtree(child.folder, ignore_errors=True)
    match os.waitstatus_to_exitcode(status):
        case 50:
            return Outcome(Verdict.SURVIVED, tests=len(child.job.tests))
        case 51:
            return Outcome(Verdict.KILLED, said, len(child.job.tests))
        case 52:
            return None
        case 53:
            raise BrokenRunError(said)
        case 54:
            return Outcome(Verdict.NO_PYTHON)
        case _:
            return Outcome(Verdict.ENDLESS, tests=len(child.job.tests))


def run_warm(
    jobs: deque[Job], done: Callable[[Job, Outcome | None], None], *, at_once: int
) -> None:
    """Run jobs in children of a process that has collected their tests.

    Raises:
        BrokenRunError: tests could not be collected, or a child could not run them.
    """
    files = sorted({test.partition("::")[0] for job in jobs for test in job.tests})
    options = ["-qq", "--capture=no", "-p", "no:cacheprovider", "--tb=short", f"--rootdir={ROOT}"]
    plugin = WarmTests(jobs, done, at_once)
    code = pytest.main([*options, *(str(ROOT / file) for file in files)], plugins=[plugin])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise BrokenRunError(f"pytest ended with {code}")
