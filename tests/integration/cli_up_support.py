"""Runs ``closeout up`` in a folder, and looks at what it started."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import psutil

from integration.cli_support import PATIENCE_SECONDS, clean_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


FREE = ("--status-listen", "127.0.0.1:0", "--sender-listen", "127.0.0.1:0")


@contextlib.asynccontextmanager
async def up(
    folder: Path, *words: str, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``closeout up`` in ``folder``; whatever happens, it is stopped at the end."""
    with (folder / "log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "closeout_cli", "up", *words),
            cwd=folder,
            env=clean_environment() | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def addresses(process: asyncio.subprocess.Process) -> list[str]:
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
def services_of(process: asyncio.subprocess.Process) -> Iterator[list[psutil.Process]]:
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
