"""examples/report_results.py: what we show to people who have a sender of their own."""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from closeout.aio import StatusClient
from closeout.errors import UnavailableError
from closeout.status.v1.status_pb2 import Campaign, Result
from providers.held_port import HeldPort
from status_service.server import running
from status_service.settings import Settings, StatusSettings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "report_results.py"


@pytest.fixture
def example() -> dict[str, Any]:
    """The functions of the example."""
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A status service on a port that stays its own, with a database of its own."""
    with HeldPort() as port:
        yield Settings(
            status=StatusSettings(
                http_listen="127.0.0.1:0",
                listen=port.address,
                database_url=f"sqlite:///{tmp_path / 'status.db'}",
            )
        )


@pytest.fixture
async def address(settings: Settings) -> AsyncIterator[str]:
    """The address of a running status service."""
    async with running(settings) as service:
        yield service.address


async def test_the_script_completes_its_campaign(address: str) -> None:
    """Run as the README says, it reports every message and prints COMPLETED."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), address, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.decode().split(maxsplit=1)[1] == (
        "COMPLETED total=2000 sent=1980 failed=20 skipped=0 unknown=0\n"
    )


@pytest.mark.parametrize("name", ["report_results.py", "report_results_sync.py"])
async def test_without_a_service_the_script_says_so_in_one_line(name: str) -> None:
    """The line names the address and what to start; there is no stack."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE.with_name(name)), "127.0.0.1:1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert errors.decode() == (
        "no status service answers at 127.0.0.1:1; start it with `closeout up`,"
        " or name its address\n"
    )


async def test_reporting_again_changes_nothing(address: str, example: dict[str, Any]) -> None:
    """A sender that is not sure repeats everything, in frames cut differently."""
    async with StatusClient(address) as status:
        await status.create_campaign(campaign_id="again", channel="mine")
        await status.start_campaign(campaign_id="again", total=1_200)
        results = [example["send"](sequence) for sequence in range(1, 1_201)]
        await example["report"](status, "again", results[:700])
        await example["report"](status, "again", results)
        first = await status.get_campaign(campaign_id="again")
        await example["report"](status, "again", results[::-1])
        assert await status.get_campaign(campaign_id="again") == first
    assert (first.state, first.sent, first.failed) == (Campaign.COMPLETED, 1_188, 12)


async def test_a_refused_frame_says_why(address: str, example: dict[str, Any]) -> None:
    """A sender that numbers its messages wrongly gets an error."""
    async with StatusClient(address) as status:
        await status.create_campaign(campaign_id="refused", channel="mine")
        await status.start_campaign(campaign_id="refused", total=3)
        with pytest.raises(RuntimeError, match="SEQUENCE_OUT_OF_RANGE"):
            await example["report"](status, "refused", [Result(sequence=4, outcome=Result.SENT)])


async def test_a_service_that_went_away_is_unavailable(
    settings: Settings, example: dict[str, Any]
) -> None:
    """The error is the one after which everything may be reported again."""
    async with running(settings) as service:
        gone = service.address
    async with StatusClient(gone) as status:
        with pytest.raises(UnavailableError):
            await example["report"](status, "any", [Result(sequence=1, outcome=Result.SENT)])


async def test_results_before_the_start_may_be_reported_again(
    address: str, example: dict[str, Any]
) -> None:
    """A frame that is refused for now is no failure of the sender: the error says try again."""
    results = [Result(sequence=1, outcome=Result.SENT)]
    async with StatusClient(address) as status:
        await status.create_campaign(campaign_id="early", channel="mine")
        with pytest.raises(UnavailableError) as caught:
            await example["report"](status, "early", results)
        assert caught.value.reason == "CAMPAIGN_NOT_SEALED"
        await status.start_campaign(campaign_id="early", total=1)
        await example["report"](status, "early", results)
        assert (await status.get_campaign(campaign_id="early")).state == Campaign.COMPLETED
