"""A process that has collected the tests, and forks for each mutation.

It imports everything once and starts nothing: no fixture, thread or connection exists when it
forks, so a child equals a new run of pytest after its collection.
"""

from __future__ import annotations

import gc
import math
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
from structlog.testing import capture_logs

from integration.migrated import image
from mutation.jobs import Change, Job, longest
from mutation.mutations import ROOT, module_name, source_of
from mutation.rebind import rebind
from mutation.swap import Functions, NotSwappableError, functions, swap
from mutation.verdicts import Outcome, Verdict
from sender_service.migrations import MIGRATIONS as SENDER_MIGRATIONS
from status_service.migrations import MIGRATIONS as STATUS_MIGRATIONS

#: Exit codes of children: none that a service, pytest or Python ends with.
_PASSED, _FAILED, _NOT_SWAPPABLE, _BROKEN, _NO_PYTHON = 50, 51, 52, 53, 54
#: What a child writes into its folder: the test that it runs, and why it ends.
_TEST, _FAILURE = "test", "failure"
#: Whether children are endless is looked at so often, seconds.
_LOOK_SECONDS = 2.0
#: A child that runs nothing for so long waits for ever, seconds: a test that waits, polls.
_IDLE_SECONDS = 90.0


class BrokenRunError(Exception):
    """Tests could not be collected, or a child could not run them."""


@dataclass(slots=True)
class _Child:
    pid: int
    descriptor: int
    job: Job
    folder: Path
    #: Which test it runs, and when that takes too long.
    test: str = ""
    deadline: float = math.inf
    #: What it has used of the processor, and since when that has not changed.
    used: tuple[str, ...] = ()
    unchanged_since: float = math.inf

    def is_endless(self) -> bool:
        """Return whether a test runs too long, or waits for what does not come."""
        now, used, test = time.monotonic(), _used(self.pid), _read(self.folder / _TEST)
        if used != self.used:
            self.used, self.unchanged_since = used, now
        if test != self.test:
            self.test, self.deadline = test, now + longest(self.job.tests[test])
        return now > self.deadline or now > self.unchanged_since + _IDLE_SECONDS


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
        changes = [job.mutation for job in self.jobs if job.mutation]
        files = {file for change in changes for file in change.files}
        for file in files:
            import_module(module_name(file))
        self._existing = functions(str(ROOT / file) for file in files)
        _prepare()
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
        return _Child(pid, os.pidfd_open(pid), job, folder)

    def _wait(self, children: selectors.BaseSelector) -> None:
        """Wait until a child ends, or has taken too long."""
        running: list[_Child] = [key.data for key in children.get_map().values()]
        ended = {key.data.pid for key, _ in children.select(_LOOK_SECONDS)}
        for child in running:
            if child.pid in ended or child.is_endless():
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
                _write(folder / _FAILURE, traceback.format_exc())
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
        items = [(test, item) for test in job.tests for item in self._items_of(test)]
        following = [*(item for _, item in items[1:]), None]
        for (test, item), after in zip(items, following, strict=True):
            _write(folder / _TEST, test)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failure:
                _write(folder / _FAILURE, self._failure)
                return _FAILED
        return _PASSED

    def _items_of(self, test: str) -> list[pytest.Item]:
        """Return a test; of a function or a class that is named alone, all its tests."""
        if test in self._items:
            return [self._items[test]]
        parts = (f"{test}[", f"{test}::")
        return [item for node, item in self._items.items() if node.startswith(parts)]


def _write(file: Path, text: str) -> None:
    """Write a file at once, so that nobody reads a half."""
    half = file.with_suffix(".half")
    half.write_text(text)
    half.replace(file)


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _used(pid: int) -> tuple[str, ...]:
    """Return what a process and those it waited for have used of the processor."""
    # The name, in parentheses, may have spaces.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return tuple(after_name[11:15])


def _prepare() -> None:
    """Do once what every child would do, and let children share the memory of it."""
    with capture_logs():
        for migrations in (STATUS_MIGRATIONS, SENDER_MIGRATIONS):
            image(migrations)
    gc.collect()
    gc.freeze()


def _put_in(change: Change, existing: Functions) -> None:
    for file, after in change.sources(ROOT).items():
        before = source_of(file)
        try:
            swap(str(ROOT / file), before, after, existing)
        except NotSwappableError:
            rebind(module_name(file), before, after)


def _end(child: _Child) -> Outcome | None:
    """End a child and what it has started; return what became of its job."""
    os.kill(child.pid, signal.SIGKILL)  # nothing, if it has ended: it is waited for below
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    os.close(child.descriptor)
    said = _read(child.folder / _FAILURE)
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
