"""Run a service: one event loop, signals, an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from service_runtime.errors import StartupError
from service_runtime.settings import STOP_DESCRIPTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

#: Exit code of a process that could not start.
EXIT_STARTUP = 2
#: Exit code of a command that Ctrl-C interrupted.
EXIT_INTERRUPTED = 130
#: Exit code of a process that a second signal ended at once.
EXIT_FORCED = 3
#: The longest wait of a thread for the interpreter, seconds. The default of 5 ms
#: starves the writer thread beside a busy event loop.
_SWITCH_INTERVAL_SECONDS = 0.0005
#: New objects between two garbage collections, by generation. A batch of results
#: allocates thousands of short-lived objects, and the default of 700 collects all the
#: time.
_GC_THRESHOLDS = (50_000, 20, 50)


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


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second signal ends the process.

    The end of the parent sets it too, if ``CLOSEOUT_STOP_DESCRIPTOR`` names the end of a
    pipe that the parent keeps open: however the parent ends, the system closes it.
    """
    stopping = asyncio.Event()

    def received() -> None:
        if stopping.is_set():
            os._exit(EXIT_FORCED)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received)
    _stop_with_parent(stopping)
    return stopping


def _stop_with_parent(stopping: asyncio.Event) -> None:
    """Set ``stopping`` when the parent closes its end of the pipe.

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
        stopping.set()

    loop.add_reader(descriptor, readable)
