"""Ctrl-C is heard whenever it comes, also just before the loop waits.

``asyncio.run`` hears a signal in the handler of Python, which runs between two instructions.
A signal that comes after the last instruction and before the loop waits, or to another thread,
is noted and does not end the wait: the command hung until something else happened.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: More signals than this do not come between two turns of a loop.
_MOST_SIGNALS = 4_096


@contextmanager
def heard() -> Iterator[None]:
    """Let each signal end the wait of the running loop while the block runs."""
    # The loop of Windows does this by itself, and only the main thread hears signals.
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    ours, given_to_python = socket.socketpair()
    with ours, given_to_python:
        ours.settimeout(0)
        given_to_python.settimeout(0)
        loop.add_reader(ours, ours.recv, _MOST_SIGNALS)
        before = signal.set_wakeup_fd(given_to_python.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(ours)
