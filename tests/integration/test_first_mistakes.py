"""What people get wrong in their first hour: each mistake is answered with what to do next."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from closeout_cli.__main__ import main
from integration.cli_support import PATIENCE_SECONDS, clean_environment
from integration.status_support import serving
from providers.held_port import HeldPort
from service_runtime.errors import ScopeMissingError
from status_service.settings import StatusSettings


def _ended(folder: Path, **settings: str) -> tuple[int, str]:
    """Run a status service that can't start; return its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "status_service"],
        cwd=folder,
        env=clean_environment() | settings,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr


async def test_a_port_of_http_that_is_taken_is_one_line(tmp_path: Path) -> None:
    """It names who has the port, and no traceback of the server of gRPC follows."""
    async with serving(tmp_path) as running:
        settings = {
            "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
            "CLOSEOUT_STATUS_HTTP_LISTEN": running.http_address,
        }
        code, said = await asyncio.to_thread(_ended, tmp_path, **settings)
    assert code == 2
    line = said.splitlines()[-1]
    assert line.startswith(
        f"can't listen on {running.http_address}: in use by process {os.getpid()}"
    )
    assert "Traceback" not in said


def test_grpc_and_http_need_a_port_each() -> None:
    """Both settings are named, before anything listens; any free port is another one each time."""
    with HeldPort() as port, pytest.raises(ValueError, match=r"listen and http_listen are both"):
        StatusSettings(listen=port.address, http_listen=port.address)
    StatusSettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0")


async def test_the_port_of_http_is_no_place_for_grpc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says that it is the wrong port, and which ones are right."""
    async with serving(tmp_path) as running:
        words = ["list", "--status-address", running.http_address]
        assert await asyncio.to_thread(main, words) == 5
    assert "name the port of gRPC, by default 20051" in capsys.readouterr().err


def test_a_key_for_all_organisations_is_made_on_the_machine() -> None:
    """Another key can't make it, so that is no advice."""
    assert "closeout keys create --admin --scope service" in str(ScopeMissingError("service"))
    assert "closeout keys create --scope repair" in str(ScopeMissingError("repair"))
