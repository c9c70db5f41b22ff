"""Processes that start fast: forked from one that has imported everything.

Imports take most of a start. A server process of ``multiprocessing`` imports once. It
has no thread and no connection when it forks, so a child equals a fresh interpreter
after its imports and can be killed like one. What a command starts by ``python -m`` is forked from
the command in turn: :mod:`acceptance.forked_children`. What a test says of the start itself, of
the command line of ``python`` or of imports needs a :class:`~acceptance.processes.Service`, or
``started`` for a command.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from acceptance.forked_children import fork_children, open_streams
from acceptance.processes import PATIENCE_SECONDS, Service
from closeout_cli.app import COMMANDS
from providers import leaks

_TESTS = Path(__file__).parents[1]
_HERE = "acceptance.forked"
_COMMAND = "closeout_cli"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        # A child imports where its work is, and pytest with it.
        _HERE,
        "closeout_cli.entry",
        *sorted({entry.module for entry in COMMANDS.values()}),
        "status_service.__main__",
        "sender_service.__main__",
        # What these import when they need it.
        "status_service.server",
        "sender_service.server",
        "sender_service.channels.email.smtp",
        "sender_service.channels.webhook.channel",
        "service_runtime.migration_scripts",
        "service_runtime.postgresql",
        "acceptance.warmed",  # the last one
    ]
)
#: The exit code of a process comes through a pipe once: of two threads that read it at the
#: same time, one would get 255. A start reads those of all processes that have ended.
_LOCK = threading.Lock()
#: The process that imported this module.
_IMPORTED_BY = os.getpid()


class ForkedService(Service):
    """A :class:`Service` that runs in a forked process.

    Args:
        main: its module, as for ``python -m``, or a function of a module of the tests that
            runs the service and returns its exit code.
        line: the beginning of its line on standard output; HOST:PORT follows.
        folder: its working folder with its files; created if it is missing.
        environment: its settings.
    """

    def __init__(
        self,
        main: str | Callable[[], int],
        line: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        name = main if isinstance(main, str) else main.__module__
        super().__init__(name, line, folder, environment)
        self._main = main

    def launch(self, **environment: str) -> None:
        """Start the process without waiting. ``environment`` applies to this start."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("CLOSEOUT_")
        }
        self._output.write_bytes(b"")
        self.log_file.touch()
        self._process = ForkedProcess(
            self._main,
            folder=self.folder,
            output=self._output,
            errors=self.log_file,
            environment=inherited | self.environment | environment,
        )


class ForkedProcess:
    """A forked process with the methods of a ``Popen`` that its users call.

    Args:
        main: a function that returns the exit code, or a module whose ``__main__`` has it
            as ``main``.
        words: its arguments.
        folder: where it runs.
        output: its standard output is appended to this file.
        errors: its standard error is appended to this file.
        given: the file that is its standard input.
        environment: its variables.
    """

    def __init__(
        self,
        main: str | Callable[..., int],
        *words: str,
        folder: Path,
        output: Path,
        errors: Path,
        given: Path = Path(os.devnull),
        environment: Mapping[str, str],
    ) -> None:
        files = (given, output, errors)
        process = _FORKS.Process(
            target=_run,
            args=(main, words, folder, files, dict(environment)),
            daemon=True,  # ends with the tests
        )
        _ensure_imported()
        with _LOCK:
            process.start()
        self._process: ForkServerProcess = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        with _LOCK:
            code = self._process.exitcode
            if code is not None:
                self._process.join()  # else it, and its pipes, are kept until the next start
            return code

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Wait until it has ended and return its exit code."""
        wait([self._process.sentinel], timeout)
        code = self.poll()
        assert code is not None, f"process {self.pid} does not end"
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


@cache
def _ensure_imported() -> None:
    """Start the process that imports."""
    # As ``closeout`` does before it imports gRPC; a service writes no more of it either.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRPC_VERBOSITY", os.environ.get("GRPC_VERBOSITY", "ERROR"))
        # What can't be imported is left out without a word.
        patch.setenv("PYTHONPATH", str(_TESTS), prepend=os.pathsep)
        with leaks.lasting():
            forkserver.ensure_running()


def _run(
    main: str | Callable[..., int],
    words: tuple[str, ...],
    folder: Path,
    files: tuple[Path, Path, Path],
    environment: dict[str, str],
) -> None:
    """Set the folder, files and settings of the process, then run ``main``."""
    assert os.getpid() != _IMPORTED_BY, f"{_HERE} was not imported before the fork"
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for descriptor, path in enumerate(files):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if descriptor else os.O_RDONLY
        file = os.open(path, flags, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    open_streams()
    if main == _COMMAND:
        fork_children()
    called = importlib.import_module(f"{main}.__main__").main if isinstance(main, str) else main
    sys.exit(called(*([words] if words else [])))


def _end_with_the_tests() -> None:
    """End this process when the process of the tests has ended."""
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os._exit(1)
