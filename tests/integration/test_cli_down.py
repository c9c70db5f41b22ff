"""How ``closeout down`` stops what ``closeout up`` started, and what is left of a killed one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from typing import TYPE_CHECKING

import psutil

from closeout_cli.run_record import KnownProcess
from integration.cli_support import PATIENCE_SECONDS, clean_environment, finished
from integration.cli_up_support import (
    FREE,
    addresses,
    names,
    runs,
    services_of,
    until,
    up,
)

if TYPE_CHECKING:
    from pathlib import Path


async def test_killed_it_leaves_no_service_behind(tmp_path: Path) -> None:
    """After SIGKILL both services stop in order by themselves, and it can start again."""
    async with up(tmp_path, "--data-dir", "data", *FREE) as process:
        await addresses(process)
        with services_of(process) as services:
            process.kill()
            await process.wait()
            await until(lambda: not any(map(runs, services)))
    # A database that was closed in order has no write-ahead log.
    assert names(tmp_path / "data") == [
        *("closeout-up.lock", "sender.db", "sender.db.lock", "status.db", "status.db.lock")
    ]
    async with up(tmp_path, "--data-dir", "data", *FREE) as process:
        await addresses(process)


async def test_killed_it_leaves_nothing_that_down_has_to_stop(tmp_path: Path) -> None:
    """Down waits for the services of a killed one, or finds that nothing runs."""
    async with up(tmp_path, "--data-dir", "data", *FREE) as process:
        await addresses(process)
        with services_of(process) as services:
            process.kill()
            code, out, _ = await finished(
                "down", "--data-dir", "data", folder=tmp_path, environment=clean_environment()
            )
            assert code == 0
            assert out.startswith(("stopped ", "nothing runs on "))
            assert not [service for service in services if runs(service)]


async def test_down_stops_what_up_started_and_waits(tmp_path: Path) -> None:
    """Exit code 0, a line that names the processes; a second time nothing runs."""
    words = ("down", "--data-dir", "data")
    environment = clean_environment()
    async with up(tmp_path, "--data-dir", "data", *FREE) as process:
        await addresses(process)
        services = psutil.Process(process.pid).children()
        code, out, _ = await finished(*words, folder=tmp_path, environment=environment)
        assert (code, out[:32]) == (0, f"stopped closeout up (process {process.pid})"[:32])
        for service in services:
            assert f"(process {service.pid})" in out
            assert not service.is_running()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
    for folder in ("data", "never-used"):
        code, out, err = await finished(
            "down", "--data-dir", folder, folder=tmp_path, environment=environment
        )
        assert (code, out, err) == (0, f"nothing runs on {tmp_path / folder}\n", "")


async def test_down_signals_no_process_that_only_has_the_same_id(tmp_path: Path) -> None:
    """A record whose process ended, and whose id another process has now."""
    (tmp_path / "data").mkdir()
    other = KnownProcess.of("closeout up", os.getpid())
    assert other.running() is not None
    stale = dataclasses.replace(other, start=f"{other.start}0")
    assert stale.running() is None
    record = tmp_path / "data" / "closeout-up.lock"
    record.write_text(json.dumps([dataclasses.asdict(stale)]))
    code, out, _ = await finished(
        "down", "--data-dir", "data", folder=tmp_path, environment=clean_environment()
    )
    assert (code, out) == (0, f"nothing runs on {tmp_path / 'data'}\n")
