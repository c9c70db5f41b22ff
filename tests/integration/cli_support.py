"""``closeout`` as a process of its own, which never outlives its test.

``started`` starts it as a user does; ``forked`` and ``finished`` fork it, which takes a tenth
of the time: :mod:`acceptance.forked`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from acceptance.forked import ForkedProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

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


class _Forked:
    """A forked command, with what those of asyncio have."""

    def __init__(self, process: ForkedProcess, stdout: asyncio.StreamReader) -> None:
        self._process = process
        self.stdout: asyncio.StreamReader | None = stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def wait(self) -> int:
        return await asyncio.to_thread(self._process.wait, PATIENCE_SECONDS)

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


#: A command that runs.
Command: TypeAlias = asyncio.subprocess.Process | _Forked


@contextlib.asynccontextmanager
async def forked(
    *words: str, folder: Path, environment: dict[str, str], errors: Path
) -> AsyncIterator[Command]:
    """Fork a command whose errors go to a file; it is stopped at the end if it still runs."""
    errors.touch()  # noqa: ASYNC240 - in no time
    with tempfile.TemporaryDirectory(prefix="closeout-command-") as place:
        output = Path(place, "output")
        os.mkfifo(output)
        # Opened before the command does, which waits for a reader.
        pipe = os.fdopen(os.open(output, os.O_RDONLY | os.O_NONBLOCK), "rb")
        stdout = asyncio.StreamReader()
        reading, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), pipe
        )
        try:
            process = ForkedProcess(
                *("closeout_cli", *words),
                folder=folder,
                output=output,
                errors=errors,
                environment=environment,
            )
            async with stopped(_Forked(process, stdout)) as command:
                yield command
        finally:
            reading.close()


@contextlib.asynccontextmanager
async def stopped(
    process: Command, ended: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[Command]:
    """Stop a command at the end, if it still runs; ``ended`` waits for its end."""
    ended = ended or process.wait
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await ended()
            except TimeoutError:
                process.kill()
                await ended()


@contextlib.asynccontextmanager
async def started(
    *words: str, folder: Path, environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a command; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "closeout_cli", *words),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with stopped(process, process.communicate), asyncio.timeout(PATIENCE_SECONDS):
        yield process


async def finished(
    *words: str, folder: Path, environment: dict[str, str], given: bytes = b""
) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, output and errors.

    ``given`` is what it reads from its standard input.
    """
    with tempfile.TemporaryDirectory(prefix="closeout-command-") as place:
        paths = [Path(place, name) for name in ("given", "output", "errors")]
        for path in paths:
            path.write_bytes(given)
            given = b""
        process = ForkedProcess(
            *("closeout_cli", *words),
            folder=folder,
            given=paths[0],
            output=paths[1],
            errors=paths[2],
            environment=environment,
        )
        try:
            code = await asyncio.to_thread(process.wait, PATIENCE_SECONDS)
        finally:
            process.send_signal(signal.SIGKILL)
        return code, paths[1].read_bytes().decode(), paths[2].read_bytes().decode()
