"""The calls of the status service, each by what status.proto promises of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from closeout.errors import (
    AbortedError,
    AlreadyExistsError,
    ClientError,
    FailedPreconditionError,
    InvalidArgumentError,
    from_rpc_error,
)
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from integration.status_support import (
    FAILED,
    SENT,
    SKIPPED,
    UNKNOWN,
    Status,
    results,
    serving,
    without_pace,
)

DRAFT, SCHEDULED, SENDING, PAUSED, COMPLETED, CANCELLED = range(1, 7)


async def failure(call: Any) -> ClientError:
    """Make a call that must fail, and return how it does."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_created_campaign_is_a_draft_without_a_total(status: Status) -> None:
    """CreateCampaign registers a DRAFT: unsealed, all counters 0, with its names and its time."""
    created = await status.client.create_campaign(
        campaign_id="a", display_name="Grüße", channel="smtp"
    )
    campaign = created.campaign
    assert created.created
    assert (campaign.campaign_id, campaign.display_name) == ("a", "Grüße")
    assert (campaign.channel, campaign.state, campaign.sealed) == ("smtp", DRAFT, False)
    assert not campaign.HasField("total")
    assert not campaign.HasField("pending")
    assert (campaign.processed, campaign.revision, dict(campaign.labels)) == (0, 1, {})
    assert campaign.HasField("create_time")
    assert not campaign.HasField("start_time")
    assert campaign == await status.client.get_campaign(campaign_id="a")


async def test_creating_again_with_the_same_content_answers_the_campaign_as_it_is(
    status: Status,
) -> None:
    """The same id and content again is OK, created = false, whatever state it is in by now."""
    await status.start("a", 0)
    again = await status.client.create_campaign(campaign_id="a")
    assert (again.created, again.campaign.state) == (False, COMPLETED)


async def test_an_id_taken_by_other_content_is_refused(status: Status) -> None:
    """CreateCampaign of a taken id with another name, channel or label is ALREADY_EXISTS."""
    content: dict[str, Any] = {"display_name": "one", "channel": "smtp", "labels": {"a": "1"}}
    await status.client.create_campaign(campaign_id="a", **content)
    assert not (await status.client.create_campaign(campaign_id="a", **content)).created
    changes: list[dict[str, Any]] = [
        {"display_name": "two"},
        {"channel": ""},
        {"labels": {}},
        {"labels": {"a": "2"}},
        {"labels": {"a": "1", "b": ""}},
    ]
    for change in changes:
        other = content | change
        with pytest.raises(AlreadyExistsError) as caught:
            await status.client.create_campaign(campaign_id="a", **other)
        assert caught.value.reason == "CAMPAIGN_ALREADY_EXISTS"
        assert caught.value.metadata == {"campaign_id": "a"}


async def test_a_request_id_makes_a_chosen_id_safe_to_repeat(status: Status) -> None:
    """Without an id the service chooses one; the same request_id answers the same campaign."""
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    first = await status.client.create_campaign(display_name="x", request_id=one)
    again = await status.client.create_campaign(display_name="x", request_id=one.upper())
    other = await status.client.create_campaign(display_name="x", request_id=two)
    unasked = await status.stub.CreateCampaign(pb.CreateCampaignRequest(display_name="x"))
    ids = {created.campaign.campaign_id for created in (first, again, other, unasked)}
    assert (first.created, again.created, len(ids)) == (True, False, 3)


async def test_a_request_id_beside_ids_of_the_callers_own_is_no_conflict(status: Status) -> None:
    """Two campaigns with ids of their own may come with one request_id."""
    request_id = str(uuid.uuid4())
    for campaign_id in ("a", "b"):
        created = await status.client.create_campaign(
            campaign_id=campaign_id, request_id=request_id
        )
        assert created.created


async def test_starting_seals_the_total_and_is_idempotent(status: Status) -> None:
    """StartCampaign brings a DRAFT to SENDING; the same total again changes nothing."""
    await status.client.create_campaign(campaign_id="a")
    started = await status.client.start_campaign(campaign_id="a", total=3)
    again = await status.client.start_campaign(campaign_id="a", total=3)
    assert (started.transitioned, again.transitioned) == (True, False)
    assert started.campaign == again.campaign
    assert (again.campaign.state, again.campaign.sealed) == (SENDING, True)
    assert (again.campaign.total, again.campaign.pending) == (3, 3)


async def test_another_total_than_the_sealed_one_is_refused(status: Status) -> None:
    """A second seal with another total is FAILED_PRECONDITION, in every state after the first."""
    await status.start("a", 3)
    for prepare in (None, status.client.pause_campaign):
        if prepare is not None:
            await prepare(campaign_id="a")
        with pytest.raises(FailedPreconditionError) as caught:
            await status.client.start_campaign(campaign_id="a", total=4)
        assert caught.value.reason == "CAMPAIGN_SEALED"
        assert caught.value.metadata == {"campaign_id": "a", "total": "3", "given": "4"}


async def test_s3_an_empty_campaign_completes_at_the_seal(status: Status) -> None:
    """A campaign of 0 messages is COMPLETED by StartCampaign itself, cause SEAL."""
    await status.client.create_campaign(campaign_id="a")
    started = await status.client.start_campaign(campaign_id="a", total=0)
    assert (started.campaign.state, started.transitioned) == (COMPLETED, True)
    trail = [step async for step in status.client.list_transitions(campaign_id="a")]
    assert [(step.from_state, step.to_state) for step in trail] == [
        (0, DRAFT),
        (DRAFT, SENDING),
        (SENDING, COMPLETED),
    ]
    assert {step.cause for step in trail[1:]} == {pb.Transition.SEAL}
    again = await status.client.start_campaign(campaign_id="a", total=0)
    assert not again.transitioned


async def test_s6_pause_resume_and_cancel_are_idempotent_and_guarded(status: Status) -> None:
    """Each call brings a campaign to its state, says if it did, and is refused elsewhere."""
    client = status.client
    await status.start("a", 2)
    steps: list[tuple[Callable[..., Any], int, bool]] = [
        (client.pause_campaign, PAUSED, True),
        (client.pause_campaign, PAUSED, False),
        (client.resume_campaign, SENDING, True),
        (client.resume_campaign, SENDING, False),
        (client.cancel_campaign, CANCELLED, True),
        (client.cancel_campaign, CANCELLED, False),
    ]
    for call, state, transitioned in steps:
        answer = await call(campaign_id="a", reason="because")
        assert (answer.campaign.state, answer.transitioned) == (state, transitioned)
    for call in (client.pause_campaign, client.resume_campaign):
        with pytest.raises(FailedPreconditionError) as caught:
            await call(campaign_id="a")
        assert caught.value.reason == "TRANSITION_NOT_ALLOWED"
        assert caught.value.metadata["state"] == "CANCELLED"
    trail = [step async for step in client.list_transitions(campaign_id="a")]
    assert [step.to_state for step in trail] == [DRAFT, SENDING, PAUSED, SENDING, CANCELLED]
    assert {step.reason for step in trail[2:]} == {"because"}
    assert all(step.actor for step in trail)


async def test_s6_resuming_does_not_start_a_campaign_that_was_never_sealed(status: Status) -> None:
    """ResumeCampaign and PauseCampaign of a DRAFT or SCHEDULED campaign are refused."""
    await status.client.create_campaign(campaign_id="draft")
    await status.client.create_campaign(campaign_id="later")
    await status.client.start_campaign(
        campaign_id="later", total=1, start_time=datetime.now(UTC) + timedelta(days=1)
    )
    for campaign_id in ("draft", "later"):
        for call in (status.client.resume_campaign, status.client.pause_campaign):
            with pytest.raises(FailedPreconditionError):
                await call(campaign_id=campaign_id)
        cancelled = await status.client.cancel_campaign(campaign_id=campaign_id)
        assert cancelled.transitioned
        with pytest.raises(FailedPreconditionError) as caught:
            await status.client.start_campaign(campaign_id=campaign_id, total=1)
        assert caught.value.reason == "TRANSITION_NOT_ALLOWED"


async def test_s6_nothing_leads_out_of_completed(status: Status) -> None:
    """Pause, resume and cancel of a COMPLETED campaign are refused; its state stays."""
    await status.start("a", 0)
    for call in (
        status.client.pause_campaign,
        status.client.resume_campaign,
        status.client.cancel_campaign,
    ):
        with pytest.raises(FailedPreconditionError):
            await call(campaign_id="a")
    assert (await status.client.get_campaign(campaign_id="a")).state == COMPLETED


async def test_l1_a_paused_campaign_completes_with_its_last_result(status: Status) -> None:
    """Results of what was in flight complete a PAUSED campaign: nothing is left to pause."""
    await status.start("a", 2)
    await status.report("a", *results([1]))
    await status.client.pause_campaign(campaign_id="a")
    await status.report("a", *results([2], FAILED))
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.sent, campaign.failed) == (COMPLETED, 1, 1)


async def test_s6_a_cancelled_campaign_takes_results_and_stays_cancelled(status: Status) -> None:
    """Late results of a CANCELLED campaign are counted; even the last one does not complete it."""
    await status.start("a", 2)
    await status.client.cancel_campaign(campaign_id="a")
    await status.report("a", *results([1]), *results([2], SKIPPED, code="cancelled"))
    campaign = await status.client.get_campaign(campaign_id="a")
    assert (campaign.state, campaign.processed, campaign.pending) == (CANCELLED, 2, 0)
    assert not campaign.HasField("complete_time")


async def test_s5_a_better_result_after_completion_corrects_counters_and_nothing_else(
    status: Status,
) -> None:
    """UNKNOWN raised to SENT after COMPLETED moves counters; state and complete_time stay."""
    await status.start("a", 1)
    await status.report("a", *results([1], UNKNOWN))
    before = await status.client.get_campaign(campaign_id="a")
    await status.report("a", *results([1], SENT))
    after = await status.client.get_campaign(campaign_id="a")
    assert (before.unknown, after.unknown, after.sent) == (1, 0, 1)
    assert (after.state, after.complete_time) == (COMPLETED, before.complete_time)
    assert after.revision > before.revision
    status.check_invariants(raised_late=[("a", 1)])
    # What the fixture checks at the end knows nothing of it.
    status.execute("UPDATE results SET record_time = 0")


async def test_a_revision_is_the_condition_of_every_change(status: Status) -> None:
    """A stale one is ABORTED, REVISION_MISMATCH, and changes nothing; the current one is not."""
    client = status.client
    await client.create_campaign(campaign_id="a")
    calls: list[tuple[Callable[..., Any], dict[str, Any], int]] = [
        (client.start_campaign, {"total": 1}, SENDING),
        (client.pause_campaign, {}, PAUSED),
        (client.resume_campaign, {}, SENDING),
        (client.mark_complete, {"force": True, "reason": "x", "dry_run": True}, SENDING),
        (client.mark_complete, {"force": True, "reason": "x"}, COMPLETED),
    ]
    for call, fields, state in calls:
        before = await client.get_campaign(campaign_id="a")
        for wrong in (before.revision + 1, before.revision - 1 or 99):
            with pytest.raises(AbortedError) as caught:
                await call(campaign_id="a", revision=wrong, **fields)
            assert caught.value.reason == "REVISION_MISMATCH"
            assert caught.value.metadata == {
                "campaign_id": "a",
                "revision": str(before.revision),
                "given": str(wrong),
            }
        assert without_pace(await client.get_campaign(campaign_id="a")) == without_pace(before)
        answer = await call(campaign_id="a", revision=before.revision, **fields)
        assert (answer.campaign.state, answer.transitioned) == (state, True)
    await status.start("b", 1)
    with pytest.raises(AbortedError):
        await client.cancel_campaign(campaign_id="b", revision=1)
    answer = await client.cancel_campaign(campaign_id="b", revision=2)
    assert answer.campaign.state == CANCELLED


async def test_the_largest_total_can_be_started_listed_and_explained(database: Database) -> None:
    """Numbers near the largest total neither overflow nor take long."""
    async with serving(database, largest_total=2**53) as status:
        await status.start("a", 2**53)
        await status.report("a", *results([2**53, 1]))
        missing = [gap async for gap in status.client.list_missing_ranges(campaign_id="a")]
        assert [(gap.first, gap.last) for gap in missing] == [(2, 2**53 - 1)]
        campaign = await status.client.get_campaign(campaign_id="a")
        assert campaign.pending == 2**53 - 2
        with pytest.raises(FailedPreconditionError) as caught:
            await status.client.mark_complete(campaign_id="a")
        assert caught.value.metadata["missing_ranges"] == f"2-{2**53 - 1}"


async def test_b1_more_messages_than_the_largest_total_are_refused(database: Database) -> None:
    """Start says what to do; a campaign that is sealed with more already keeps working."""
    async with serving(database) as status:
        await status.client.create_campaign(campaign_id="a")
        with pytest.raises(InvalidArgumentError) as caught:
            await status.client.start_campaign(campaign_id="a", total=100_000_001)
        assert "raise largest_total" in caught.value.message
        await status.client.start_campaign(campaign_id="a", total=100_000_000)
    async with serving(database, largest_total=5) as status:
        again = await status.client.start_campaign(campaign_id="a", total=100_000_000)
        assert not again.transitioned
        await status.report("a", *results([100_000_000]))


async def test_the_generation_belongs_to_the_database(
    new_database: Callable[[], Database],
) -> None:
    """A restart on the same database keeps the store's generation; a new one has another."""
    seen = []
    one, two = new_database(), new_database()
    for database in (one, one, two):
        async with serving(database) as service:
            await service.client.create_campaign(campaign_id="a")
            await service.client.start_campaign(campaign_id="a", total=1)
            call = service.client.report_results()
            await call.write(pb.ReportResultsRequest(frame=1, campaign_id="a"))
            await call.done_writing()
            generations = {
                answer.store_generation async for answer in call
            }  # to the end of the stream
            assert len(generations) == 1
            seen += generations
    assert seen[0]
    assert seen[0] == seen[1] != seen[2]
