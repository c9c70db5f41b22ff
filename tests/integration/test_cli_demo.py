"""``closeout demo``: it ends with the counters, agrees with the provider, leaves nothing."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from integration.cli_support import clean_environment, started
from providers.plain_http import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

LAST_LINE = re.compile(r"COMPLETED total=1935 sent=(\d+) failed=(\d+) skipped=0 unknown=0")


def demo(folder: Path, *words: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """Run the demo with a folder of its own for temporary files."""
    folder.mkdir()
    return started(
        "demo",
        *words,
        folder=folder.parent,
        environment={**clean_environment(), "TMPDIR": str(folder)},
    )


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """Start programs that heed Ctrl-C also where the tests run in the background of a script.

    There it is ignored, and what ignores it passes that on to what it starts.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


async def test_two_demos_at_once_end_well_and_leave_nothing(tmp_path: Path) -> None:
    """Of one that is kept, the pages answer until a signal; the other one ends by itself."""
    folders = [tmp_path / "one", tmp_path / "two"]
    async with demo(folders[0]) as one, demo(folders[1], "--keep") as kept:
        (out, err), address = await asyncio.gather(one.communicate(), _address_of(kept))
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            page = (await http.get(address)).text
        kept.send_signal(signal.SIGTERM)
        await kept.communicate()
    assert "Stuck by hand" in page
    assert "1,935 of 1,935" in page
    assert (one.returncode, kept.returncode, err) == (0, 0, b""), out
    _check_what_was_printed(out.decode())
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


async def _address_of(kept: asyncio.subprocess.Process) -> str:
    """Return where the dashboard of a demo is, once its campaigns have ended."""
    assert kept.stdout is not None
    async for line in kept.stdout:
        if b"until Ctrl-C: " in line:
            return line.decode().rpartition(" ")[2].strip()
    raise AssertionError("the demo ended without an address")


def _check_what_was_printed(text: str) -> None:
    """Check the last lines, which are the campaign's and the dashboard's, and the repairs."""
    lines = text.splitlines()
    last = LAST_LINE.fullmatch(lines[-2])
    assert last is not None
    assert re.match(r"The dashboard was at http://127\.0\.0\.1:\d+/ ", lines[-1])
    assert int(last[1]) + int(last[2]) == 1935
    assert f"Checked: the provider accepted {last[1]} messages" in text
    assert "FAILED with 550" in text
    assert re.search(r"The first of them is message \d+, C\d+ \S+@\S+; `closeout res", text)
    assert "no result for 401-420, 981-1000" in text
    assert "stuck\tFULLY_PROCESSED\tfixed\t" in text
    assert "\tSENDING\tCOMPLETED\tRECONCILE\t" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("heeding_interrupts")
async def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Services and files are gone, whenever the signal comes."""
    async with demo(tmp_path / "one") as process:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"sender service listening"):
                break
        services = psutil.Process(process.pid).children()
        process.send_signal(number)
        await process.communicate()
    assert process.returncode == 130
    assert len(services) >= 3
    assert not [service for service in services if service.is_running()]
    assert list((tmp_path / "one").iterdir()) == []
