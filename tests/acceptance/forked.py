"""Services as processes that start at once: forked from one that has imported everything.

Most of a start is importing. A server process of ``multiprocessing`` does it once; it
has no thread and no connection when it forks, so a child is what a fresh interpreter
would be by then, and can be killed as one.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from acceptance.processes import PATIENCE_SECONDS, Service

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["status_service.__main__"])


class ForkedService(Service):
    """A :class:`Service` that runs a function of the tests in a forked process.

    Args:
        main: runs the service and returns its exit code; a function of a module.
        line: what its line on standard output begins with; HOST:PORT follows.
        folder: its working folder, where its files are; made if it is missing.
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
        """Start the process and wait for nothing. ``environment`` holds for this start."""
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
            daemon=True,  # does not outlive the tests
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

    def poll(self) -> int | None:
        """Return its exit code, if it has ended."""
        return self._process.exitcode

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Wait until it has ended and return its exit code."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"process {self.pid} does not end"
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to it, unless it has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)


def _run(
    main: Callable[[], int], folder: Path, output: Path, log: Path, environment: dict[str, str]
) -> None:
    """Be the process: its folder, its files, its settings, then ``main``."""
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
    """End this process when that of the tests is gone, however it ended."""
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os._exit(1)
