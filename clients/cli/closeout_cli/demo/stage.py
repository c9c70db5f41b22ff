"""Where the demo plays: a folder that goes away, a provider, and the two services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from closeout_cli import screen
from closeout_cli.reserved_port import reserved
from closeout_cli.services import ServiceProcess
from closeout_cli.up import Listen, sender_settings, status_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

_ANY_PORT = Listen("127.0.0.1:0", "127.0.0.1:0")
#: Log lines kept to show them if the demo fails.
_KEPT_LINES = 40


@dataclass
class Stage:
    """The running provider and services of one demo.

    Attributes:
        folder: for all files; removed at the end.
        environment: what commands run with, so that they find the services.
        log: the last lines the services logged.
        dashboard: where its pages are.
    """

    folder: Path
    environment: dict[str, str]
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    status_address: str = ""
    sender_address: str = ""
    dashboard: str = ""

    @property
    def ledger(self) -> Path:
        """What the provider accepted."""
        return self.folder / "ledger.jsonl"

    @property
    def status_database(self) -> Path:
        """The file of the status service."""
        return self.folder / "status.db"

    async def command(self, *words: str) -> int:
        """Show a ``closeout`` command, run it in a child process, return its exit code."""
        screen.line("")
        screen.line(f"$ closeout {' '.join(words)}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "closeout_cli", *words),
            env=self.environment,
            # A refusal is part of the story, in its place.
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start provider and services on free ports; stop them and remove the folder at the end.

    Raises:
        CommandError: one of them did not start.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="closeout-demo-"))
        sender_listen = stack.enter_context(reserved(_ANY_PORT.grpc))
        made = Stage(Path(folder), _clean(os.environ))
        provider = _service(made, "provider", "closeout_cli.demo.provider", {}, str(made.ledger))
        status = _service(
            made,
            "status service",
            "status_service",
            {
                **status_settings(made.folder, _ANY_PORT, sender_listen),
                # The reconcile pass would repair what the demo breaks before anybody sees it.
                "CLOSEOUT_STATUS_RECONCILE_INTERVAL_SECONDS": "3600",
            },
        )
        await _start(stack, provider)
        await _start(stack, status)
        host, _, port = provider.address.rpartition(":")
        sender = _service(
            made,
            "sender service",
            "sender_service",
            {
                **sender_settings(
                    made.folder, Listen(sender_listen, _ANY_PORT.http), status.address
                ),
                "CLOSEOUT_SMTP_HOST": host,
                "CLOSEOUT_SMTP_PORT": port,
                "CLOSEOUT_SMTP_SECURITY": "none",
            },
        )
        await _start(stack, sender)
        made.status_address = status.address
        made.dashboard = f"{status.http}/"
        made.sender_address = sender.address
        made.environment["CLOSEOUT_SENDER_STATUS_ADDRESS"] = status.address
        made.environment["CLOSEOUT_SENDER_LISTEN"] = sender.address
        yield made


def _service(
    made: Stage, name: str, module: str, settings: Mapping[str, str], *ledger: str
) -> ServiceProcess:
    arguments = ("--ledger", *ledger) if ledger else ()
    return ServiceProcess(
        name,
        module,
        *arguments,
        settings=settings,
        environment=made.environment,
        folder=made.folder,
        log=_keep(made.log),
    )


def _keep(lines: deque[str]) -> Callable[[str], None]:
    return lines.append


async def _start(stack: contextlib.AsyncExitStack, service: ServiceProcess) -> None:
    # Before it is started: an interrupted start leaves a process too.
    stack.push_async_callback(service.stop)
    screen.line(await service.start())


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out settings of Closeout: the demo makes them."""
    return {name: value for name, value in environment.items() if not name.startswith("CLOSEOUT_")}
