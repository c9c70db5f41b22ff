"""``closeout up``: both services on this machine, in one go."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closeout_cli import screen
from closeout_cli.addresses import setting
from closeout_cli.failures import OK, CommandError, say
from closeout_cli.log_lines import readable
from closeout_cli.options import run
from closeout_cli.services import ServiceProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

_HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
#: Exit code of a process that a second signal ended at once.
_EXIT_FORCED = 1


def up(
    *,
    data_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where the databases are; made if it is not there."),
    ] = Path("closeout-data"),
    status_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the status service listens; port 0: any free one."
            " Default: CLOSEOUT_STATUS_LISTEN, or 127.0.0.1:50051.",
            show_default=False,
        ),
    ] = "",
    sender_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the sender service listens; port 0: any free one."
            " Default: CLOSEOUT_SENDER_LISTEN, or 127.0.0.1:50052.",
            show_default=False,
        ),
    ] = "",
) -> int:
    """Run both services until Ctrl-C, with SQLite databases in one folder.

    Prints where each listens on standard output; their logs go to standard error.
    Settings of the environment and of closeout.toml hold, as for each service alone.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CommandError(f"--data-dir {data_dir}: {error.strerror}") from error
    return run(_up(data_dir.resolve(), status_listen, sender_listen))


async def _up(data_dir: Path, status_listen: str, sender_listen: str) -> int:
    status = ServiceProcess(
        "status service",
        "status_service",
        settings=status_settings(data_dir, status_listen),
        log=_log,
    )
    sender: ServiceProcess | None = None
    stopping = _stop_signal([status])
    try:
        if await _started(status, stopping):
            sender = ServiceProcess(
                "sender service",
                "sender_service",
                settings=sender_settings(data_dir, sender_listen, status.address),
                log=_log,
            )
            stopping.services.append(sender)
            if await _started(sender, stopping):
                await _run_until_stopped([status, sender], stopping)
    finally:
        # The sender first: its last results find their way to the status service.
        if sender is not None:
            await sender.stop()
        await status.stop()
    return OK


def status_settings(data_dir: Path, listen: str) -> Mapping[str, str]:
    """Return the environment of a status service with its database in ``data_dir``."""
    settings = {}
    if not setting("status", "database_url"):
        settings["CLOSEOUT_STATUS_DATABASE_URL"] = f"sqlite:///{data_dir / 'status.db'}"
    if listen:
        settings["CLOSEOUT_STATUS_LISTEN"] = listen
    return settings


def sender_settings(data_dir: Path, listen: str, status_address: str) -> Mapping[str, str]:
    """Return the environment of a sender service with its database in ``data_dir``."""
    settings = {}
    if status_address:
        settings["CLOSEOUT_SENDER_STATUS_ADDRESS"] = status_address
    if not setting("sender", "database_url"):
        settings["CLOSEOUT_SENDER_DATABASE_URL"] = f"sqlite:///{data_dir / 'sender.db'}"
    if listen:
        settings["CLOSEOUT_SENDER_LISTEN"] = listen
    return settings


class _StopSignal:
    """Set by the first signal; a second one ends everything at once."""

    def __init__(self, services: list[ServiceProcess]) -> None:
        self.services = services
        self.event = asyncio.Event()

    def received(self) -> None:
        if self.event.is_set():
            for service in self.services:
                service.kill()
            os._exit(_EXIT_FORCED)
        say("stopping: the sender first, then the status service")
        self.event.set()


def _stop_signal(services: list[ServiceProcess]) -> _StopSignal:
    stopping = _StopSignal(services)
    for number in (signal.SIGINT, signal.SIGTERM, _HANGUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.received)
    return stopping


async def _started(service: ServiceProcess, stopping: _StopSignal) -> bool:
    """Start a service and print where it listens; false if a signal came first."""
    starting = asyncio.create_task(service.start())
    waiting = asyncio.create_task(stopping.event.wait())
    done, _ = await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if starting not in done:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False
    waiting.cancel()
    screen.line(starting.result())
    return True


async def _run_until_stopped(services: list[ServiceProcess], stopping: _StopSignal) -> None:
    """Wait for a signal.

    Raises:
        CommandError: a service ended by itself.
    """
    say("both services run; Ctrl-C stops them")
    ends = {asyncio.create_task(service.wait()): service for service in services}
    waiting = asyncio.create_task(stopping.event.wait())
    done, pending = await asyncio.wait({*ends, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task, service in ends.items():
        if task in done and not stopping.event.is_set():
            raise service.death()


def _log(line: str) -> None:
    sys.stderr.write(f"{readable(line) if sys.stderr.isatty() else line}\n")
    sys.stderr.flush()
