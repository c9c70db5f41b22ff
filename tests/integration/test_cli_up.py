"""``closeout up``: both services in one go, and no process left behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from closeout.aio import StatusClient
from closeout.errors import UnavailableError
from integration.cli_support import PATIENCE_SECONDS, clean_environment
from providers.held_port import HeldPort

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FREE = ("--status-listen", "127.0.0.1:0", "--sender-listen", "127.0.0.1:0")


@contextlib.asynccontextmanager
async def up(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``closeout up`` in ``folder``; whatever happens, it is stopped at the end."""
    with (folder / "log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "closeout_cli", "up", *words),
            cwd=folder,
            env=clean_environment(),
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
    return found


def log(folder: Path) -> str:
    return (folder / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_up_starts_both_and_stops_the_sender_first(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Addresses on standard output, databases in the folder, an ordered end."""
    async with up(tmp_path, "--data-dir", "data", *FREE) as process:
        status_address, _ = await addresses(process)
        services = psutil.Process(process.pid).children()
        assert len(services) == 2
        async with StatusClient(status_address) as status:
            assert [item async for item in status.list_campaigns()] == []
        process.send_signal(number)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
        assert not [service for service in services if service.is_running()]
    assert {"status.db", "sender.db"} <= {path.name for path in (tmp_path / "data").iterdir()}
    lines = log(tmp_path).splitlines()
    stopped = [line for line in lines if '"stopped"' in line]
    assert [name in line for name, line in zip(("sender", "status"), stopped, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("victim", ["status", "sender"])
async def test_when_one_dies_the_other_is_stopped(tmp_path: Path, victim: str) -> None:
    """Exit code 1, and a line that names the dead one and how it ended."""
    async with contextlib.AsyncExitStack() as stack:
        # What is gone at the end must not be taken for somebody else's.
        held = stack.enter_context(HeldPort()).address
        listen = ("--status-listen", held, "--sender-listen", "127.0.0.1:0")
        process = await stack.enter_async_context(up(tmp_path, *listen))
        status_address, _ = await addresses(process)
        services = psutil.Process(process.pid).children()
        (killed,) = [each for each in services if f"{victim}_service" in each.cmdline()]
        killed.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 1
        assert not [service for service in services if service.is_running()]
        async with StatusClient(status_address) as status:
            with pytest.raises(UnavailableError):
                await status.get_campaign(campaign_id="x")
    last = log(tmp_path).splitlines()[-1]
    assert last.startswith(f"closeout: the {victim} service ended with signal SIGKILL")


async def test_a_second_one_on_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    """It ends with exit code 1 and the reason, and disturbs the first one not at all."""
    (tmp_path / "second").mkdir()
    data = ("--data-dir", str(tmp_path / "data"))
    async with up(tmp_path, *data, *FREE) as first:
        status_address, _ = await addresses(first)
        async with (
            up(tmp_path / "second", *data, *FREE) as second,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            assert await second.wait() == 1
        last = log(tmp_path / "second").splitlines()[-1]
        assert last.startswith("closeout: the status service ended with exit code 2: ")
        assert "in use by the status service, process" in last
        async with StatusClient(status_address) as status:
            assert [item async for item in status.list_campaigns()] == []


async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """The sender can't listen: the status service is stopped, the line says who holds it."""
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = ("--status-listen", "127.0.0.1:0", "--sender-listen", address)
        process = await stack.enter_async_context(up(tmp_path, *words))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 1
    last = log(tmp_path).splitlines()[-1]
    assert f"can't listen on {address}" in last
