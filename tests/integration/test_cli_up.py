"""``closeout up``: both services in one go, and no process left behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from closeout.aio import StatusClient
from closeout.errors import UnavailableError
from integration.cli_support import (
    PATIENCE_SECONDS,
    Command,
    clean_environment,
    finished,
    started,
)
from integration.cli_up_support import (
    FREE,
    addresses,
    log,
    said,
    started_up,
    up,
)
from providers.held_port import HeldPort
from providers.plain_http import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


@pytest.mark.parametrize(
    ("start", "number"),
    [(started_up, signal.SIGTERM), (up, signal.SIGINT), (up, signal.SIGHUP)],
)
async def test_up_starts_both_and_stops_the_sender_first(
    tmp_path: Path,
    start: Callable[..., AbstractAsyncContextManager[Command]],
    number: signal.Signals,
) -> None:
    """Addresses on standard output, databases in the folder, an ordered end."""
    async with start(tmp_path, "--data-dir", "data", *FREE) as process:
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
        in_order = sorted(services, key=psutil.Process.create_time)
        dict(zip(("status", "sender"), in_order, strict=True))[victim].kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 1
        assert not [service for service in services if service.is_running()]
        async with StatusClient(status_address) as status:
            with pytest.raises(UnavailableError):
                await status.get_campaign(campaign_id="x")
    last = log(tmp_path).splitlines()[-1]
    assert last == (
        f"closeout: the {victim} service was ended by SIGKILL: the system was out of memory, or"
        " somebody killed it. Nothing that it stored is lost; run `closeout up` again, and it goes"
        " on where it was"
    )


async def test_a_second_one_on_the_same_folder_is_refused_with_who_has_it(tmp_path: Path) -> None:
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
        (line,) = log(tmp_path / "second").splitlines()
        assert line == (
            f"closeout: `closeout up` runs on {tmp_path / 'data'} already, process {first.pid};"
            f" stop it with `closeout down --data-dir {tmp_path / 'data'}`, or name another folder"
        )
        async with StatusClient(status_address) as status:
            assert [item async for item in status.list_campaigns()] == []


async def test_a_reason_that_shows_at_the_start_only_is_said_once_and_last(tmp_path: Path) -> None:
    """A database in use by another service: exit code 1, and no line says it twice."""
    (tmp_path / "second").mkdir()
    database = f"sqlite:///{tmp_path / 'data' / 'status.db'}"
    async with up(tmp_path, "--data-dir", "data", *FREE) as first:
        await addresses(first)
        async with (
            up(tmp_path / "second", *FREE, CLOSEOUT_STATUS_DATABASE_URL=database) as second,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            assert await second.wait() == 1
    lines = log(tmp_path / "second").splitlines()
    (said,) = (line for line in lines if "is in use by the status service, process" in line)
    assert said == lines[-1]
    assert said.startswith("closeout: the status service can't start: the database ")


async def test_it_says_what_is_used_and_how_to_stop_it(tmp_path: Path) -> None:
    """The settings file, the folder of the databases, and the command that stops it."""
    (tmp_path / "closeout.toml").write_text("[log]\nlevel = 'warning'\n")
    async with up(tmp_path, "--data-dir", "data", *FREE) as process:
        await addresses(process)
        await said(tmp_path, "both services run")
    lines = log(tmp_path).splitlines()
    assert lines[:2] == [
        f"closeout: settings: {tmp_path / 'closeout.toml'}; data: {tmp_path / 'data'}",
        "closeout: both services run; stop them with Ctrl-C or `closeout down --data-dir data`",
    ]


async def test_it_prints_where_the_dashboard_is_and_the_dashboard_asks_its_sender(
    tmp_path: Path,
) -> None:
    """Also where both take free ports: the page of a campaign says what the sender said."""
    async with up(tmp_path, *FREE) as process:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            lines = [(await process.stdout.readline()).decode().strip() for _ in range(3)]
        address = lines[1].removeprefix("dashboard on ")
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            assert "No campaigns yet." in (await http.get(address)).text
            async with StatusClient(lines[0].rpartition(" ")[2]) as status:
                await status.create_campaign(campaign_id="a")
            answer = await http.get(f"{address}campaigns/a")
        assert "The sender does not have this campaign" in answer.text


async def test_one_service_is_served_alone(tmp_path: Path) -> None:
    """``closeout serve`` becomes the service: its line, its exit code, its check."""
    environment = clean_environment() | {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
    async with started("serve", "status", folder=tmp_path, environment=environment) as process:
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line.startswith(b"status service listening on 127.0.0.1:")
        assert "status_service" in psutil.Process(process.pid).cmdline()
        process.terminate()
        assert await process.wait() == 0
    for service, setting in (
        ("status", "CLOSEOUT_STATUS_LISTEN"),
        ("sender", "CLOSEOUT_SMTP_PROT"),
    ):
        code, out, err = await finished(
            *("serve", service, "--check"),
            folder=tmp_path,
            environment={**environment, setting: "x"},
        )
        assert (code, err) == (2, "")
        assert out.startswith(f"{setting}: ")


async def test_a_descriptor_that_no_parent_handed_over_is_refused(tmp_path: Path) -> None:
    """A service that could not see the end of its parent does not start."""
    code, out, err = await finished(
        *("serve", "status"),
        folder=tmp_path,
        environment=clean_environment() | {"CLOSEOUT_STOP_DESCRIPTOR": "999"},
    )
    assert (code, out) == (2, "")
    assert err.startswith("CLOSEOUT_STOP_DESCRIPTOR=999: no open descriptor; only a parent process")
