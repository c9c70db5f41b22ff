"""``closeout up``: both services in one go, and no process left behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from closeout.aio import StatusClient
from closeout.errors import UnavailableError
from closeout_cli.run_record import KnownProcess
from integration.cli_support import PATIENCE_SECONDS, clean_environment, finished, started
from providers.held_port import HeldPort
from providers.plain_http import NO_TLS

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


async def refused(folder: Path, *words: str, **settings: str) -> list[str]:
    """Run ``closeout up`` where it refuses to start; return the lines of its errors."""
    async with up(folder, *words, **settings) as process, asyncio.timeout(PATIENCE_SECONDS):
        assert await process.wait() == 2
        assert process.stdout is not None
        assert await process.stdout.read() == b""
    return log(folder).splitlines()


async def test_a_port_in_use_is_found_before_anything_starts(tmp_path: Path) -> None:
    """The line names the address and the process that has it; no database is made."""
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = ("--status-listen", "127.0.0.1:0", "--sender-listen", address)
        (line,) = await refused(tmp_path, *words)
    assert line.startswith(f"closeout: nothing was started: can't listen on {address}: ")
    assert f": in use by process {os.getpid()} (" in line
    assert line.endswith("; stop it or choose another address")
    assert names(tmp_path) == ["log"]


@pytest.mark.parametrize("service", ["status", "sender"])
@pytest.mark.parametrize("by_option", [True, False], ids=["option", "setting"])
async def test_a_port_of_http_in_use_is_found_before_anything_starts(
    tmp_path: Path, service: str, *, by_option: bool
) -> None:
    """The line names the setting, the address and the process that has it."""
    variable = f"CLOSEOUT_{service.upper()}_HTTP_LISTEN"
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = (f"--{service}-http-listen", address) if by_option else ()
        settings = {} if by_option else {variable: address}
        (line,) = await refused(tmp_path, *FREE, *words, **settings)
    assert line.startswith(
        f"closeout: nothing was started: {variable}: can't listen on {address}: in use by"
        f" process {os.getpid()} ("
    )
    assert names(tmp_path) == ["log"]


async def test_every_wrong_setting_is_named_once_before_anything_starts(tmp_path: Path) -> None:
    """Settings of both services and of all channels; exit code 2, no folder, no database."""
    (tmp_path / "closeout.toml").write_text("[webhook]\nurl = 'ftp://x'\n[smpt]\nhost = 'x'\n")
    lines = await refused(
        tmp_path,
        *FREE[:2],
        CLOSEOUT_SMTP_PROT="25",
        CLOSEOUT_SMPT_HOST="x",
        CLOSEOUT_STATUS_DATABASE_URL="mysql://u:secret@h/d",
        CLOSEOUT_SENDER_LISTEN="here",
    )
    assert lines[0] == "closeout: nothing was started; correct these 6 settings first:"
    assert sorted(lines[1:]) == sorted(
        [
            "  settings file closeout.toml: unknown table [smpt]; did you mean [smtp]?",
            "  CLOSEOUT_SMTP_PROT: unknown setting; did you mean CLOSEOUT_SMTP_PORT?",
            "  unknown setting CLOSEOUT_SMPT_HOST; did you mean CLOSEOUT_SMTP_HOST?",
            (
                "  CLOSEOUT_STATUS_DATABASE_URL: mysql: only sqlite:///PATH and"
                " postgresql://USER@HOST/DATABASE are supported"
            ),
            "  CLOSEOUT_SENDER_LISTEN: expected HOST:PORT, as in 127.0.0.1:20051 (got 'here')",
            "  [webhook] webhook.url is not an https:// or http:// address",
        ]
    )
    assert names(tmp_path) == ["closeout.toml", "log"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"CLOSEOUT_CONFIG": "missing.toml"},
            "settings file missing.toml: No such file or directory",
        ),
        (
            {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:2", "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:2"},
            "both services are to listen on 127.0.0.1:2; give one of them another port",
        ),
        (
            {
                "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:2",
                "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0",
                "CLOSEOUT_STATUS_HTTP_LISTEN": "127.0.0.1:2",
            },
            (
                "[status]: listen and http_listen are both 127.0.0.1:2; gRPC and HTTP need a port"
                " each: change one"
            ),
        ),
        (
            {
                "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:2",
                "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0",
                "CLOSEOUT_SENDER_HTTP_LISTEN": "127.0.0.1:2",
            },
            (
                "[status] listen and [sender] http_listen are both 127.0.0.1:2; give each a port"
                " of its own"
            ),
        ),
        (
            {"CLOSEOUT_SENDER_DATABASE_URL": "sqlite:////dev/null/x.db"},
            "CLOSEOUT_SENDER_DATABASE_URL: /dev/null is not a folder; take another path",
        ),
    ],
)
async def test_one_wrong_setting_is_one_line(
    tmp_path: Path, settings: dict[str, str], expected: str
) -> None:
    """Exit code 2 and a line that names it, whichever service reads it."""
    words = FREE if "CLOSEOUT_STATUS_LISTEN" not in settings else ()
    (line,) = await refused(tmp_path, *words, **settings)
    assert line.startswith(f"closeout: nothing was started: {expected}")
    assert names(tmp_path) == ["log"]


async def test_a_file_in_place_of_the_data_folder_is_named(tmp_path: Path) -> None:
    """--data-dir is what is wrong, and not a setting that nobody made."""
    (tmp_path / "data").write_text("")
    (line,) = await refused(tmp_path, "--data-dir", "data", *FREE)
    assert line == (
        f"closeout: nothing was started: --data-dir data: {tmp_path / 'data'} is not a folder"
    )


_FROM_ELSEWHERE = ("--status-listen", "0.0.0.0:0", "--sender-listen", "127.0.0.1:0")


async def test_an_address_that_others_reach_is_refused(tmp_path: Path) -> None:
    """Without a key nobody but this machine is served; the refusal names the setting."""
    async with up(tmp_path, *_FROM_ELSEWHERE) as process, asyncio.timeout(PATIENCE_SECONDS):
        assert await process.wait() == 1
    said_last = log(tmp_path).splitlines()[-1]
    assert "the status service can't start: 0.0.0.0:0 can be reached" in said_last
    assert "allow_without_keys = true in [status]" in said_last


async def test_an_address_that_others_reach_is_warned_of(tmp_path: Path) -> None:
    """Where a setting allows it: the log says what anybody can do who reaches the port."""
    async with up(tmp_path, *_FROM_ELSEWHERE, CLOSEOUT_STATUS_ALLOW_WITHOUT_KEYS="true"):
        await said(tmp_path, "both services run")
    (warning,) = (line for line in log(tmp_path).splitlines() if "reachable_from_else" in line)
    assert "anybody who reaches it can read recipients and change campaigns" in warning


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
