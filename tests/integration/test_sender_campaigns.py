"""Campaigns from creation to their end, through both services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from closeout.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from closeout.sender.v1 import sender_pb2 as pb
from integration import sender_support as support
from integration.sender_pair import State, pair, problem_text

if TYPE_CHECKING:
    from pathlib import Path

Phase = pb.GetDeliveryResponse.Phase


async def test_a_campaign_is_sent_counted_and_closed(tmp_path: Path) -> None:
    """The main job: every message gets its result, and the campaign completes by itself."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda m: support.REFUSED if m.sequence == 3 else support.ACCEPTED
        await both.begin("c1", 120)
        campaign = await both.ended("c1")
        assert campaign.state == State.COMPLETED
        assert (campaign.total, campaign.sent, campaign.failed) == (120, 119, 1)
        delivery = await both.finished("c1")
        shards = [shard async for shard in both.sender.list_shards(campaign_id="c1")]
        assert [shard.last_sequence for shard in shards] == [50, 100, 120]
        assert (delivery.in_doubt, delivery.deferred, delivery.unreported) == (0, 0, 0)
        results = await both.results("c1")
        assert results[3].code == "550"
        assert results[1].provider_message_id == "p-1"
        age = datetime.now(UTC) - results[1].finish_time.ToDatetime(tzinfo=UTC)
        assert timedelta(0) <= age < timedelta(minutes=1)


async def test_a_campaign_without_recipients_is_complete_at_once(tmp_path: Path) -> None:
    """An empty audience is sent to nobody and waits for nothing."""
    async with pair(tmp_path) as both:
        await both.sender.create_campaign(campaign_id="c1", channel="scripted")
        started = await both.sender.start_campaign(campaign_id="c1")
        assert (started.total, started.transitioned) == (0, True)
        assert (await both.ended("c1")).state == State.COMPLETED
        assert (await both.finished("c1")).total == 0


async def test_the_audit_trail_says_for_whom_a_campaign_is_sent(tmp_path: Path) -> None:
    """Who creates, starts and resends through the sender stands in the status service's trail."""
    async with pair(tmp_path) as both:
        kim = both.sender.acting_for("kim@desk")
        await kim.create_campaign(campaign_id="c1", channel="scripted")
        await kim.upload_recipients(
            campaign_id="c1", upload_id="u", batches=[[pb.Recipient(address="a@example.com")]]
        )
        await kim.start_campaign(campaign_id="c1")
        await both.ended("c1")
        await both.finished("c1")
        await kim.resend_campaign(source_campaign_id="c1", outcomes=["SENT"], campaign_id="c2")
        trail = [step async for step in both.status.list_transitions(campaign_id="c1")]
        again = [step async for step in both.status.list_transitions(campaign_id="c2")]
    assert [(step.to_state, step.on_behalf_of) for step in trail] == [
        (State.DRAFT, "kim@desk"),
        (State.SENDING, "kim@desk"),
        (State.COMPLETED, ""),
    ]
    assert [step.on_behalf_of for step in again] == ["kim@desk"]


async def test_create_and_start_may_be_repeated(tmp_path: Path) -> None:
    """The same call again changes nothing and says so; other content is refused."""
    async with pair(tmp_path) as both:
        await both.begin("c1", 2)
        again = await both.sender.create_campaign(
            campaign_id="c1",
            channel="scripted",
            body=pb.EmailContent(subject="Hello"),
            options=both.options,
        )
        assert not again.created
        assert not (await both.sender.start_campaign(campaign_id="c1")).transitioned
        with pytest.raises(AlreadyExistsError) as refused:
            await both.sender.create_campaign(
                campaign_id="c1", channel="scripted", body=pb.EmailContent(subject="Other")
            )
        assert refused.value.reason == "CAMPAIGN_ALREADY_EXISTS"
        await both.finished("c1")
        assert not (await both.sender.start_campaign(campaign_id="c1")).transitioned
        assert len(both.channel.calls) == 2


async def test_a_campaign_that_was_started_elsewhere_is_not_taken_over(tmp_path: Path) -> None:
    """It was sealed for other recipients than those that would be uploaded; a draft is taken."""
    async with pair(tmp_path) as both:
        for name in ("sealed", "draft"):
            await both.status.create_campaign(campaign_id=name, channel="scripted")
        await both.status.start_campaign(campaign_id="sealed", total=3)
        with pytest.raises(AlreadyExistsError) as refused:
            await both.create("sealed", 3)
        assert refused.value.reason == "CAMPAIGN_ALREADY_EXISTS"
        await both.begin("draft", 1)
        assert (await both.ended("draft")).sent == 1
        assert (await both.status.get_campaign(campaign_id="sealed")).pending == 3
        assert len(both.channel.calls) == 1


async def test_a_request_id_makes_a_chosen_id_repeatable(tmp_path: Path) -> None:
    """Without a campaign_id the service chooses one, the same for the same request."""
    async with pair(tmp_path) as both:
        request_id = "6a0c4e3b-6b54-4f30-9e0f-0a1c8c8c3f10"
        calls = [
            await both.sender.create_campaign(channel="scripted", request_id=request_id)
            for _ in range(2)
        ]
        assert [call.created for call in calls] == [True, False]
        assert calls[0].campaign_id == calls[1].campaign_id != ""


async def test_validate_only_stores_nothing(tmp_path: Path) -> None:
    """A preview is rendered for the recipient given, and no campaign comes of it."""
    async with pair(tmp_path) as both:
        response = await both.sender.create_campaign(
            campaign_id="c1",
            channel="scripted",
            body=pb.EmailContent(subject="Hello"),
            validate_only=True,
            preview_recipient=pb.Recipient(address=" Ann@Example.com "),
        )
        assert response.preview == "Hello to ann@example.com"
        assert (response.campaign_id, response.created) == ("", False)
        with pytest.raises(NotFoundError):
            await both.sender.get_delivery(campaign_id="c1")
        with pytest.raises(NotFoundError):
            await both.status.get_campaign(campaign_id="c1")


async def test_bad_requests_are_refused_with_their_reason(tmp_path: Path) -> None:
    """Unknown campaigns and channels, missing ids, gaps and empty uploads."""
    async with pair(tmp_path) as both:
        with pytest.raises(InvalidArgumentError) as refused:
            await both.sender.create_campaign(channel="fax")
        assert refused.value.reason == "CHANNEL_NOT_FOUND"
        assert refused.value.metadata["installed"] == "scripted"
        with pytest.raises(NotFoundError):
            await both.sender.start_campaign(campaign_id="nobody")
        with pytest.raises(InvalidArgumentError):
            await both.sender.start_campaign(campaign_id="")
        with pytest.raises(NotFoundError):
            await both.sender.upload_recipients(campaign_id="nobody", upload_id="u", batches=[[]])
        with pytest.raises(InvalidArgumentError):
            await both.sender.upload_recipients(campaign_id="nobody", upload_id="u", batches=[])
        await both.sender.create_campaign(campaign_id="c1", channel="scripted")
        too_many = [[pb.Recipient(address=f"{n}@x") for n in range(1001)]]
        with pytest.raises(InvalidArgumentError) as refused:
            await both.sender.upload_recipients(campaign_id="c1", upload_id="u", batches=too_many)
        assert "recipients" in refused.value.field_violations


async def test_an_upload_says_what_became_of_each_row(tmp_path: Path) -> None:
    """Accepted, duplicate by the channel's form of the address, invalid with a reason."""
    async with pair(tmp_path) as both:
        await both.sender.create_campaign(campaign_id="c1", channel="scripted")
        addresses = ["a@x", "A@X ", "nope", "b@x\r\nRCPT TO:<c@x>", "d@x"]
        result = await both.sender.upload_recipients(
            campaign_id="c1",
            upload_id="u",
            batches=[[pb.Recipient(address=address) for address in addresses]],
        )
        assert (result.accepted, result.duplicate, result.invalid, result.total) == (2, 1, 2, 2)
        assert [row.row for row in result.rejected_rows] == [1, 2, 3]
        assert "no @" in result.rejected_rows[1].reason
        assert "line breaks" in result.rejected_rows[2].reason


async def test_a_late_upload_is_refused(tmp_path: Path) -> None:
    """The audience is what it was at the start."""
    async with pair(tmp_path) as both:
        await both.begin("c1", 1)
        with pytest.raises(FailedPreconditionError) as refused:
            await both.sender.upload_recipients(
                campaign_id="c1", upload_id="v", batches=[[pb.Recipient(address="late@x")]]
            )
        assert refused.value.reason == "AUDIENCE_FROZEN"


async def test_a_paused_campaign_stops_and_goes_on(tmp_path: Path) -> None:
    """S17, L6: calls in flight end, nothing new is sent; after a resume the rest is, once."""
    async with pair(tmp_path) as both:
        await both.hold_calls()
        await both.begin("c1", 60)
        await support.eventually(lambda: both.channel.flying == 4)
        await both.status.pause_campaign(campaign_id="c1")
        calls = len(both.channel.calls)

        async def handed_back() -> bool:
            delivery = await both.sender.get_delivery(campaign_id="c1")
            return delivery.in_doubt == both.channel.flying == 4

        await support.eventually(handed_back)
        both.channel.hold.set()

        async def at_rest() -> bool:
            delivery = await both.sender.get_delivery(campaign_id="c1")
            return not (delivery.in_doubt or delivery.leased_shards or delivery.unreported)

        await support.eventually(at_rest)
        assert len(both.channel.calls) == calls == 4
        assert (await both.status.get_campaign(campaign_id="c1")).sent == 4
        await both.status.resume_campaign(campaign_id="c1")
        assert (await both.ended("c1")).sent == 60
        assert both.channel.accepted() == list(range(1, 61))


async def test_a_cancelled_campaign_skips_what_was_not_sent(tmp_path: Path) -> None:
    """What was never tried is SKIPPED(cancelled), and everything has a result."""
    async with pair(tmp_path) as both:
        await both.hold_calls()
        await both.begin("c1", 120)
        await support.eventually(lambda: both.channel.flying == 4)
        await both.status.cancel_campaign(campaign_id="c1")
        both.channel.hold.set()
        campaign = await both.ended("c1")
        assert campaign.state == State.CANCELLED
        assert campaign.sent == len(both.channel.accepted())
        assert campaign.sent + campaign.skipped == 120
        assert {r.code for r in (await both.results("c1")).values()} == {"250", "cancelled"}
        await both.finished("c1")


async def test_a_campaign_closed_by_an_operator_is_not_sent_further(tmp_path: Path) -> None:
    """After a forced completion nobody else gets a message."""
    async with pair(tmp_path) as both:
        await both.hold_calls()
        await both.begin("c1", 120)
        await support.eventually(lambda: both.channel.flying == 4)
        await both.status.mark_complete(campaign_id="c1", force=True, reason="test")
        both.channel.hold.set()
        await both.finished("c1")
        assert len(both.channel.calls) < 120
        campaign = await both.status.get_campaign(campaign_id="c1")
        assert campaign.state == State.COMPLETED
        assert campaign.sent == len(both.channel.accepted())
        assert campaign.sent + campaign.skipped == 120


async def test_a_draft_cancelled_before_the_start_sends_nothing(tmp_path: Path) -> None:
    """Starting it is refused, again and again, and no message goes out."""
    async with pair(tmp_path) as both:
        await both.create("c1", 5)
        await both.status.cancel_campaign(campaign_id="c1")
        for _ in range(2):
            with pytest.raises(FailedPreconditionError) as refused:
                await both.sender.start_campaign(campaign_id="c1")
            assert refused.value.reason == "TRANSITION_NOT_ALLOWED"
        delivery = await both.sender.get_delivery(campaign_id="c1")
        assert delivery.phase == Phase.FINISHED
        assert delivery.problems
        assert both.channel.calls == []


async def test_a_scheduled_campaign_waits_for_its_time(tmp_path: Path) -> None:
    """Nothing goes out before; start_now begins at once."""
    async with pair(tmp_path) as both:
        await both.create("c1", 5)
        later = datetime.now(UTC) + timedelta(hours=1)
        await both.sender.start_campaign(campaign_id="c1", start_time=later)
        assert (await both.status.get_campaign(campaign_id="c1")).state == State.SCHEDULED
        assert both.channel.calls == []
        started = await both.sender.start_campaign(campaign_id="c1", start_now=True)
        assert started.transitioned
        assert (await both.ended("c1")).sent == 5


async def test_a_provider_that_is_down_is_waited_for(tmp_path: Path) -> None:
    """The campaign says why it waits, costs no try, and goes on when the provider is back."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        await both.begin("c1", 40)
        problem = await support.eventually(lambda: both.problem("c1"))
        assert "the provider can't be reached" in problem
        assert "connection refused" in problem
        both.channel.script = lambda _: support.ACCEPTED
        assert (await both.ended("c1")).sent == 40
        assert {r.attempt for r in (await both.results("c1")).values()} == {1}
        assert problem_text(await both.finished("c1")) == ""


async def test_l3_a_provider_that_never_returns_ends_the_campaign(tmp_path: Path) -> None:
    """After the deadline what is unsent has failed, with a code that says why."""
    async with pair(tmp_path, unreachable_deadline_hours=1e-9) as both:
        both.channel.script = lambda _: support.UNREACHABLE
        await both.begin("c1", 120)
        campaign = await both.ended("c1")
        assert (campaign.state, campaign.failed) == (State.COMPLETED, 120)
        assert {r.code for r in (await both.results("c1")).values()} == {"provider_unreachable"}


async def test_l5_a_campaign_that_waits_holds_up_no_other(tmp_path: Path) -> None:
    """With one turn for all, a campaign behind a waiting and a large one still completes."""
    async with pair(tmp_path, concurrent_campaigns=1) as both:
        down = {"down"}
        both.channel.script = lambda m: (
            support.UNREACHABLE if m.campaign_id in down else support.ACCEPTED
        )
        await both.begin("down", 30)
        await support.eventually(lambda: both.problem("down"))
        await both.begin("large", 400)
        await both.begin("small", 5)
        assert (await both.ended("small")).sent == 5
        assert (await both.ended("large")).sent == 400
        down.clear()
        assert (await both.ended("down")).sent == 30


async def test_deferred_messages_do_not_hold_up_the_next_shard(tmp_path: Path) -> None:
    """Greylisting in every shard costs time once, not once for each shard."""
    async with pair(tmp_path) as both:
        both.channel.script = lambda m: (
            support.DEFERRED if m.attempt == 1 and m.sequence % 10 == 0 else support.ACCEPTED
        )
        both.options = pb.DeliveryOptions(retry={"initial_backoff": {"nanos": 200_000_000}})
        await both.begin("c1", 200)
        campaign = await both.ended("c1")
        assert campaign.sent == 200
        order = [m.sequence for m in both.channel.calls if m.attempt == 1]
        assert order == sorted(order)


@pytest.mark.usefixtures("seldom_repeated")
async def test_a_start_without_the_status_service_is_made_up_for(tmp_path: Path) -> None:
    """The audience is frozen, the caller gets an error, and the sender starts it by itself."""
    async with pair(tmp_path) as both:
        await both.create("c1", 10)
        await both.stop_status()
        with pytest.raises(UnavailableError) as refused:
            await both.sender.start_campaign(campaign_id="c1")
        assert refused.value.reason == "STATUS_SERVICE_UNAVAILABLE"
        delivery = await both.sender.get_delivery(campaign_id="c1")
        assert delivery.phase == Phase.FROZEN
        await support.eventually(lambda: both.problem("c1"))
        await both.start_status()
        assert (await both.ended("c1")).sent == 10


async def test_without_the_status_service_no_campaign_is_created(tmp_path: Path) -> None:
    """Nothing is stored that the status service does not know; the same call works later."""
    async with pair(tmp_path) as both:
        await both.stop_status()
        arguments: dict[str, Any] = {"campaign_id": "c1", "channel": "scripted"}
        with pytest.raises(UnavailableError):
            await both.sender.create_campaign(**arguments)
        await both.start_status()
        assert (await both.sender.create_campaign(**arguments)).created
