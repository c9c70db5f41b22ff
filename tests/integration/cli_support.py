"""``closeout`` as a process of its own, which never outlives its test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: How long a command may take, seconds: far longer than it does.
PATIENCE_SECONDS = 120.0


def clean_environment() -> dict[str, str]:
    """Return our environment without settings of Closeout, in a time zone that is known.

    Services take any free port for HTTP.
    """
    names = [name for name in os.environ if not name.startswith("CLOSEOUT_")]
    return {
        **{name: os.environ[name] for name in names},
        "TZ": "UTC",
        "CLOSEOUT_STATUS_HTTP_LISTEN": "127.0.0.1:0",
        "CLOSEOUT_SENDER_HTTP_LISTEN": "127.0.0.1:0",
    }


@contextlib.asynccontextmanager
async def started(
    *words: str, folder: Path, environment: dict[str, str], piped: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a command; it is killed at the end if it still runs.

    ``piped`` gives it a pipe as its standard input, instead of ours.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "closeout_cli", *words),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE if piped else None,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await process.communicate()
            except TimeoutError:
                process.kill()
                await process.communicate()


async def finished(
    *words: str, folder: Path, environment: dict[str, str], given: bytes | None = None
) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, output and errors.

    ``given`` is what it reads from its standard input.
    """
    piped = given is not None
    async with started(*words, folder=folder, environment=environment, piped=piped) as process:
        out, err = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
