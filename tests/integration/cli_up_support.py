"""Runs ``closeout up`` in a folder, and looks at what it started."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import psutil

from integration.cli_support import (
    PATIENCE_SECONDS,
    Command,
    clean_environment,
    forked,
    stopped,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


FREE = ("--status-listen", "127.0.0.1:0", "--sender-listen", "127.0.0.1:0")


def up(folder: Path, *words: str, **settings: str) -> AbstractAsyncContextManager[Command]:
    """Run ``closeout up`` in ``folder``, forked; whatever happens, it is stopped at the end."""
    return forked(
        *("up", *words),
        folder=folder,
        environment=clean_environment() | settings,
        errors=folder / "log",
    )


@contextlib.asynccontextmanager
async def started_up(folder: Path, *words: str) -> AsyncIterator[Command]:
    """Run ``closeout up`` in ``folder`` as a user does; it is stopped at the end."""
    with (folder / "log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "closeout_cli", "up", *words),
            cwd=folder,
            env=clean_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    async with stopped(process):
        yield process


async def addresses(process: Command) -> list[str]:
    """Return where the two services listen, once they do."""
    assert process.stdout is not None
    found = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        for name in ("status", "sender"):
            line = (await process.stdout.readline()).decode().strip()
            assert line.startswith(f"{name} service listening on 127.0.0.1:")
            found.append(line.rpartition(" ")[2])
            if name == "status":
                line = (await process.stdout.readline()).decode().strip()
                assert line.startswith("dashboard on http://127.0.0.1:")
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def log(folder: Path) -> str:
    return (folder / "log").read_text()


async def said(folder: Path, text: str) -> None:
    """Wait until the log has a text."""
    await until(lambda: text in log(folder))


async def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def services_of(process: Command) -> Iterator[list[psutil.Process]]:
    """Yield the services of a ``closeout up`` that is killed; none outlives the block."""
    services = psutil.Process(process.pid).children()
    assert len(services) == 2
    try:
        yield services
    finally:
        for service in services:
            with contextlib.suppress(psutil.NoSuchProcess):
                service.kill()


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs; one that nobody waited for has ended too."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
