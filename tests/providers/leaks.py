"""No test leaves anything behind in its process: tasks, threads, child processes, open files.

What was there before a test, belongs to a fixture of a wider scope, or was made in
:func:`lasting`, may stay.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

#: Where it is looked for: by default, and with ``--leaks``. Tests of ``acceptance`` have their
#: services in other processes.
_BY_DEFAULT, _WITH_LEAKS = ("unit",), ("unit", "integration")
_STARTED_LATE = (
    "a fixture of the module has processes that begin with the first job, and that tests replace"
)
#: The files whose tests may leave something, with the reason.
LEFT_OUT = {
    "unit/test_bounded_templates.py": _STARTED_LATE,
    "unit/test_rendering_workers.py": _STARTED_LATE,
}
_TESTS = Path(__file__).resolve().parents[1]
#: How long what ends by itself may take to end, seconds: far longer than it does.
PATIENCE_SECONDS = 10.0
_BETWEEN_LOOKS_SECONDS = 0.002
#: When garbage is collected, seconds: that takes long in a process that has all the tests.
_BY_ITSELF_SECONDS = 0.1
_FILES = Path("/proc/self/fd")
#: Threads that stay, by parts of their names: of the loop's executor, gRPC's poller, and the
#: executors that all services of a process share.
_LASTING_THREADS = ("asyncio_", "(_poll_wrapper)", "templates_", "json_")
#: Processes that stay, by parts of their command lines: what starts others, and what cleans
#: up behind them.
_LASTING = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
#: What counts of open files: what else there is, such as an event loop's own, has no name.
_COUNTED_FILES = ("socket:", "pipe:", "/")


@dataclass(frozen=True, slots=True)
class Belongings:
    """What the process has at a moment.

    Attributes:
        tasks: of the loop of the tests.
        threads: those that do not stay for good.
        processes: the numbers of children, and of what was forked for the tests.
        files: the numbers of open files, whatever they are.
    """

    tasks: frozenset[asyncio.Task[object]]
    threads: frozenset[threading.Thread]
    processes: frozenset[str]
    files: frozenset[str]

    @classmethod
    def now(cls, loop: asyncio.AbstractEventLoop) -> Belongings:
        """Return what there is now."""
        tasks = asyncio.all_tasks(loop)
        if loop.is_running():
            tasks.discard(asyncio.current_task(loop))  # type: ignore[arg-type]
        threads = (
            thread
            for thread in threading.enumerate()
            if not any(part in thread.name for part in _LASTING_THREADS)
        )
        return cls(frozenset(tasks), frozenset(threads), _processes(), frozenset(_listed(_FILES)))

    def plus(self, others: Belongings) -> Belongings:
        """Return what either has."""
        return Belongings(
            self.tasks | others.tasks,
            self.threads | others.threads,
            self.processes | others.processes,
            self.files | others.files,
        )

    def without(self, others: Belongings) -> Belongings:
        """Return what the others have not."""
        return Belongings(
            self.tasks - others.tasks,
            self.threads - others.threads,
            self.processes - others.processes,
            self.files - others.files,
        )

    def since(self, before: Belongings) -> list[str]:
        """Return what there is that was not there before, each in a line."""
        return [
            *(f"task: {task!r}" for task in self.tasks - before.tasks if not task.done()),
            *(f"thread: {thread.name}" for thread in self.threads - before.threads),
            *(f"process {pid}: {_command(pid)}" for pid in self.processes - before.processes),
            *self._files_since(before),
        ]

    def _files_since(self, before: Belongings) -> list[str]:
        if len(self.files) <= len(before.files):
            return []  # a number that is free is given again
        named = {file: _target(file) for file in self.files - before.files}
        return [
            f"file {file}: {target}"
            for file, target in named.items()
            if target.startswith(_COUNTED_FILES)
        ]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption(
        "--leaks",
        action="store_true",
        default=None,
        help="fail integration tests, too, that leave anything behind in their process",
    )
    parser.addoption(
        "--no-leaks",
        action="store_false",
        dest="leaks",
        help="fail no test for what it leaves behind; by default, unit tests fail",
    )


def is_looked_at(request: pytest.FixtureRequest) -> bool:
    """Return whether a test may leave nothing behind."""
    asked: bool | None = request.config.getoption("leaks")
    if asked is False or not request.path.is_relative_to(_TESTS):
        return False
    file = request.path.relative_to(_TESTS)
    tiers = _WITH_LEAKS if asked else _BY_DEFAULT
    return file.parts[0] in tiers and file.as_posix() not in LEFT_OUT


@pytest.fixture(autouse=True)
async def nothing_is_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail a test that leaves something behind; what ends by itself is waited for."""
    if not is_looked_at(request):
        yield
        return
    if _lasting.loop is None:
        # Its poller lasts then, with its sockets; else it would come and go with services.
        grpc.aio.init_grpc_aio()
    _lasting.loop = asyncio.get_running_loop()
    _lasting.gained = None
    before = Belongings.now(_lasting.loop)
    yield
    allowed = before if _lasting.gained is None else before.plus(_lasting.gained)
    left = await _left_since(allowed)
    assert not left, "the test leaves behind:\n" + "\n".join(left)


async def _left_since(before: Belongings) -> list[str]:
    loop = asyncio.get_running_loop()
    began, collected = time.monotonic(), False
    while found := Belongings.now(loop).since(before):
        waited = time.monotonic() - began
        if waited > PATIENCE_SECONDS:
            break
        if waited > _BY_ITSELF_SECONDS and not collected:
            gc.collect()  # what nobody has any more closes what it has
            collected = True
        await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
    return found


class _Lasting:
    """What fixtures of a wider scope have made since the present test began."""

    loop: asyncio.AbstractEventLoop | None = None
    gained: Belongings | None = None


_lasting = _Lasting()


@contextmanager
def lasting() -> Iterator[None]:
    """Let what is made in the block stay: it is there for several tests."""
    loop = _lasting.loop
    if loop is None:
        yield
        return
    before = Belongings.now(loop)
    yield
    gained = Belongings.now(loop).without(before)
    _lasting.gained = gained if _lasting.gained is None else _lasting.gained.plus(gained)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Let stay what a fixture of a wider scope makes."""
    if fixturedef.scope == "function":
        return (yield)
    with lasting():
        return (yield)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - every test looks, and this is faster
    except FileNotFoundError:  # no Linux
        return []


def _target(file: str) -> str:
    try:
        return str((_FILES / file).readlink())
    except FileNotFoundError:  # that of the look itself
        return ""


def _processes() -> frozenset[str]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return frozenset()  # none at all, which costs least to find out
    threads = [thread.native_id for thread in threading.enumerate()]
    found = {child for thread in threads for child in _children(f"/proc/self/task/{thread}")}
    for pid in [pid for pid in found if any(part in _command(pid) for part in _LASTING)]:
        found.remove(pid)
        found.update(_children(f"/proc/{pid}/task/{pid}"))  # what it forked for us
    return frozenset(found)


def _children(thread: str) -> list[str]:
    """Return the processes that a thread has started, and that run or were not waited for."""
    try:
        with open(f"{thread}/children", encoding="ascii") as children:  # noqa: PTH123 - faster
            return children.read().split()
    except OSError:  # it has ended; or no Linux, or one without this list
        return []


@cache
def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return "ended"
