"""ExplainCampaign: what it says of campaigns in the database, and what it leaves alone."""

from __future__ import annotations

import pytest

from closeout.aio import StatusClient
from closeout.errors import FailedPreconditionError
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import (
    Status,
    results,
)


async def test_an_explanation_says_what_is_missing_and_what_to_do(status: Status) -> None:
    """ExplainCampaign has the diagnosis, the missing ranges up to 20, and repairs nothing."""
    await status.start("a", 100)
    await status.report("a", *results(range(2, 100, 2)), reporter="sender-7")
    explained = await status.client.explain_campaign(campaign_id="a")
    assert explained.diagnosis.diagnosis == pb.CampaignDiagnosis.IN_PROGRESS
    assert explained.diagnosis.last_reporter == "sender-7"
    assert (len(explained.missing_ranges), explained.more_missing_ranges) == (20, True)
    assert (explained.missing_ranges[1].first, explained.missing_ranges[1].last) == (3, 3)
    expected = "On course: 49 of 100 messages have a result."
    assert explained.explanation == explained.diagnosis.explanation == expected
    (found,) = (await status.client.repair_campaigns(dry_run=True)).diagnoses
    assert found.explanation == expected, "the same words"


async def test_an_explanation_of_a_large_campaign_looks_at_its_first_results(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its counters are believed, and only repair finds them wrong; far ranges are only counted."""
    monkeypatch.setattr("status_service.recording.counting.MOST_TO_ANSWER", 99)
    monkeypatch.setattr("status_service.recording.gaps._WINDOW", 2)
    await status.start("a", 100)
    await status.report("a", *results([1, *range(3, 99)]))
    explained = await status.client.explain_campaign(campaign_id="a")
    ranges = [(gap.first, gap.last) for gap in explained.missing_ranges]
    assert (ranges, explained.more_missing_ranges) == ([(2, 2)], True)
    status.execute("UPDATE campaigns SET sent = sent - 1, unknown = 1")
    explained = await status.client.explain_campaign(campaign_id="a")
    assert explained.diagnosis.diagnosis == pb.CampaignDiagnosis.IN_PROGRESS
    (found,) = (await status.client.repair_campaigns()).diagnoses
    assert (found.diagnosis, found.repaired) == (pb.CampaignDiagnosis.COUNTER_DRIFT, True)


async def test_an_explanation_of_what_is_not_open_has_no_diagnosis(status: Status) -> None:
    """A draft, a completed and a cancelled campaign are explained too, without a diagnosis."""
    await status.client.create_campaign(campaign_id="draft")
    await status.start("done", 0)
    await status.start("over", 5)
    await status.client.cancel_campaign(campaign_id="over")
    await status.start("forced", 5)
    async with StatusClient(status.address, on_behalf_of="ops@desk") as acting:
        await acting.mark_complete(campaign_id="forced", force=True, reason="gone")
    for campaign_id, word in (
        ("draft", "Not started;"),
        ("done", "Completed "),
        ("over", "Cancelled "),
        ("forced", '(ops@desk); 5 messages without a result were recorded as UNKNOWN. Reason: "'),
    ):
        explained = await status.client.explain_campaign(campaign_id=campaign_id)
        assert explained.diagnosis.diagnosis == pb.CampaignDiagnosis.DIAGNOSIS_UNSPECIFIED
        assert word in explained.explanation
    await status.stuck("stuck")
    explained = await status.client.explain_campaign(campaign_id="stuck")
    assert not explained.diagnosis.repaired
    assert explained.diagnosis.campaign.state == pb.Campaign.SENDING
    await status.client.repair_campaigns()


async def test_an_explanation_names_who_brought_a_campaign_where_it_is(status: Status) -> None:
    """Of several who paused and resumed it, the one who did so last; a scan says the same."""
    await status.start("a", 5)
    for who in ("ann@desk", "bo@desk"):
        async with StatusClient(status.address, on_behalf_of=who) as acting:
            await acting.pause_campaign(campaign_id="a")
    async with StatusClient(status.address, on_behalf_of="cy@desk") as acting:
        await acting.resume_campaign(campaign_id="a")
    async with StatusClient(status.address, on_behalf_of="di@desk") as acting:
        await acting.pause_campaign(campaign_id="a")
    explained = await status.client.explain_campaign(campaign_id="a")
    assert "(di@desk); 5 messages wait." in explained.explanation
    scan = await status.client.repair_campaigns(dry_run=True)
    assert [found.explanation for found in scan.diagnoses] == [explained.explanation]


async def test_a_campaign_of_just_so_many_messages_is_counted(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its counters are not believed: a limit that is promised as "up to" is included."""
    monkeypatch.setattr("status_service.recording.counting.MOST_TO_ANSWER", 10)
    await status.start("a", 10)
    await status.report("a", *results(range(1, 9)))
    status.execute("UPDATE campaigns SET sent = sent + 1")
    explained = await status.client.explain_campaign(campaign_id="a")
    assert explained.diagnosis.diagnosis == pb.CampaignDiagnosis.COUNTER_DRIFT
    with pytest.raises(FailedPreconditionError) as caught:
        await status.client.mark_complete(campaign_id="a", dry_run=True)
    assert caught.value.metadata["pending"] == "2"
    await status.client.repair_campaigns()
