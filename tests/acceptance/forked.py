"""Services as processes that start fast: forked from one that has imported everything.

Imports take most of a start. A server process of ``multiprocessing`` imports once. It
has no thread and no connection when it forks, so a child equals a fresh interpreter
after its imports and can be killed like one.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from acceptance.processes import PATIENCE_SECONDS, Service

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["status_service.__main__"])


class ForkedService(Service):
    """A :class:`Service` that runs a function of the tests in a forked process.

    Args:
        main: a function of a module that runs the service and returns its exit code.
        line: the beginning of its line on standard output; HOST:PORT follows.
        folder: its working folder with its files; created if it is missing.
        environment: its settings.
    """

    def __init__(
        self,
        main: Callable[[], int],
        line: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(main.__module__, line, folder, environment)
        self._main = main

    def launch(self, **environment: str) -> None:
        """Start the process without waiting. ``environment`` applies to this start."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("CLOSEOUT_")
        }
        process = _FORKS.Process(
            target=_run,
            args=(
                self._main,
                self.folder,
                self._output,
                self.log_file,
                inherited | self.environment | environment,
            ),
            daemon=True,  # ends with the tests
        )
        self._output.write_bytes(b"")
        process.start()
        self._process = _Started(process)


class _Started:
    """A forked process with the methods of a ``Popen`` that a Service calls."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid
        #: The exit code comes through a pipe once: of two threads that read it at the
        #: same time, one would get 255.
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        with self._lock:
            return self._process.exitcode

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


def _run(
    main: Callable[[], int], folder: Path, output: Path, log: Path, environment: dict[str, str]
) -> None:
    """Set the folder, files and settings of the process, then run ``main``."""
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, descriptor in ((output, 1), (log, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    sys.exit(main())


def _end_with_the_tests() -> None:
    """End this process when the process of the tests has ended."""
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os._exit(1)
