"""A service as a user starts it: a process with its folder and its log.

In a test, where ``folder`` is a ``tmp_path``::

    with Service("status_service", "status service listening on ", folder) as status:
        status.start()
        ... status.address ...
        status.kill()
        status.start()  # the same folder, so the same database

``start`` and ``terminate`` block: an async test calls them by ``asyncio.to_thread`` if
its loop must answer meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Time limit for the start and the end of a process, seconds; it needs far less.
PATIENCE_SECONDS = 60.0
#: Seconds between two polls.
_POLL_SECONDS = 0.01

#: Each service of a test has HTTP on a port of its own.
ANY_HTTP = {
    "CLOSEOUT_STATUS_HTTP_LISTEN": "127.0.0.1:0",
    "CLOSEOUT_SENDER_HTTP_LISTEN": "127.0.0.1:0",
}


def wait_until(condition: Callable[[], object], *, what: str) -> None:
    """Return once ``condition()`` is true; fail with ``what`` after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(_POLL_SECONDS)


class Service:
    """One process, started and ended any number of times.

    Args:
        module: run as ``python -m MODULE``.
        line: the beginning of its line on standard output; HOST:PORT follows.
        folder: its working folder with its files; created if it is missing.
        environment: its settings, such as ``CLOSEOUT_STATUS_LISTEN``. Settings in the
            environment of the test are not passed on.
        arguments: its command line.
    """

    def __init__(
        self,
        module: str,
        line: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *arguments: str,
    ) -> None:
        self.folder = folder
        self.environment = {**ANY_HTTP, **(environment or {})}
        #: HOST:PORT of its last start.
        self.address = ""
        #: HOST:PORT of HTTP of its last start; empty: nowhere.
        self.http_address = ""
        self._command = [sys.executable, "-m", module, *arguments]
        self._line = line
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / f"{module}.stdout"
        #: Its standard error, over all starts.
        self.log_file = folder / f"{module}.stderr"

    def launch(self, **environment: str) -> None:
        """Start the process without waiting. ``environment`` applies to this start."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("CLOSEOUT_")
        }
        with self._output.open("wb") as output, self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command,
                cwd=self.folder,
                env=inherited | self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )

    def start(self, **environment: str) -> str:
        """Start the process, wait until it listens, and return its address.

        Raises:
            AssertionError: it ended instead; the text is its standard error.
        """
        self.launch(**environment)
        wait_until(lambda: self._listens() or not self.is_running, what=f"{self._line!r}")
        if not self._listens():
            raise AssertionError(f"ended with {self.wait()}: {self.log}")
        first, _, second = self._output.read_text().removeprefix(self._line).partition("\n")
        self.address = first.strip()
        self.http_address = second.rpartition("://")[2].strip()
        return self.address

    def _listens(self) -> bool:
        output = self._output.read_text()
        return output.startswith(self._line) and output.endswith("\n")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last."""
        assert self._process is not None, "never started"
        return self._process

    @property
    def pid(self) -> int:
        """The id of the process started last."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process started last has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Its standard error so far."""
        return self.log_file.read_text()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return its log lines as JSON objects; all, or those of one event."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if name is None or line["event"] == name]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal without waiting."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait until the process has ended and return its exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def terminate(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the process if it still runs."""
        if self.is_running:
            self.kill()
