"""``closeout demo``: it ends with the counters, agrees with the provider, leaves nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

LAST_LINE = re.compile(r"COMPLETED total=1935 sent=(\d+) failed=(\d+) skipped=0 unknown=0")


async def demo(folder: Path) -> asyncio.subprocess.Process:
    """Start the demo with a folder of its own for temporary files."""
    await asyncio.to_thread(folder.mkdir)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clients", "demo"),
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_two_demos_at_once_end_well_and_leave_nothing(tmp_path: Path) -> None:
    """The last line is the campaign's; the parts about repair show what they promise."""
    folders = [tmp_path / "one", tmp_path / "two"]
    demos = [await demo(folder) for folder in folders]
    async with asyncio.timeout(180):
        printed = [await process.communicate() for process in demos]
    for process, (out, err) in zip(demos, printed, strict=True):
        text = out.decode()
        assert process.returncode == 0, text
        assert err == b""
        lines = text.splitlines()
        last = LAST_LINE.fullmatch(lines[-1])
        assert last is not None
        assert int(last[1]) + int(last[2]) == 1935
        assert f"Checked: the provider accepted {last[1]} messages" in text
        assert "FAILED with 550" in text
        assert "no result for 401-420, 981-1000" in text
        assert "fixed: stuck: " in text
        assert "SENDING -> COMPLETED  RECONCILE" in text
        assert "\x1b" not in text
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Services and files are gone, whenever the signal comes."""
    process = await demo(tmp_path / "one")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while not (await process.stdout.readline()).startswith(b"sender service listening"):
            pass
        services = psutil.Process(process.pid).children()
        process.send_signal(number)
        await process.communicate()
    assert process.returncode == 130
    assert len(services) >= 3
    assert not [service for service in services if service.is_running()]
    assert list((tmp_path / "one").iterdir()) == []
