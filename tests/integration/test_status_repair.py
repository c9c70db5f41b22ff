"""Campaigns made stuck by hand in each way that is diagnosed, and what mends them.

L1 says that the service itself never makes one: here the database is changed beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.errors import FailedPreconditionError
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.status_support import (
    FAILED,
    Status,
    eventually,
    reporting,
    results,
    serving,
    without_pace,
)
from status_service.campaigns import repair

SENDING, PAUSED, COMPLETED = 3, 4, 5
Diagnosis = pb.CampaignDiagnosis
_Break = Callable[[Status], Awaitable[None]]


async def _state_set_back(status: Status) -> None:
    await status.start("a", 3)
    await status.report("a", *results([1, 2]), *results([3], FAILED))
    status.execute("UPDATE campaigns SET state = 'SENDING'")


async def _state_and_time_set_back(status: Status) -> None:
    await status.start("a", 3)
    await status.report("a", *results([1, 2]), *results([3], FAILED))
    status.reopen("a")


async def _completion_never_written(status: Status) -> None:
    await status.stuck("a")


async def _paused_and_full(status: Status) -> None:
    await status.stuck("a")
    with status.database.by_hand() as connection:
        connection.execute("UPDATE campaigns SET state = 'PAUSED'")
        connection.execute(
            "INSERT INTO transitions (campaign, from_state, to_state, cause, actor, reason,"
            " create_time) SELECT campaign, 'SENDING', 'PAUSED', 'USER', '', '', 1 FROM campaigns"
        )
        connection.execute(
            "INSERT INTO events (organisation, campaign, transition, event_id, kind, create_time)"
            " SELECT 'default', max(campaign), max(transition), 'e', 'campaign.paused', 1"
            " FROM transitions"
        )


async def _counters_too_low(status: Status) -> None:
    await status.stuck("a")
    status.execute("UPDATE campaigns SET sent = sent - 2")


async def _counters_of_the_wrong_outcome(status: Status) -> None:
    await status.stuck("a")
    status.execute("UPDATE campaigns SET sent = 0, failed = 3")


_FULL: list[tuple[_Break, int]] = [
    (_state_set_back, Diagnosis.FULLY_PROCESSED),
    (_state_and_time_set_back, Diagnosis.FULLY_PROCESSED),
    (_completion_never_written, Diagnosis.FULLY_PROCESSED),
    (_paused_and_full, Diagnosis.FULLY_PROCESSED),
    (_counters_too_low, Diagnosis.COUNTER_DRIFT),
    (_counters_of_the_wrong_outcome, Diagnosis.COUNTER_DRIFT),
]
_each_way = pytest.mark.parametrize(
    ("make_stuck", "diagnosis"), _FULL, ids=[row[0].__name__ for row in _FULL]
)


async def _assert_mended(status: Status) -> None:
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.processed, campaign.pending) == (COMPLETED, 3, 0)
    assert campaign.HasField("complete_time")
    status.check_invariants()


@_each_way
async def test_s14_repair_campaigns_completes_what_is_full(
    status: Status, make_stuck: _Break, diagnosis: int
) -> None:
    """RepairCampaigns names the defect, mends it, says so, and finds nothing afterwards."""
    await make_stuck(status)
    (dry,) = (await status.client.repair_campaigns(dry_run=True)).diagnoses
    assert (dry.diagnosis, dry.repaired) == (diagnosis, True)
    assert dry.campaign.state in {SENDING, PAUSED}
    with capture_logs() as logs:
        (found,) = (await status.client.repair_campaigns()).diagnoses
    assert (found.diagnosis, found.repaired, found.needs_attention) == (diagnosis, True, False)
    assert found.campaign.state == COMPLETED
    assert found.action
    assert [line["campaign_id"] for line in logs if line["event"] == "campaign_repaired"] == ["a"]
    assert [line for line in logs if line["event"] == "campaign_fully_processed"]
    await _assert_mended(status)
    assert not (await status.client.repair_campaigns()).diagnoses


@_each_way
async def test_s14_mark_complete_completes_what_is_full(
    status: Status, make_stuck: _Break, diagnosis: int
) -> None:
    """MarkComplete counts the results themselves, so a wrong counter does not stop it."""
    assert diagnosis
    await make_stuck(status)
    answer = await status.client.mark_complete(campaign_id="a", reason="stuck")
    assert answer.transitioned
    await _assert_mended(status)
    again = await status.client.mark_complete(campaign_id="a")
    assert (again.transitioned, again.campaign) == (False, answer.campaign)


async def test_s5_a_campaign_set_back_by_hand_keeps_its_time(status: Status) -> None:
    """complete_time is written once: a repair of a campaign that had one does not move it."""
    await status.start("a", 3)
    await status.report("a", *results([1, 2, 3]))
    before = await status.client.get_campaign(campaign_id="a")
    status.execute("UPDATE campaigns SET state = 'SENDING'")
    for mend in (
        status.client.repair_campaigns,
        lambda: status.client.mark_complete(campaign_id="a"),
    ):
        await mend()
        after = await status.client.get_campaign(campaign_id="a")
        assert (after.state, after.complete_time) == (COMPLETED, before.complete_time)
        status.execute("UPDATE campaigns SET state = 'SENDING'")
    await status.client.repair_campaigns()


@_each_way
async def test_s14_the_pass_at_start_completes_what_is_full(
    database: Database, make_stuck: _Break, diagnosis: int
) -> None:
    """A service that starts on a database with a stuck campaign mends it by itself."""
    assert diagnosis
    async with serving(database) as status:
        await make_stuck(status)
    with capture_logs() as logs:
        async with serving(database) as status:

            async def is_completed() -> bool:
                campaign = await status.client.get_campaign(campaign_id="a")
                return bool(campaign.state == COMPLETED)

            await eventually(is_completed, what="the reconcile pass mends it")
            await _assert_mended(status)
    repaired = [line for line in logs if line["event"] == "campaign_repaired"]
    assert [line["log_level"] for line in repaired] == ["error"]


async def test_s14_the_pass_comes_again(database: Database) -> None:
    """A campaign that gets stuck while the service runs is mended at the next interval."""
    async with serving(database, reconcile_interval_seconds=0.1) as status:
        await status.stuck("a")

        async def is_completed() -> bool:
            return bool((await status.client.get_campaign(campaign_id="a")).state == COMPLETED)

        await eventually(is_completed, what="the reconcile pass mends it")
        await _assert_mended(status)


async def test_a_repair_reaches_streams_and_watchers(status: Status) -> None:
    """A campaign completed by repair is announced to those who listen to it."""
    await status.stuck("a")
    async with reporting(status.client) as stream:
        await stream.send("a")
        await stream.announced("a", SENDING)
        await status.client.repair_campaigns()
        await stream.announced("a", COMPLETED)


async def test_the_audit_trail_names_a_repair(status: Status) -> None:
    """A completion by repair has cause RECONCILE, its actor, and the diagnosis as reason."""
    await status.stuck("a")
    await status.client.repair_campaigns(campaign_id="a")
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert trail[-1].cause == pb.Transition.RECONCILE
    assert (trail[-1].to_state, trail[-1].reason) == (COMPLETED, "repair: FULLY_PROCESSED")
    assert trail[-1].actor


@pytest.mark.parametrize("counters", ["sent = 5", "sent = 4", "sent = 0", "sent = 1, unknown = 4"])
async def test_s1_drift_of_an_unfinished_campaign_is_counted_anew(
    status: Status, counters: str
) -> None:
    """Counters too high or too low are set to what the results say; nothing is completed."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2, 5]))
    status.execute(f"UPDATE campaigns SET {counters}")  # noqa: S608
    (found,) = (await status.client.repair_campaigns()).diagnoses
    assert (found.diagnosis, found.repaired) == (Diagnosis.COUNTER_DRIFT, True)
    assert (found.campaign.state, found.campaign.sent, found.campaign.pending) == (SENDING, 3, 2)
    status.check_invariants()
    await status.report("a", *results([3, 4]))
    assert (await status.client.get_campaign(campaign_id="a")).state == COMPLETED


@pytest.mark.parametrize("sent", [4, 5])
async def test_s3_a_counter_that_is_too_high_completes_nothing(status: Status, sent: int) -> None:
    """With a counter raised by hand the next results don't complete what lacks some."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2, 3]))
    status.execute("UPDATE campaigns SET sent = ?", sent)
    await status.report("a", *results([4]))
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.sent, campaign.pending) == (SENDING, 4, 1)
    with pytest.raises(FailedPreconditionError):
        await status.client.mark_complete(campaign_id="a")
    await status.report("a", *results([5]))
    assert (await status.client.get_campaign(campaign_id="a")).state == COMPLETED


async def test_s3_mark_complete_is_not_deceived_by_counters(status: Status) -> None:
    """A counter that says full does not complete a campaign whose results say otherwise."""
    await status.start("a", 5)
    await status.report("a", *results([1, 2]))
    status.execute("UPDATE campaigns SET sent = 5")
    with pytest.raises(FailedPreconditionError) as caught:
        await status.client.mark_complete(campaign_id="a")
    assert caught.value.metadata["missing_ranges"] == "3-5"
    assert caught.value.metadata["sent"] == "2"
    await status.client.repair_campaigns()


def _age(status: Status, *, started: timedelta, progressed: timedelta | None) -> None:
    """Move the times of the campaign back by hand."""
    start, progress = (
        None if span is None else int((datetime.now(UTC) - span).timestamp() * 1_000_000)
        for span in (started, progressed)
    )
    status.execute(
        "UPDATE campaigns SET create_time = ?, start_time = ?, progress_time = ?",
        start,
        start,
        progress,
    )


async def _only_finding(status: Status, **options: Any) -> pb.CampaignDiagnosis:
    before = without_pace(await status.client.get_campaign(campaign_id="a"))
    (found,) = (await status.client.repair_campaigns(**options)).diagnoses
    assert not found.repaired
    assert found.campaign == before
    assert before == without_pace(await status.client.get_campaign(campaign_id="a"))
    return found


async def test_a_campaign_without_progress_is_stalled_and_left_alone(status: Status) -> None:
    """STALLED names who reported last and how long ago, and needs a person."""
    await status.start("a", 5)
    await status.report("a", *results([1]), reporter="sender-3")
    _age(status, started=timedelta(hours=9), progressed=timedelta(hours=2))
    found = await _only_finding(status)
    assert (found.diagnosis, found.needs_attention) == (Diagnosis.STALLED, True)
    assert found.last_reporter == "sender-3"
    assert "sender-3 reported last" in found.explanation
    assert 7_200 <= found.idle_duration.seconds < 7_300
    assert 9 * 3_600 <= found.sending_duration.seconds < 9 * 3_600 + 100


async def test_a_slow_campaign_that_lives_is_left_alone(status: Status) -> None:
    """However old a campaign is: with a new result within the threshold it is IN_PROGRESS."""
    await status.start("a", 5)
    _age(status, started=timedelta(days=90), progressed=None)
    await status.report("a", *results([1]))
    _age(status, started=timedelta(days=90), progressed=timedelta(minutes=4))
    found = await _only_finding(status)
    assert (found.diagnosis, found.needs_attention) == (Diagnosis.IN_PROGRESS, False)
    found = await _only_finding(status, stall_threshold=timedelta(minutes=3))
    assert (found.diagnosis, found.needs_attention) == (Diagnosis.STALLED, True)


async def test_repeats_are_no_progress(status: Status) -> None:
    """Results that are sent again, or raised, do not make a stalled campaign look alive."""
    await status.start("a", 5)
    await status.report("a", *results([1], FAILED))
    _age(status, started=timedelta(hours=9), progressed=timedelta(hours=2))
    await status.report("a", *results([1], FAILED))
    await status.report("a", *results([1]))
    assert (await _only_finding(status)).diagnosis == Diagnosis.STALLED


async def test_a_campaign_without_any_result_never_started(status: Status) -> None:
    """NEVER_STARTED: sealed longer ago than the threshold, not one result, needs a person."""
    await status.start("a", 5)
    assert (await _only_finding(status)).diagnosis == Diagnosis.IN_PROGRESS
    _age(status, started=timedelta(hours=1), progressed=None)
    found = await _only_finding(status)
    assert (found.diagnosis, found.needs_attention) == (Diagnosis.NEVER_STARTED, True)
    assert found.last_reporter == ""


async def test_a_paused_campaign_is_left_alone(status: Status) -> None:
    """PAUSED, however long: its owner did it, and nobody is alarmed."""
    await status.start("a", 5)
    await status.report("a", *results([1]))
    await status.client.pause_campaign(campaign_id="a")
    _age(status, started=timedelta(days=9), progressed=timedelta(days=9))
    found = await _only_finding(status)
    assert (found.diagnosis, found.needs_attention) == (Diagnosis.PAUSED, False)


async def test_one_that_needs_a_person_is_logged_when_that_begins(database: Database) -> None:
    """The pass logs a campaign that needs attention once, not at every interval."""
    with capture_logs() as logs:
        async with serving(database, reconcile_interval_seconds=0.02) as status:
            await status.start("a", 5)
            _age(status, started=timedelta(hours=1), progressed=None)

            async def passed() -> bool:
                seen = [line["need_attention"] for line in logs if line["event"] == "reconciled"]
                return sum(seen) >= 5

            await eventually(passed, what="five passes have seen it")
    needy = [line for line in logs if line["event"] == "campaign_needs_attention"]
    assert [(line["campaign_id"], line["diagnosis"]) for line in needy] == [("a", "NEVER_STARTED")]
    assert needy[0]["organisation"] == "default"


async def test_repair_scans_all_that_is_open_and_nothing_else(status: Status) -> None:
    """One finding for each SENDING or PAUSED campaign; drafts and ended ones have none."""
    await status.client.create_campaign(campaign_id="draft")
    await status.start("done", 0)
    await status.start("sending", 1)
    await status.start("paused", 1)
    await status.client.pause_campaign(campaign_id="paused")
    await status.stuck("stuck")
    found = (await status.client.repair_campaigns()).diagnoses
    assert {(row.campaign.campaign_id, row.diagnosis) for row in found} == {
        ("sending", Diagnosis.IN_PROGRESS),
        ("paused", Diagnosis.PAUSED),
        ("stuck", Diagnosis.FULLY_PROCESSED),
    }
    answer = await status.client.repair_campaigns(campaign_id="done")
    (one,) = answer.diagnoses
    assert (one.diagnosis, one.repaired) == (Diagnosis.DIAGNOSIS_UNSPECIFIED, False)
    assert answer.open_campaigns == 0
    answer = await status.client.repair_campaigns(campaign_id="paused")
    assert answer.open_campaigns == 1


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
async def test_l5_a_locked_campaign_does_not_end_the_pass(status: Status) -> None:
    """What was found is kept, the others are repaired, and it is by a later pass."""
    for name in ("a", "b", "c"):
        await status.stuck(name)
    with status.database.by_hand() as connection:
        connection.execute("SELECT 1 FROM campaigns WHERE campaign_id = 'b' FOR UPDATE")
        answer = await status.client.repair_campaigns()
    found = {row.campaign.campaign_id: row for row in answer.diagnoses}
    assert {name: row.repaired for name, row in found.items()} == {"a": True, "b": False, "c": True}
    assert found["b"].diagnosis == Diagnosis.FULLY_PROCESSED
    assert "locked" in found["b"].action
    assert (answer.open_campaigns, answer.repaired_campaigns) == (3, 2)
    answer = await status.client.repair_campaigns()
    assert (answer.open_campaigns, answer.repaired_campaigns) == (1, 1)


async def test_an_answer_with_thousands_of_campaigns_names_the_important_ones(
    status: Status,
) -> None:
    """RepairCampaigns counts every open campaign, and shows what was repaired before the rest."""
    for number in range(3):
        await status.start(f"alive-{number}", 2)
    await status.stuck("stuck")
    status.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)"
        " INSERT INTO campaigns (organisation, campaign_id, state, total, sent, failed, skipped,"
        " unknown, revision, display_name, channel, last_reporter, create_time, start_time)"
        " SELECT 'default', 'more-' || n, 'PAUSED', 1, 0, 0, 0, 0, 1, '', '', '', 0, 0 FROM numbers"
    )
    found = await status.client.repair_campaigns()
    assert (found.open_campaigns, found.repaired_campaigns) == (2_504, 1)
    assert len(found.diagnoses) == 2_000
    assert found.diagnoses[0].campaign.campaign_id == "stuck"
    # Made by hand, without an audit trail: not for the check of what always holds.
    status.execute("DELETE FROM campaigns WHERE campaign_id LIKE 'more-%'")


async def test_a_campaign_taken_out_by_hand_does_not_end_the_pass(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is gone between the list and the look at it is left out; the others are mended."""
    await status.start("gone", 1)
    await status.stuck("stuck")
    listed = repair.open_campaigns

    def taken_out(connection: Any, organisation: str | None) -> Any:
        keys = listed(connection, organisation)
        status.execute("UPDATE campaigns SET campaign_id = 'b' WHERE campaign_id = 'gone'")
        return keys

    monkeypatch.setattr(repair, "open_campaigns", taken_out)
    found = (await status.client.repair_campaigns()).diagnoses
    assert [(row.campaign.campaign_id, row.repaired) for row in found] == [("stuck", True)]
