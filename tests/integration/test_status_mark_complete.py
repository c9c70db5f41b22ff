"""MarkComplete: what it refuses, and what it records by force."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from closeout.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
)
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import (
    FAILED,
    SKIPPED,
    UNKNOWN,
    Status,
    results,
    without_pace,
)
from status_service.recording import gaps


async def test_mark_complete_says_what_is_missing(status: Status) -> None:
    """Not all processed: FAILED_PRECONDITION with the counts and the first missing ranges."""
    await status.start("a", 20)
    await status.report("a", *results([1, 2, 3, 5]), *results([9], FAILED))
    with pytest.raises(FailedPreconditionError) as caught:
        await status.client.mark_complete(campaign_id="a")
    assert caught.value.reason == "CAMPAIGN_NOT_FULLY_PROCESSED"
    assert caught.value.metadata == {
        "campaign_id": "a",
        "total": "20",
        "sent": "4",
        "failed": "1",
        "skipped": "0",
        "unknown": "0",
        "pending": "15",
        "missing_ranges": "4, 6-8, 10-20",
    }
    assert "4, 6-8, 10-20" in caught.value.message


async def test_mark_complete_of_a_completed_campaign_changes_nothing(status: Status) -> None:
    """Already COMPLETED: OK, transitioned = false, and not even the revision moves."""
    await status.start("a", 1)
    await status.report("a", *results([1]))
    before = await status.client.get_campaign(campaign_id="a")
    for force in (False, True):
        answer = await status.client.mark_complete(campaign_id="a", force=force, reason="why")
        assert (answer.transitioned, answer.campaign) == (False, before)


async def test_s1_nothing_is_forced_where_every_message_has_a_result(status: Status) -> None:
    """The audit trail tells how many messages were: none, whoever completes the campaign."""
    await status.start("a", 1)
    await status.report("a", *results([1]))
    await status.start("b", 2)
    await status.report("b", *results([1]))
    await status.client.mark_complete(campaign_id="b", force=True, reason="gone")
    completions = status.execute(
        "SELECT forced FROM transitions WHERE to_state = 'COMPLETED' ORDER BY transition"
    )
    assert [forced for (forced,) in completions] == [0, 1]


async def test_mark_complete_in_a_state_that_is_not_sent_names_it(status: Status) -> None:
    """DRAFT, SCHEDULED and CANCELLED: FAILED_PRECONDITION, CAMPAIGN_NOT_SENDING, with the state."""
    later = datetime.now(UTC) + timedelta(days=1)
    for campaign_id in ("draft", "scheduled", "cancelled"):
        await status.client.create_campaign(campaign_id=campaign_id)
    await status.client.start_campaign(campaign_id="scheduled", total=1, start_time=later)
    await status.client.cancel_campaign(campaign_id="cancelled")
    for campaign_id in ("draft", "scheduled", "cancelled"):
        with pytest.raises(FailedPreconditionError) as caught:
            await status.client.mark_complete(campaign_id=campaign_id, force=True, reason="now")
        assert caught.value.reason == "CAMPAIGN_NOT_SENDING"
        assert caught.value.metadata["state"] == campaign_id.upper()


async def test_s1_force_makes_what_is_missing_unknown_and_nothing_sent(status: Status) -> None:
    """Force records each missing message as UNKNOWN(forced) and completes; sums stay true."""
    await status.start("a", 10)
    await status.report("a", *results([2, 3]), *results([7], SKIPPED))
    answer = await status.client.mark_complete(campaign_id="a", force=True, reason="sender is gone")
    campaign = answer.campaign
    assert (answer.transitioned, campaign.state) == (True, pb.Campaign.COMPLETED)
    assert (campaign.sent, campaign.skipped, campaign.unknown) == (2, 1, 7)
    forced = [row async for row in status.client.list_results(campaign_id="a", outcomes=[UNKNOWN])]
    assert [(row.sequence, row.code) for row in forced] == [
        (number, "forced") for number in (1, 4, 5, 6, 8, 9, 10)
    ]
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert (trail[-1].cause, trail[-1].reason) == (pb.Transition.MANUAL, "sender is gone")


@pytest.mark.parametrize("reason", ["", "  "])
async def test_force_needs_a_reason(status: Status, reason: str) -> None:
    """Force without a reason is INVALID_ARGUMENT that names the field, and changes nothing."""
    await status.start("a", 1)
    with pytest.raises(InvalidArgumentError) as caught:
        await status.client.mark_complete(campaign_id="a", force=True, reason=reason)
    assert set(caught.value.field_violations) == {"reason"}


async def test_a_dry_run_of_mark_complete_answers_alike_and_changes_nothing(
    status: Status,
) -> None:
    """With dry_run MarkComplete refuses or answers as it would, and leaves the campaign alone."""
    await status.start("a", 2)
    await status.report("a", *results([1]))
    before = without_pace(await status.client.get_campaign(campaign_id="a"))
    with pytest.raises(FailedPreconditionError):
        await status.client.mark_complete(campaign_id="a", dry_run=True)
    answer = await status.client.mark_complete(
        campaign_id="a", dry_run=True, force=True, reason="try"
    )
    assert answer.transitioned
    assert without_pace(answer.campaign) == before
    assert before == without_pace(await status.client.get_campaign(campaign_id="a"))


async def test_force_finds_what_is_missing_behind_any_number_of_results(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at a bounded number of results at a time, and goes on where it stopped."""
    monkeypatch.setattr(gaps, "_WINDOW", 2)
    monkeypatch.setattr(gaps, "PAGE_WINDOWS", 1)
    await status.start("a", 12)
    await status.report("a", *results([*range(1, 8), 10]))
    async with asyncio.timeout(20.0):
        answer = await status.client.mark_complete(campaign_id="a", force=True, reason="gone")
    assert (answer.transitioned, answer.campaign.unknown) == (True, 4)
    unknown = [row async for row in status.client.list_results(campaign_id="a", outcomes=[UNKNOWN])]
    assert [row.sequence for row in unknown] == [8, 9, 11, 12]
    status.check_invariants()
