"""A campaign that has ended is sent again, to those whose messages have some outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from closeout.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
)
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.family_support import NAME, change, create, got, people
from integration.resend_support import answer, ended_campaign, sent_to
from integration.sender_pair import Pair, State, pair

Result = status_pb2.Result
REQUEST_ID = "6a0c4e3b-6b54-4f30-9e0f-0a1c8c8c3f10"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, and a campaign with one message of each outcome."""
    async with ended_campaign(tmp_path) as services:
        yield services


@pytest.mark.parametrize(
    ("outcomes", "counts", "names"),
    [
        ([Result.FAILED], {"failed": 1}, ["fred"]),
        ([Result.UNKNOWN], {"unknown": 1}, ["ulla"]),
        ([Result.SENT], {"sent": 1}, ["sara"]),
        ([Result.FAILED, Result.UNKNOWN, Result.FAILED], {"failed": 1, "unknown": 1}, None),
    ],
)
async def test_those_with_an_outcome_get_it_again(
    both: Pair, outcomes: list[Any], counts: dict[str, int], names: list[str] | None
) -> None:
    """Only they are in the audience, and what they got from the source stops nobody."""
    made = await both.sender.resend_campaign(
        source_campaign_id="first", outcomes=outcomes, campaign_id="again"
    )
    total = sum(counts.values())
    assert made == pb.ResendCampaignResponse(
        campaign_id="again", created=True, total=total, **counts
    )
    assert await sent_to(both, "again") == (names or ["fred", "ulla"])
    assert (await both.ended("again")).sent == total


async def test_people_who_got_it_elsewhere_still_stand_in_the_way(both: Pair) -> None:
    """The check exempts the campaigns that a resend comes from, and no other one."""
    await both.sender.resend_campaign(
        source_campaign_id="first", outcomes=[Result.SKIPPED], campaign_id="again"
    )
    with pytest.raises(FailedPreconditionError) as caught:
        await both.sender.start_campaign(campaign_id="again")
    assert caught.value.reason == "AUDIENCE_REPEATED"
    assert caught.value.metadata["campaign_id"] == "earlier"


async def test_people_uploaded_to_a_resend_who_got_the_source_stand_in_the_way(
    both: Pair,
) -> None:
    """Only those whom the resend selected get it again, in a resend of the resend as well."""
    source = "first"
    for campaign_id, outcome in (("again", Result.UNKNOWN), ("third", Result.SENT)):
        await both.sender.resend_campaign(
            source_campaign_id=source, outcomes=[outcome], campaign_id=campaign_id
        )
        await both.sender.upload_recipients(
            campaign_id=campaign_id, upload_id="u", batches=[people("sara", "fred", "nina")]
        )
        with pytest.raises(FailedPreconditionError) as caught:
            await both.sender.start_campaign(campaign_id=campaign_id)
        await both.sender.start_campaign(
            campaign_id=campaign_id, repeat=pb.StartCampaignRequest.ONLY_NEW
        )
        await both.finished(campaign_id)
        source = campaign_id
    assert caught.value.reason == "AUDIENCE_REPEATED"
    assert got(both, "again") == ["fred", "nina", "ulla"]
    assert got(both, "third") == ["fred", "nina", "ulla"]


async def test_two_resends_of_one_campaign_stand_in_each_others_way(both: Pair) -> None:
    """The second one would send a third message to somebody whose doubt was resolved."""
    for campaign_id in ("again", "twice"):
        await both.sender.resend_campaign(
            source_campaign_id="first", outcomes=[Result.UNKNOWN], campaign_id=campaign_id
        )
    assert await sent_to(both, "again") == ["ulla"]
    with pytest.raises(FailedPreconditionError) as caught:
        await both.sender.start_campaign(campaign_id="twice")
    assert caught.value.metadata["campaign_id"] == "again"


async def test_a_resend_of_a_resend_exempts_the_whole_line(both: Pair) -> None:
    """Who is named on purpose is not refused because of the first of three either."""
    both.channel.script = answer
    await both.sender.resend_campaign(
        source_campaign_id="first", outcomes=[Result.UNKNOWN], campaign_id="second"
    )
    await sent_to(both, "second")
    both.channel.script = lambda _: support.ACCEPTED
    await both.sender.resend_campaign(
        source_campaign_id="second", outcomes=[Result.UNKNOWN], campaign_id="third"
    )
    assert await sent_to(both, "third") == ["ulla"]
    delivery = await both.sender.get_delivery(campaign_id="third")
    assert (delivery.resend_of, delivery.family) == ("second", NAME)
    assert (await both.sender.get_delivery(campaign_id="first")).resend_of == ""


async def test_the_new_campaign_has_content_name_labels_and_people_of_the_source(
    both: Pair,
) -> None:
    """Only the id differs, and so do the keys by which providers know a repetition."""
    await both.sender.resend_campaign(
        source_campaign_id="first", outcomes=[Result.FAILED], campaign_id="again"
    )
    campaign = await both.status.get_campaign(campaign_id="again")
    assert (campaign.display_name, dict(campaign.labels)) == (NAME, {"list": "a"})
    await sent_to(both, "again")
    before, after = (call for call in both.channel.calls if call.recipient_key == "fred")
    assert (before.address, before.fields) == (after.address, after.fields)
    assert before.idempotency_key != after.idempotency_key
    named = await both.sender.resend_campaign(
        source_campaign_id="first", outcomes=[Result.FAILED], display_name="Sorry"
    )
    campaign = await both.status.get_campaign(campaign_id=named.campaign_id)
    assert campaign.display_name == "Sorry"
    assert (await both.sender.get_delivery(campaign_id=named.campaign_id)).family == NAME


async def test_a_resend_may_be_repeated(both: Pair) -> None:
    """By its id or its request; with other outcomes the id is taken."""
    call = partial(
        both.sender.resend_campaign, source_campaign_id="first", outcomes=[Result.FAILED]
    )
    made = [await call(campaign_id="again") for _ in range(2)]
    assert [(answer.created, answer.total, answer.failed) for answer in made] == [
        (True, 1, 1),
        (False, 1, 1),
    ]
    chosen = [await call(request_id=REQUEST_ID) for _ in range(2)]
    assert [answer.created for answer in chosen] == [True, False]
    assert chosen[0].campaign_id == chosen[1].campaign_id != ""
    for other in ({"outcomes": [Result.SENT]}, {"include_unsent": True}, {"display_name": "x"}):
        with pytest.raises(AlreadyExistsError):
            await call(campaign_id="again", **other)
    with pytest.raises(AlreadyExistsError):
        await call(campaign_id="earlier")
    # As while the results of the source are reported again to a restored status service.
    change(both, "UPDATE campaigns SET phase = 'STARTED' WHERE campaign_id = 'first'")
    assert not (await call(campaign_id="again")).created
    with pytest.raises(FailedPreconditionError):
        await call(campaign_id="other")


async def test_validate_only_counts_and_shows_the_first_message(both: Pair) -> None:
    """Nothing is stored at either service."""
    shown = await both.sender.resend_campaign(
        source_campaign_id="first",
        outcomes=[Result.FAILED, Result.SENT, Result.SKIPPED, Result.UNKNOWN],
        include_unsent=True,
        campaign_id="again",
        validate_only=True,
    )
    assert shown == pb.ResendCampaignResponse(
        total=4, sent=1, failed=1, skipped=1, unknown=1, preview="Hello to sara@example.com"
    )
    with pytest.raises(NotFoundError):
        await both.sender.get_delivery(campaign_id="again")
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="again")
    nobody = await both.sender.resend_campaign(
        source_campaign_id="first", include_unsent=True, validate_only=True
    )
    assert nobody == pb.ResendCampaignResponse()


async def test_unsent_people_of_a_campaign_that_was_cancelled_before_it_started(
    tmp_path: Path,
) -> None:
    """They have no outcome; the sender learns of the end when it is asked."""
    async with pair(tmp_path) as both:
        await create(both, "first", ["ann", "bob"])
        await both.status.cancel_campaign(campaign_id="first", reason="test")
        made = await both.sender.resend_campaign(
            source_campaign_id="first", include_unsent=True, campaign_id="again"
        )
        assert (made.total, made.unsent) == (2, 2)
        await both.finished("first")
        assert await sent_to(both, "again") == ["ann", "bob"]


@pytest.mark.parametrize("how", ["cancel", "force"])
async def test_people_of_a_campaign_that_was_closed_half_way(tmp_path: Path, how: str) -> None:
    """What was not sent then is SKIPPED at the sender, with the code cancelled."""
    async with pair(tmp_path) as both:
        both.options.max_in_flight = 1
        both.channel.hold.clear()
        await create(both, "first", ["ann", "bob", "carl"])
        await both.sender.start_campaign(campaign_id="first")
        await support.eventually(lambda: len(both.channel.calls) == 1)
        if how == "cancel":
            await both.status.cancel_campaign(campaign_id="first", reason="test")
        else:
            await both.status.mark_complete(campaign_id="first", force=True, reason="test")

        async def is_closed() -> bool:
            delivery = await both.sender.get_delivery(campaign_id="first")
            return bool(delivery.state in {State.CANCELLED, State.COMPLETED})

        await support.eventually(is_closed)
        both.channel.hold.set()
        await both.finished("first")
        made = await both.sender.resend_campaign(
            source_campaign_id="first",
            outcomes=[Result.SKIPPED],
            include_unsent=True,
            campaign_id="again",
        )
        assert (made.skipped, made.unsent) == (2, 0)
        assert await sent_to(both, "again") == ["bob", "carl"]


async def test_a_draft_that_was_cancelled_ends_at_the_sender_with_its_start(
    tmp_path: Path,
) -> None:
    """An empty draft that nobody wants is cancelled, and nothing of it stays open."""
    async with pair(tmp_path) as both:
        await create(both, "first", [])
        await both.status.cancel_campaign(campaign_id="first", reason="all rows were invalid")
        with pytest.raises(FailedPreconditionError) as caught:
            await both.sender.start_campaign(campaign_id="first")
        assert caught.value.reason == "TRANSITION_NOT_ALLOWED"
        await both.finished("first")
