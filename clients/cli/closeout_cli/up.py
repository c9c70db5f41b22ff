"""``closeout up``: both services on this machine, in one go."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from closeout_cli import run_record, screen
from closeout_cli.addresses import (
    HTTP_DEFAULTS,
    SENDER_DEFAULT,
    STATUS_DEFAULT,
    setting,
    settings_file,
)
from closeout_cli.failures import OK, CommandError, say
from closeout_cli.log_lines import for_terminal
from closeout_cli.options import run
from closeout_cli.preflight import SENDER_MODULE, STATUS_MODULE, refusal, settings_problems
from closeout_cli.reserved_port import reached_at, reserved
from closeout_cli.run_record import RunRecord
from closeout_cli.services import ServiceProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

_HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
#: Exit code of a process that a second signal ended at once.
_EXIT_FORCED = 1
#: Where `closeout up` keeps the databases unless an option says otherwise.
DEFAULT_DATA = Path("closeout-data")


def up(
    *,
    data_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where the databases are; made if it does not exist."),
    ] = DEFAULT_DATA,
    status_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the status service listens; port 0: any free one."
            f" Default: CLOSEOUT_STATUS_LISTEN, or {STATUS_DEFAULT}.",
            show_default=False,
        ),
    ] = "",
    sender_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the sender service listens; port 0: any free one."
            f" Default: CLOSEOUT_SENDER_LISTEN, or {SENDER_DEFAULT}.",
            show_default=False,
        ),
    ] = "",
    status_http_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the dashboard and the status service's HTTP listen; port 0: any free one."
            f" Default: CLOSEOUT_STATUS_HTTP_LISTEN, or {HTTP_DEFAULTS['status']}.",
            show_default=False,
        ),
    ] = "",
    sender_http_listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the sender service's HTTP listens; port 0: any free one."
            f" Default: CLOSEOUT_SENDER_HTTP_LISTEN, or {HTTP_DEFAULTS['sender']}.",
            show_default=False,
        ),
    ] = "",
) -> int:
    """Run both services until Ctrl-C or `closeout down`.

    Their SQLite databases are in one folder. All settings are checked before anything
    starts; they come from the environment and closeout.toml. The addresses, that of the
    dashboard among them, are printed to standard output, and the logs of both services
    to standard error.
    """
    status = Listen(status_listen, status_http_listen)
    return run(_up(data_dir, data_dir.resolve(), status, Listen(sender_listen, sender_http_listen)))


class Listen(NamedTuple):
    """Where a service is to listen, by options; empty: where its settings say.

    Attributes:
        grpc: HOST:PORT of its calls.
        http: HOST:PORT of its HTTP.
    """

    grpc: str = ""
    http: str = ""


async def _up(data_dir: Path, folder: Path, status_listen: Listen, sender_listen: Listen) -> int:
    run_record.refuse_second(folder)
    await _check(data_dir, folder, status_listen, sender_listen)
    _make(folder)
    wanted = sender_listen.grpc or setting("sender", "listen") or SENDER_DEFAULT
    with RunRecord(folder) as record, reserved(wanted) as sender_place:
        say(f"settings: {settings_file() or 'the environment only'}; data: {folder}")
        status = ServiceProcess(
            "status service",
            STATUS_MODULE,
            settings=status_settings(folder, status_listen, sender_place),
            log=_log,
        )
        sender: ServiceProcess | None = None
        stopping = _stop_signal([status])
        try:
            if await _started(status, stopping, record):
                if status.http:
                    screen.line(f"dashboard on {status.http}/")
                sender = ServiceProcess(
                    "sender service",
                    SENDER_MODULE,
                    settings=sender_settings(
                        folder, Listen(sender_place, sender_listen.http), status.address
                    ),
                    log=_log,
                )
                stopping.services.append(sender)
                if await _started(sender, stopping, record):
                    await _run_until_stopped([status, sender], stopping, _down(data_dir))
        finally:
            # The sender first: its last results find their way to the status service.
            if sender is not None:
                await sender.stop()
            await status.stop()
    return OK


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CommandError(f"--data-dir {folder}: {error.strerror}; name another folder") from error


def _down(data_dir: Path) -> str:
    """Return the command that stops what runs on a folder."""
    return "closeout down" + ("" if data_dir == DEFAULT_DATA else f" --data-dir {data_dir}")


async def _check(
    data_dir: Path, folder: Path, status_listen: Listen, sender_listen: Listen
) -> None:
    """Check everything that can be wrong with settings; make and start nothing.

    Raises:
        CommandError: something is wrong; the text names every problem once.
    """
    problems = []
    found = next(place for place in (folder, *folder.parents) if place.exists())
    if not found.is_dir():
        problems.append(f"--data-dir {data_dir}: {found} is not a folder")
    elif not os.access(found, os.W_OK | os.X_OK):
        problems.append(f"--data-dir {data_dir}: the folder {found} can't be written")
    services: dict[str, Mapping[str, str]] = {STATUS_MODULE: {}, SENDER_MODULE: {}}
    try:
        if not problems:
            services[STATUS_MODULE] = status_settings(folder, status_listen)
            services[SENDER_MODULE] = sender_settings(folder, sender_listen, "")
        problems += _same_port(status_listen, sender_listen)
    except CommandError:
        pass  # the file can't be read, which the services report
    for lines in (await settings_problems(services, startable=not problems)).values():
        problems += lines
    if problems:
        raise refusal(problems)


def _same_port(status: Listen, sender: Listen) -> list[str]:
    """Return which of the four addresses are one."""
    calls = status.grpc or setting("status", "listen") or STATUS_DEFAULT
    others = sender.grpc or setting("sender", "listen") or SENDER_DEFAULT
    if calls == others and not calls.endswith(":0"):
        return [f"both services are to listen on {calls}; give one of them another port"]
    # That gRPC and HTTP of one service have two ports is checked by the service itself.
    pages = ("[status] http_listen", status.http or _http_setting("status"))
    other_pages = ("[sender] http_listen", sender.http or _http_setting("sender"))
    pairs = (
        (("[status] listen", calls), other_pages),
        (("[sender] listen", others), pages),
        (pages, other_pages),
    )
    return [
        f"{first} and {second} are both {place}; give each a port of its own"
        for (first, place), (second, other) in pairs
        if place == other and place and not place.endswith(":0")
    ]


def _http_setting(service: str) -> str:
    """Return where HTTP of a service is to listen by its settings; empty: nowhere."""
    if os.environ.get(f"CLOSEOUT_{service.upper()}_HTTP_LISTEN") == "":
        return ""
    found = setting(service, "http_listen")
    return HTTP_DEFAULTS[service] if found is None else found


def status_settings(data_dir: Path, listen: Listen, sender_listen: str = "") -> Mapping[str, str]:
    """Return the environment of a status service with its database in ``data_dir``.

    Args:
        data_dir: the folder.
        listen: where it is to listen.
        sender_listen: where the sender will listen, which its pages ask; empty: not known.
    """
    settings = _listening("STATUS", listen)
    # A sender with TLS is another matter: which authority to trust is for the settings.
    if (
        sender_listen
        and not setting("status", "sender_address")
        and not setting("sender", "tls_certificate_file")
    ):
        settings["CLOSEOUT_STATUS_SENDER_ADDRESS"] = reached_at(sender_listen)
    if not setting("status", "database_url"):
        settings["CLOSEOUT_STATUS_DATABASE_URL"] = f"sqlite:///{data_dir / 'status.db'}"
    return settings


def sender_settings(data_dir: Path, listen: Listen, status_address: str) -> Mapping[str, str]:
    """Return the environment of a sender service with its database in ``data_dir``."""
    settings = _listening("SENDER", listen)
    if status_address:
        settings["CLOSEOUT_SENDER_STATUS_ADDRESS"] = status_address
    if not setting("sender", "database_url"):
        settings["CLOSEOUT_SENDER_DATABASE_URL"] = f"sqlite:///{data_dir / 'sender.db'}"
    return settings


def _listening(service: str, listen: Listen) -> dict[str, str]:
    places = {"LISTEN": listen.grpc, "HTTP_LISTEN": listen.http}
    return {f"CLOSEOUT_{service}_{name}": place for name, place in places.items() if place}


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


async def _started(service: ServiceProcess, stopping: _StopSignal, record: RunRecord) -> bool:
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
    record.add(service.name, service.pid)
    return True


async def _run_until_stopped(
    services: list[ServiceProcess], stopping: _StopSignal, down: str
) -> None:
    """Wait for a signal.

    Raises:
        CommandError: a service ended by itself.
    """
    say(f"both services run; stop them with Ctrl-C or `{down}`")
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
    text = for_terminal(line) if sys.stderr.isatty() else line
    if text:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
