"""``closeout migrate``: the databases of both services, brought to this version."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closeout_cli.failures import FAILED, OK
from closeout_cli.options import run
from closeout_cli.preflight import SENDER_MODULE, STATUS_MODULE, refusal, settings_problems
from closeout_cli.up import Listen, sender_settings, status_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; exit code 1 if there is something to migrate."
        ),
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where `closeout up` keeps the databases. Default: those of the settings.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Bring the databases of both services to this version of Closeout.

    A service does the same when it starts; this does it before, or only looks.
    Prints a line for each database. Settings hold as for each service alone; while one
    is wrong, nothing is migrated.
    """
    status: Mapping[str, str] = {}
    sender: Mapping[str, str] = {}
    if data_dir is not None:
        status = status_settings(data_dir.resolve(), Listen())
        sender = sender_settings(data_dir.resolve(), Listen(), "")
    words = ["migrate", *(["--check"] if check else [])]
    return run(_both(words, {STATUS_MODULE: status, SENDER_MODULE: sender}))


async def _both(words: list[str], services: Mapping[str, Mapping[str, str]]) -> int:
    """Ask both, also where the first one fails: the second line is worth having.

    Raises:
        CommandError: a setting is wrong; nothing is migrated.
    """
    found = await settings_problems(services)
    if problems := [line for lines in found.values() for line in lines]:
        raise refusal(problems, "migrated")
    codes = [await _ask(module, words, settings) for module, settings in services.items()]
    return OK if not any(codes) else FAILED


async def _ask(module: str, words: list[str], settings: Mapping[str, str]) -> int:
    """Let a service migrate its database; what it prints is for whoever called us."""
    process = await asyncio.create_subprocess_exec(
        # -P: a folder of ours in the working folder must not be taken for a package.
        *(sys.executable, "-P", "-m", module, *words),
        env={**os.environ, **settings},
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:  # Ctrl-C reached it too
            await process.wait()
