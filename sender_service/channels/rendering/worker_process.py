"""One rendering process, as the sender sees it: started when needed, replaced when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from sender_service.channels.errors import (
    ChannelError,
    InvalidContentError,
    TemplateError,
    TemplateLimitError,
    UnsafeHeaderError,
)
from sender_service.channels.rendering.content import Rendered
from sender_service.channels.rendering.frames import WorkerLimits, read_frame, write_frame
from sender_service.channels.rendering.preview import Preview

if TYPE_CHECKING:
    from sender_service.channels.rendering.frames import Frame

#: A process that gives no answer for so long is killed, seconds: it hangs, or the machine
#: is so busy that its seconds of computing take that long.
ANSWER_SECONDS = 30.0
#: How many processes a job may take with it before it is given up.
_MOST_DEATHS = 3
#: By these a process ends for what it does itself.
_FAULTS = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"})
_MODULE = "sender_service.channels.rendering.worker"


class WorkerUnavailableError(ChannelError):
    """No rendering process could finish a job, which is not to blame: try again."""


class _DeadError(Exception):
    """The process ended, or was killed since it gave no answer, and why."""

    def __init__(self, status: int | None) -> None:
        super().__init__(_words(status))
        self.status = status


class WorkerProcess:
    """A rendering process; calls come from one thread at a time.

    Args:
        limits: what it may take.

    Attributes:
        pid: of the process that runs, or ran last; 0 before the first.
    """

    def __init__(self, limits: WorkerLimits = WorkerLimits()) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self._lock = threading.Lock()

    def call(self, header: dict[str, Any], content: bytes) -> Frame:
        """Return the answer to a request.

        A process that is killed from outside, or hangs, is replaced, and the job done again.

        Raises:
            TemplateLimitError: the job went beyond a limit.
            TemplateError: as the template raises it.
            InvalidContentError: likewise.
            UnsafeHeaderError: likewise.
            WorkerUnavailableError: processes died of something else, or can't be started.
        """
        for death in range(1, _MOST_DEATHS + 1):
            try:
                answer, body = self._exchange(header, content)
            except _DeadError as error:
                if error.status == -signal.SIGPROF:
                    raise TemplateLimitError(
                        "", "it takes too long to compute; make its loops and texts shorter"
                    ) from error
                if death < _MOST_DEATHS:
                    continue
                if _signal_name(error.status) in _FAULTS:
                    raise TemplateLimitError("", f"the rendering process {error}") from error
                raise WorkerUnavailableError(f"the rendering process {error}") from error
            if answer["last"]:
                self._end()
            if "error" in answer:
                raise _raised(answer)
            return answer, body
        raise AssertionError  # the last turn returns or raises

    def close(self) -> None:
        """End the process, also while another thread waits for its answer."""
        with self._lock:
            self._closing = True
            if self._process is not None:
                self._process.kill()
        # The thread that waits for an answer sees the end, and takes it apart.

    def reap(self) -> None:
        """Take a closed process apart; no call runs any more."""
        self._end()

    def _exchange(self, header: dict[str, Any], content: bytes) -> Frame:
        process = self._running()
        until = time.monotonic() + ANSWER_SECONDS
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        answer = None
        try:
            write_frame(process.stdin.fileno(), header, content, until=until)
            answer = read_frame(process.stdout.fileno(), until=until)
        except TimeoutError as error:
            process.kill()
            self._end()
            raise _DeadError(None) from error
        except OSError:
            answer = None
        if answer is None:
            raise _DeadError(self._end())
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closing:
                raise WorkerUnavailableError("the sender stops")
            if self._process is not None and self._process.poll() is None:
                return self._process
        self._end()  # it was idle for long
        with self._lock:
            if self._closing:
                raise WorkerUnavailableError("the sender stops")
            try:
                self._process = _started(self._limits)
            except OSError as error:
                raise WorkerUnavailableError(f"no rendering process can start: {error}") from error
            self.pid = self._process.pid
            return self._process

    def _end(self) -> int | None:
        """End the process, and return how it ended; None: there was none."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            # It has closed its output, or has nothing to do: it ends by itself.
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def value_of(answer: Frame) -> Any:
    """Return what a template made, from the answer to its rendering."""
    header, body = answer
    if header["type"] == "bytes":
        return body
    if header["type"] == "text":
        return body.decode("utf-8", "surrogatepass")
    value = json.loads(body)
    if header["type"] == "preview":
        return Preview(**{**value, "headers": tuple(map(tuple, value["headers"]))})
    return Rendered(*value)


def _started(limits: WorkerLimits) -> subprocess.Popen[bytes]:
    # Settings and keys in the environment are none of its business.
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    process = subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-m", _MODULE, *limits.as_arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # the signals of a terminal are the sender's
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    os.set_blocking(process.stdin.fileno(), False)
    return process


def _signal_name(status: int | None) -> str:
    return signal.Signals(-status).name if status is not None and status < 0 else ""


def _words(status: int | None) -> str:
    if status is None:
        return f"gave no answer for {ANSWER_SECONDS:g} s"
    if name := _signal_name(status):
        return f"was ended by {name}"
    return f"ended with status {status}"


def _raised(answer: dict[str, Any]) -> ChannelError:
    match answer["error"]:
        case "template" | "limit" as kind:
            error = TemplateLimitError if kind == "limit" else TemplateError
            place = {"line": answer["line"], "column": answer["column"]}
            return error(answer["field"], answer["message"], **place)
        case "content":
            return InvalidContentError(answer["field"], answer["message"])
    return UnsafeHeaderError(answer["message"])
