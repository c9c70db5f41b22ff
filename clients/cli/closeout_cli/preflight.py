"""Let both services check their settings, before or beside anything that runs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Final

from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS_MODULE: Final = "status_service"
SENDER_MODULE: Final = "sender_service"
#: The module that has services check their settings.
_CHECKS = "closeout_cli.settings_checks"
#: How long both services may take for the check of their settings, seconds.
_TIMEOUT_SECONDS = 60.0


async def settings_problems(
    modules: Mapping[str, Mapping[str, str]], *, startable: bool = False
) -> dict[str, list[str]]:
    """Return the lines about wrong settings, by module; nothing is started or made.

    Args:
        modules: what ``python -m`` runs, with its environment on top of ours; services have
            no variable in common.
        startable: whether the services must also be able to start now: free ports, and
            databases that can be written.

    Raises:
        CommandError: the checks did not end, or not in order.
    """
    words = ["-P", "-m", _CHECKS, *modules, *(["--start"] if startable else [])]
    process = await asyncio.create_subprocess_exec(
        # -P: a folder of ours in the working folder must not be taken for a package.
        *(sys.executable, *words),
        env={**os.environ, **{name: of[name] for of in modules.values() for name in of}},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise CommandError(
            f"the check of the settings did not end within {_TIMEOUT_SECONDS:.0f} s;"
            f" run `python {' '.join(words)}` by itself to see where it waits"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise CommandError(
            f"`python {' '.join(words)}` ended with exit code {process.returncode}",
            more=tuple(err.decode(errors="replace").splitlines()),
        )
    answers: dict[str, list[str]] = json.loads(out)
    return answers


def refusal(problems: list[str], done: str = "started") -> CommandError:
    """Return the error that names every problem once, and that nothing was ``done``."""
    lines = list(dict.fromkeys(problems))
    if len(lines) == 1:
        return CommandError(f"nothing was {done}: {lines[0]}", exit_code=USAGE)
    return CommandError(
        f"nothing was {done}; correct these {len(lines)} settings first:",
        exit_code=USAGE,
        more=tuple(f"  {line}" for line in lines),
    )
