"""What ``closeout up`` refuses to start with: ports in use, wrong settings, open addresses."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from integration.cli_support import PATIENCE_SECONDS
from integration.cli_up_support import (
    FREE,
    log,
    names,
    said,
    up,
)

if TYPE_CHECKING:
    from pathlib import Path


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
