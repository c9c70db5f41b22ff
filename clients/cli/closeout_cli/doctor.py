"""``closeout doctor``: is everything ready to send, and if not, what to correct."""

from __future__ import annotations

import asyncio
import importlib.metadata
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closeout_cli import screen
from closeout_cli.credentials import checked_environment, client_options
from closeout_cli.failures import NEEDS_A_PERSON, OK
from closeout_cli.health_checks import (
    Check,
    clock,
    disk,
    service,
    settings_checks,
    versions,
)
from closeout_cli.options import Json, SenderAddress, StatusAddress, run
from closeout_cli.preflight import SENDER_MODULE, STATUS_MODULE, settings_problems
from closeout_cli.security_checks import certificates, key_in_plain_text
from closeout_cli.sender_checks import sender_checks

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLES = {True: "green", False: "bold red"}


def doctor(
    *,
    channel: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Check the provider of this channel only, as in smtp. Default: of every channel"
            " that is configured.",
            show_default=False,
        ),
    ] = "",
    data_dir: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where `closeout up` keeps the databases."),
    ] = Path("closeout-data"),
    as_json: Json = False,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
) -> int:
    """Check that everything is ready to send.

    It checks settings, services, versions, keys, certificates, databases, disk and clocks,
    and logs in to the providers. Nothing is sent and nothing is changed. Each check has
    one line, with what to correct. The exit code is 3 if something needs attention.
    """
    checks = run(_checks(channel, data_dir.resolve(), status_address, sender_address))
    if as_json:
        screen.print_json(
            {"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}
        )
    else:
        _show(checks)
    return OK if all(check.ok for check in checks) else NEEDS_A_PERSON


async def _checks(
    channel: str, folder: Path, status_address: str, sender_address: str
) -> list[Check]:
    options = checked_environment()
    for address in (status_address, sender_address):
        client_options(address)
    problems, status, sender = await asyncio.gather(
        settings_problems({STATUS_MODULE: {}, SENDER_MODULE: {}}),
        service("status", status_address, options),
        service("sender", sender_address, options),
    )
    checks = [*settings_checks(problems), status.check, sender.check]
    answered = [found for found in (status, sender) if found.version]
    checks += versions(answered, importlib.metadata.version("closeout-server"))
    checks += key_in_plain_text([status, sender], options)
    checks += await certificates(answered, options["tls"])
    checks += disk(folder)
    asked, clocks = await sender_checks(channel, sender, status, options)
    return [*checks, *asked, *clock(clocks)]


def _show(checks: Sequence[Check]) -> None:
    """Print a line for each check; on a terminal its result has a colour."""
    for check in checks:
        result = "ok" if check.ok else "problem"
        text = f"{check.name}: {check.summary}" + (f"; {check.remedy}" if check.remedy else "")
        if screen.on_terminal():
            style = _STYLES[check.ok]
            screen.console().print(f"[{style}]{result:<8}[/]{screen.plain(text)}")
        else:
            screen.line(f"{result:<8}{text}")
