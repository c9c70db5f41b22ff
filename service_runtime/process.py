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
    """Return an event that SIGTERM or SIGINT sets; a second signal ends the process."""
    stopping = asyncio.Event()

    def received() -> None:
        if stopping.is_set():
            os._exit(EXIT_FORCED)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received)
    return stopping
