"""Ctrl-C ends a command that waits, whichever moment it comes at."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from closeout_cli.options import run

_PATIENCE_SECONDS = 30.0


def test_a_signal_that_does_not_interrupt_the_wait_ends_it() -> None:
    """One to another thread is noted by Python, and the main thread waits on."""
    slept: list[str] = []

    def interrupt() -> None:
        time.sleep(0.2)  # by then the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    async def wait() -> None:
        asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, slept.append, "too long")
        threading.Thread(target=interrupt).start()
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run(wait())
    assert not slept
    assert signal.set_wakeup_fd(-1) == -1


def test_a_command_in_another_thread_runs() -> None:
    """It hears no signals, as nothing but the main thread does."""

    async def answer() -> int:
        return 42

    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(run(answer())))
    thread.start()
    thread.join()
    assert answers == [42]
