"""Both services as separate processes, as their users run them."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.databases import Database

_START_SECONDS = 120
_STOP_SECONDS = 30
_MEBIBYTE = 1024


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        address: its HOST:PORT.
        http_address: HOST:PORT of its HTTP.
        pid: its process id.
    """

    address: str
    http_address: str
    pid: int

    def peak_memory_mib(self) -> float:
        """Return its peak memory so far, MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / _MEBIBYTE

    def cpu_seconds(self) -> float:
        """Return the processor time it has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def status_service(
    database: Database, name: str, *, replica: int = 0
) -> AsyncIterator[Service]:
    """Run a status service with the database ``name``; each replica has a number."""
    folder = database.folder / (f"{name}-{replica}" if replica else name)
    folder.mkdir(exist_ok=True)
    settings = {
        "CLOSEOUT_LOG_LEVEL": "warning",
        "CLOSEOUT_STATUS_DATABASE_URL": await asyncio.to_thread(database.url, name),
    }
    async with service("status_service", folder, settings) as running:
        yield running


@asynccontextmanager
async def service(module: str, folder: Path, settings: dict[str, str]) -> AsyncIterator[Service]:
    """Run ``python -m module`` on a free port while the block runs.

    Args:
        module: status_service or sender_service.
        folder: the folder of its database and its log.
        settings: additional environment variables.
    """
    name = module.removesuffix("_service")
    prefix = f"CLOSEOUT_{name.upper()}"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("CLOSEOUT_")}
    environment = inherited | {
        f"{prefix}_LISTEN": "127.0.0.1:0",
        f"{prefix}_HTTP_LISTEN": "127.0.0.1:0",
        f"{prefix}_DATABASE_URL": f"sqlite:///{folder / name}.db",
    }
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            cwd=folder,
            env=environment | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await process.stdout.readline() if process.stdout else b""
            if not line or process.stdout is None:
                raise RuntimeError((folder / f"{name}.log").read_text(encoding="utf-8"))
            http = (await process.stdout.readline()).decode().rpartition("//")[2].strip()
            yield Service(line.decode().split()[-1], http, process.pid)
        finally:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
