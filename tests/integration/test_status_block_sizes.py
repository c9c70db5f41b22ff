"""B1: how much a transaction of a long call takes follows the speed of the database."""

from __future__ import annotations

from typing import Any

import pytest

from integration.status_support import Status
from status_service.campaigns import manual_completion, mark_complete
from status_service.recording import block_size, result_rows


@pytest.mark.parametrize(
    ("target", "sizes"), [(1e9, [2, 4, 8, 6]), (0.0, [2] * 10)], ids=["quick", "slow"]
)
async def test_b1_the_blocks_of_a_slow_database_are_smaller(
    status: Status, monkeypatch: pytest.MonkeyPatch, target: float, sizes: list[int]
) -> None:
    """How many messages a transaction records depends on how long the last one took."""
    monkeypatch.setattr(mark_complete, "BLOCK", 8)
    monkeypatch.setattr(block_size, "_LEAST", 2)
    for kind in ("sqlite", "postgresql"):
        monkeypatch.setitem(manual_completion._TARGET_SECONDS, kind, target)
    filled: list[int] = []
    fill = result_rows.fill

    def noted(*arguments: Any, **options: Any) -> int:
        filled.append(fill(*arguments, **options))
        return filled[-1]

    monkeypatch.setattr(result_rows, "fill", noted)
    await status.start("a", 20)
    await status.client.mark_complete(campaign_id="a", force=True, reason="gone")
    assert filled == sizes
    status.check_invariants()
    with status.database.by_hand() as hand:
        (forced,) = hand.execute(
            "SELECT forced FROM transitions WHERE to_state = 'COMPLETED'"
        ).fetchone()
    assert forced == 20, "the audit trail has those of all blocks"
