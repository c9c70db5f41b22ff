"""``closeout delete`` and ``closeout erase`` beside both services, as scripts use them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.cli_support import clean_environment, finished
from integration.sender_pair import Pair, pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with one campaign that has ended and one draft."""
    async with pair(tmp_path) as started:
        await started.begin("c1", 3)
        await started.finished("c1")
        await started.create("draft", 2)
        yield started


async def closeout(both: Pair, *words: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, output and errors."""
    own = {
        "CLOSEOUT_SENDER_STATUS_ADDRESS": both.status_address,
        "CLOSEOUT_SENDER_LISTEN": both.sender_address,
    }
    return await finished(*words, folder=both.folder, environment={**clean_environment(), **own})


async def test_delete_takes_a_campaign_from_both_services(both: Pair) -> None:
    """A dry run changes nothing, a repeat is no failure, and what is open is refused."""
    would = await closeout(both, "delete", "c1", "--dry-run")
    assert would == (0, "c1: would be deleted (3 results, 3 recipients)\n", "")
    code, out, _ = await closeout(both, "delete", "c1", "--reason", "old", "--json")
    assert (code, json.loads(out)["recipients"]) == (0, "3")
    again = await closeout(both, "delete", "c1")
    assert again == (0, "c1: already deleted (3 results, 0 recipients)\n", "")
    code, _, error = await closeout(both, "delete", "draft")
    assert code == 1
    assert "closeout cancel draft" in error


async def test_erase_counts_and_names_what_is_open(both: Pair) -> None:
    """Exit code 3 where a campaign that has not ended has the address still."""
    address = "p1@example.com"
    would = await closeout(both, "erase", address, "--dry-run")
    assert would[0] == 3
    assert would[1].splitlines() == [
        "would be erased: 1 recipient, 1 outcome, 0 results that named it",
        "draft has the address and has not ended: erase it again once it has",
    ]
    code, out, _ = await closeout(both, "erase", address, "--json")
    assert (code, json.loads(out)["recipients"]) == (3, "1")
    code, out, _ = await closeout(both, "erase", "nobody@example.com")
    assert (code, out) == (0, "erased: 0 recipients, 0 outcomes, 0 results that named it\n")
