"""Let both services check their settings, before or beside anything that runs."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS_MODULE: Final = "status_service"
SENDER_MODULE: Final = "sender_service"
#: How long a service may take for the check of its settings, seconds.
_TIMEOUT_SECONDS = 60.0


async def settings_problems(
    modules: Mapping[str, Mapping[str, str]], *, startable: bool = False
) -> dict[str, list[str]]:
    """Return the lines about wrong settings, by module; nothing is started or made.

    Args:
        modules: what ``python -m`` runs, with its environment on top of ours.
        startable: whether the services must also be able to start now: free ports, and
            databases that can be written.

    Raises:
        CommandError: a check did not end.
    """
    answers = await asyncio.gather(
        *(_problems(module, settings, startable=startable) for module, settings in modules.items())
    )
    return dict(zip(modules, answers, strict=True))


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


async def _problems(module: str, settings: Mapping[str, str], *, startable: bool) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        # -P: a folder of ours in the working folder must not be taken for a package.
        *(sys.executable, "-P", "-m", module, "--check", *(["--start"] if startable else [])),
        env={**os.environ, **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise CommandError(
            f"`python -m {module} --check` did not end within {_TIMEOUT_SECONDS:.0f} s;"
            " run it by itself to see where it waits"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return []
    lines = [*out.decode(errors="replace").splitlines(), *err.decode(errors="replace").splitlines()]
    return [line for line in lines if line.strip()] or [
        f"`python -m {module} --check` ended with exit code {process.returncode}; run it by itself"
    ]
