"""B1, S3: MarkComplete of a campaign with missing results is refused, and what that costs."""

from __future__ import annotations

from typing import Any

import pytest

from closeout.errors import FailedPreconditionError
from integration.status_support import Status, results
from status_service.recording import counting, result_rows


async def test_b1_a_refusal_takes_no_lock(status: Status) -> None:
    """MarkComplete of a campaign with missing results is refused while others hold the lock."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2, 4]))
    with status.database.held(), pytest.raises(FailedPreconditionError) as caught:
        await status.client.mark_complete(campaign_id="a")
    assert caught.value.metadata["missing_ranges"] == "3, 5"


async def test_b1_what_is_missing_is_enough_to_refuse(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results of a large campaign are not counted where the first gaps say enough."""

    def unexpected(*_: Any) -> Any:
        raise AssertionError("results are counted")

    monkeypatch.setattr(counting, "MOST_TO_ANSWER", 4)
    await status.start("a", 30)
    await status.report("a", *results([1, 2, 4]))
    with monkeypatch.context() as patched:
        patched.setattr(result_rows, "count", unexpected)
        with pytest.raises(FailedPreconditionError) as caught:
            await status.client.mark_complete(campaign_id="a")
        assert caught.value.metadata["missing_ranges"] == "3, 5-30"
        assert caught.value.metadata["pending"] == "27"
        await status.report("a", *results(range(6, 30, 2)))
        with pytest.raises(FailedPreconditionError) as caught:
            await status.client.mark_complete(campaign_id="a", dry_run=True)
        named = [3, *range(5, 23, 2)]
        assert caught.value.metadata["missing_ranges"] == ", ".join(map(str, named))


@pytest.mark.parametrize("sent", [27, 29, 30])
async def test_s3_a_wrong_counter_of_a_large_campaign_decides_nothing(
    status: Status, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    """Where the counters say something else than the results, the results are counted."""
    monkeypatch.setattr(counting, "MOST_TO_ANSWER", 4)
    await status.start("a", 30)
    await status.report("a", *results([*range(1, 15), *range(16, 30)]))
    status.execute("UPDATE campaigns SET sent = ?", sent)
    with pytest.raises(FailedPreconditionError) as caught:
        await status.client.mark_complete(campaign_id="a")
    assert caught.value.metadata["missing_ranges"] == "15, 30"
    if sent != 29:
        assert caught.value.metadata["sent"] == "28"
    await status.report("a", *results([15, 30]))
    status.execute("UPDATE campaigns SET sent = ?, state = 'SENDING'", min(sent, 29))
    assert (await status.client.mark_complete(campaign_id="a")).campaign.sent == 30
    status.check_invariants()
