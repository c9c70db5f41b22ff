"""Run a service: one event loop, signals, an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
import uvloop

from service_runtime.errors import StartupError
from service_runtime.settings import STOP_DESCRIPTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

log = structlog.get_logger()

#: Exit code of a process that could not start.
EXIT_STARTUP = 2
#: Exit code of a command that Ctrl-C interrupted.
EXIT_INTERRUPTED = 130
#: Exit code of a process that a second signal ended at once, or the end of its time to stop.
EXIT_FORCED = 3
#: What a stop may take longer than its grace, seconds: the rest of two seconds is for the
#: end of the process itself.
BEYOND_GRACE_SECONDS = 1.5
#: The signals that stop a process, and the number that is none and begins a stop as well.
_SIGNALS, _BEGIN = (signal.SIGTERM, signal.SIGINT), 0
#: So many signals end a process at once.
_ENOUGH_SIGNALS = 2
#: One wait for a signal, seconds: the system takes no wait of many weeks.
_LONG_SECONDS = 3_600.0
#: What the last line of the log may take, seconds: the log may be what hangs.
_LAST_LINE_SECONDS = 0.3
#: The longest wait of a thread for the interpreter, seconds. The default of 5 ms
#: starves the writer thread beside a busy event loop.
_SWITCH_INTERVAL_SECONDS = 0.0005
#: New objects between two garbage collections, by generation. A batch of results
#: allocates thousands of short-lived objects, and the default of 700 collects all the
#: time. The second generation is collected before a million objects are in it, which
#: would hold up everybody for 400 ms.
_GC_THRESHOLDS = (50_000, 4, 250)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run ``main`` to its end and return the exit code of the process."""
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.freeze()

    def serve() -> int:
        uvloop.run(main())
        return 0

    return answer(serve)


def answer(work: Callable[[], int]) -> int:
    """Run ``work`` and return its exit code; print a StartupError as one line."""
    try:
        return work()
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STARTUP
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def stop_signal(grace_seconds: float) -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second signal ends the process.

    So does the end of ``grace_seconds`` and a little more, whatever the event loop, the
    database or a provider does. The end of the parent sets the event too, if
    ``CLOSEOUT_STOP_DESCRIPTOR`` names the end of a pipe that the parent keeps open:
    however the parent ends, the system closes it.

    Args:
        grace_seconds: how long a stop may take.
    """
    stop = _Stop(grace_seconds)
    for number in _SIGNALS:
        signal.signal(number, stop.received)
    _stop_with_parent(stop)
    return stop.event


class _Stop:
    """The stop of this process: it begins once, and ends in time.

    Python runs a handler in the main thread, between two instructions: not while that thread
    hangs, nor if a signal comes to another thread, or just before a call that hangs. But the
    interpreter writes the number of each signal into a pipe at once, and a thread reads it.

    Args:
        grace_seconds: how long it may take.

    Attributes:
        event: set when it begins.
    """

    def __init__(self, grace_seconds: float) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._seconds = grace_seconds + BEYOND_GRACE_SECONDS
        self._begun = False
        # A signal may come anywhere, also where a lock is held that a new thread needs. So
        # the thread waits from the start, and what wakes it takes no lock.
        self._waiting, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        threading.Thread(target=self._end_in_time, name="stop", daemon=True).start()

    def received(self, *_: object) -> None:
        """Hear a signal in the main thread; when the loop has ended, none is written any more."""
        if self._begun:
            os._exit(EXIT_FORCED)
        self.begin()

    def begin(self) -> None:
        """Begin the stop."""
        if not self._begun:
            self._begun = True
            os.write(self._waking, bytes([_BEGIN]))

    def _end_in_time(self) -> None:
        """End the process at a second signal, or when the stop has taken its time."""
        while (number := self._next()) not in {*_SIGNALS, _BEGIN}:
            pass  # none, or another signal
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.event.set)
        deadline = time.monotonic() + self._seconds
        signals = int(number in _SIGNALS)
        while signals < _ENOUGH_SIGNALS and (left := deadline - time.monotonic()) > 0:
            signals += self._next(min(left, _LONG_SECONDS)) in _SIGNALS
        if signals < _ENOUGH_SIGNALS:
            last = threading.Thread(target=self._log, name="last line", daemon=True)
            last.start()
            last.join(_LAST_LINE_SECONDS)
        os._exit(EXIT_FORCED)

    def _next(self, seconds: float = _LONG_SECONDS) -> int | None:
        """Return the next number from the pipe; None: there is none within ``seconds``."""
        pipe = select.poll()
        pipe.register(self._waiting, select.POLLIN)
        return os.read(self._waiting, 1)[0] if pipe.poll(seconds * 1_000) else None

    def _log(self) -> None:
        log.warning(
            "stop_cut_short",
            seconds=self._seconds,
            hanging=sorted(
                thread.name
                for thread in threading.enumerate()
                if not thread.daemon and thread is not threading.main_thread()
            ),
            action="nothing acknowledged is lost; see why the database or a provider hangs",
        )


def _stop_with_parent(stop: _Stop) -> None:
    """Begin ``stop`` when the parent closes its end of the pipe.

    Raises:
        StartupError: the variable names no descriptor that was handed over.
    """
    given = os.environ.pop(STOP_DESCRIPTOR, "")
    if not given:
        return
    try:
        descriptor = int(given)
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - has no name; for no child of ours
    except (ValueError, OSError) as error:
        raise StartupError(
            f"{STOP_DESCRIPTOR}={given}: no open descriptor; only a parent process that"
            " hands one over sets this variable"
        ) from error
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if os.read(descriptor, 1):
            return  # nothing is ever written, but the end is what counts
        loop.remove_reader(descriptor)
        stop.begin()

    loop.add_reader(descriptor, readable)
