"""Services as child processes: started, waited for, watched, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from closeout_cli import lifeline
from closeout_cli.failures import CommandError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: How long a service may take until it listens, seconds.
START_TIMEOUT_SECONDS = 60.0
#: How long a service may take to stop in order before it is killed, seconds.
STOP_TIMEOUT_SECONDS = 30.0
_LISTENING = " listening on "
_HTTP = " HTTP on "
#: How long after its first line a service that has HTTP may say where, seconds: it prints
#: both lines in one piece.
_SECOND_LINE_SECONDS = 0.5
#: Exit code of a service that can't start; it has printed the reason.
_EXIT_STARTUP = 2
#: Who sends such a signal.
_CAUSES: dict[int, str] = {
    signal.SIGKILL: "the system was out of memory, or somebody killed it",
    signal.SIGSEGV: "a defect in a library; please report it",
    signal.SIGABRT: "a defect in a library; please report it",
    signal.SIGTERM: "somebody stopped it",
}
#: Longest line of a service that is taken, bytes.
_MAX_LINE_BYTES = 1024 * 1024


class ServiceProcess:
    """One service in a child process.

    Args:
        name: for messages, as in ``status service``.
        module: what ``python -m`` runs.
        arguments: for the module.
        settings: environment variables on top of ``environment``.
        environment: those it starts from; by default ours.
        folder: where it runs; by default where we do.
        log: called with each line the service logs.
    """

    def __init__(
        self,
        name: str,
        module: str,
        *arguments: str,
        settings: Mapping[str, str],
        environment: Mapping[str, str] = os.environ,
        folder: Path | None = None,
        log: Callable[[str], None],
    ) -> None:
        self.name = name
        #: Where it listens, once it does: ``HOST:PORT``.
        self.address = ""
        #: Where its HTTP is, once it listens: ``http://HOST:PORT``; empty: nowhere.
        self.http = ""
        # -P: a folder of ours in the working folder must not be taken for a package.
        self._command = (sys.executable, "-P", "-m", module, *arguments)
        self._environment = {**environment, "PYTHONUNBUFFERED": "1", **settings}
        self._folder = folder
        self._log = log
        self._process: Process | None = None
        #: Our end of the pipe whose end stops the service: :mod:`.lifeline`.
        self._lifeline = -1
        #: Lines that are no log, such as the reason of a refused start, until it listens.
        self._held_back: list[str] | None = []
        self._logging: asyncio.Task[None] | None = None
        self._printing: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start it and return the line that says where it listens.

        Raises:
            CommandError: it ended instead, or took too long.
        """
        end, self._lifeline = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environment, lifeline.VARIABLE: str(end)},
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MAX_LINE_BYTES,
                # Ctrl-C is for us: we stop the services one after the other.
                start_new_session=True,
                pass_fds=(end,),
            )
        finally:
            os.close(end)
        self._logging = asyncio.create_task(self._forward(self._process.stderr))
        line = await self._first_line(self._process)
        self.address = line.rpartition(_LISTENING)[2]
        second = await self._second_line(self._process)
        self.http = second.rpartition(_HTTP)[2] if _HTTP in second else ""
        self._printing = asyncio.create_task(self._forward(self._process.stdout))
        if second and not self.http:
            self._log(second)
        for held in self._held_back or ():
            self._log(held)
        self._held_back = None
        return line

    async def _first_line(self, process: Process) -> str:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                line = (await process.stdout.readline()).decode(errors="replace").strip()
        except TimeoutError:
            await self.stop()
            raise CommandError(
                f"the {self.name} did not begin to listen within {START_TIMEOUT_SECONDS:.0f} s;"
                " its log says what it waited for"
            ) from None
        if _LISTENING not in line:
            if line and self._held_back is not None:
                self._held_back.append(line)
            await self.wait()
            raise self.death()
        return line

    async def _second_line(self, process: Process) -> str:
        """Return the line after the first one; empty: there is none."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(_SECOND_LINE_SECONDS):
                return (await process.stdout.readline()).decode(errors="replace").strip()
        except TimeoutError:
            return ""

    async def wait(self) -> int:
        """Wait until it has ended and its last line was read; return its exit code."""
        assert self._process is not None  # noqa: S101 - it was started
        code = await self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        # Not gather: who stops waiting must not stop the reading.
        if readers := [task for task in (self._logging, self._printing) if task is not None]:
            await asyncio.wait(readers)
        return code

    def death(self) -> CommandError:
        """Return the error that says how the process ended, and how to go on."""
        code = self._process.returncode if self._process else None
        reasons = self._held_back or []
        if code == _EXIT_STARTUP and reasons:
            return CommandError(
                f"the {self.name} can't start: {reasons[0]}", more=tuple(reasons[1:])
            )
        for line in reasons:
            self._log(line)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            cause = _CAUSES.get(-code, "somebody or something stopped it")
            return CommandError(
                f"the {self.name} was ended by {name}: {cause}. Nothing that it stored is lost;"
                " run `closeout up` again, and it goes on where it was"
            )
        return CommandError(
            f"the {self.name} ended with exit code {code}; its last lines above say why."
            " Nothing that it stored is lost; run `closeout up` again, and it goes on where it was"
        )

    async def stop(self) -> None:
        """Stop it in order; kill it if it takes too long. Does nothing if it has ended."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await self.wait()
        except TimeoutError:
            self._log(f"the {self.name} did not stop within {STOP_TIMEOUT_SECONDS:.0f} s: killed")
            self.kill()
            await self.wait()

    @property
    def pid(self) -> int:
        """The id of its process; 0 before it is started."""
        return self._process.pid if self._process else 0

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _forward(self, lines: asyncio.StreamReader | None) -> None:
        assert lines is not None  # noqa: S101 - it is a pipe
        while line := await _next_line(lines):
            text = line.decode(errors="replace").rstrip()
            if self._held_back is not None and text and not text.startswith("{"):
                self._held_back.append(text)
                continue
            # A log that nobody reads any more must not stop the service.
            with contextlib.suppress(BrokenPipeError):
                self._log(text)


async def _next_line(lines: asyncio.StreamReader) -> bytes:
    """Return the next line; one that is too long comes in pieces."""
    try:
        return await lines.readline()
    except ValueError:
        return b"(a line of the log was too long and is left out)\n"
