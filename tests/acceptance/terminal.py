"""Commands in a terminal: what they print, as somebody sees it who reads along."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path

from acceptance.forked import ForkedProcess
from acceptance.processes import PATIENCE_SECONDS

_COLUMNS = 80


def in_terminal(
    command: str, folder: Path, environment: dict[str, str], answers: bytes = b""
) -> tuple[int, str]:
    """Run a shell's command in a terminal of 80 columns; return exit code and what it shows."""
    ours, theirs = _terminal()
    process = subprocess.Popen(  # noqa: S603 - a command of our documents
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    if answers:
        os.write(ours, answers)
    try:
        printed = _all_of(ours, command)
        return process.wait(PATIENCE_SECONDS), printed
    finally:
        os.close(ours)
        end(process, signal.SIGKILL)


def forked_in_terminal(
    words: list[str], folder: Path, environment: dict[str, str], answers: bytes
) -> tuple[int, str]:
    """Do the same with a ``closeout`` that is forked, as its imports take longer than it does."""
    ours, theirs = _terminal()
    terminal = Path(os.ttyname(theirs))
    if answers:
        os.write(ours, answers)
    process = ForkedProcess(
        *("closeout_cli", *words),
        folder=folder,
        given=terminal,
        output=terminal,
        errors=terminal,
        environment=environment,
    )

    def leave() -> None:
        try:
            process.wait()
        finally:
            os.close(theirs)

    leaving = threading.Thread(target=leave)
    leaving.start()
    try:
        printed = _all_of(ours, shlex.join(words))
        return process.wait(), printed
    finally:
        process.send_signal(signal.SIGKILL)
        leaving.join()
        os.close(ours)


def _terminal() -> tuple[int, int]:
    """Return our end of a terminal, and that of its programs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, _COLUMNS, 0, 0))
    mode = termios.tcgetattr(theirs)
    mode[3] &= ~termios.ECHO  # our answers are no output
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    return ours, theirs


def _all_of(terminal: int, command: str) -> str:
    """Return what is printed to a terminal until its last process has left it."""
    printed = b""
    while select.select([terminal], [], [], PATIENCE_SECONDS)[0]:
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # how Linux says that the last process has left
            read = b""
        if not read:
            return printed.decode()
        printed += read
    raise AssertionError(f"{command}: silent for {PATIENCE_SECONDS} s after {printed.decode()}")


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a process and those that it started."""
    if process.poll() is None:
        os.killpg(process.pid, number)
        process.wait(PATIENCE_SECONDS)
