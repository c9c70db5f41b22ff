"""``closeout down``: stop what ``closeout up`` started."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closeout_cli import run_record, screen
from closeout_cli.failures import OK, CommandError, say

if TYPE_CHECKING:
    from closeout_cli.run_record import KnownProcess

#: How long everything may take to stop, seconds: longer than each service may take.
_TIMEOUT_SECONDS = 75.0
_POLL_SECONDS = 0.1


def down(
    *,
    data_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The folder that `closeout up` was started with."),
    ] = Path("closeout-data"),
) -> int:
    """Stop what `closeout up` started, and wait for its end.

    The sender stops first: messages in the provider's hands get their outcome. Nothing
    is lost, and `closeout up` continues. If nothing runs, the exit code is 0 as well.
    """
    folder = data_dir.resolve()
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    recorded = _recorded(folder, deadline)
    running = [process for process in recorded if process.running() is not None]
    if not running:
        if run_record.is_held(folder):
            raise CommandError(
                f"`closeout up` runs on {folder}, but not among the processes that are seen from"
                " here; stop it in its container or as its user"
            )
        screen.line(f"nothing runs on {folder}")
        return OK
    say(f"stopping {_named(running)}; what is in the provider's hands gets its outcome first")
    # The first one stops the others in order. Without it they stop by themselves.
    for process in running[:1] if running[0] == recorded[0] else running:
        _terminate(process)
    _wait(running, folder, deadline)
    screen.line(f"stopped {_named(running)}")
    return OK


def _recorded(folder: Path, deadline: float) -> list[KnownProcess]:
    """Return the recorded processes; wait for a record that is just being written."""
    while True:
        recorded = run_record.read(folder)
        if recorded or not run_record.is_held(folder) or time.monotonic() >= deadline:
            return recorded
        time.sleep(_POLL_SECONDS)


def _named(processes: list[KnownProcess]) -> str:
    return ", ".join(f"{process.name} (process {process.pid})" for process in processes)


def _terminate(process: KnownProcess) -> None:
    """Ask a process to stop.

    Raises:
        CommandError: it belongs to somebody else.
    """
    found = process.running()
    if found is None:
        return
    import psutil  # noqa: PLC0415 - slow to import

    try:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.terminate()
    except psutil.AccessDenied as error:
        raise CommandError(
            f"{_named([process])} belongs to {found.username()}; stop it as that user or as root"
        ) from error


def _wait(running: list[KnownProcess], folder: Path, deadline: float) -> None:
    """Wait until all have ended.

    Raises:
        CommandError: one does not end in time.
    """
    while left := [process for process in running if process.running() is not None]:
        if time.monotonic() >= deadline:
            raise CommandError(
                f"{_named(left)} did not stop within {_TIMEOUT_SECONDS:.0f} s; repeat"
                f" `closeout down --data-dir {folder}`, or end it with kill -9 {left[0].pid}"
            )
        time.sleep(_POLL_SECONDS)
