"""A campaign whose people got one of the same family lately is refused, with the numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from closeout.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.family_support import age, change, create, got, send
from integration.sender_pair import Pair, State, pair

Phase = pb.GetDeliveryResponse.Phase
ONLY_NEW = pb.StartCampaignRequest.ONLY_NEW
AGAIN = pb.StartCampaignRequest.AGAIN
SKIPPED = status_pb2.Result.SKIPPED
EIGHT_DAYS = timedelta(days=8)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, and a campaign "first" that ann and bob got."""
    async with pair(tmp_path) as services:
        await send(services, "first", ["ann", "bob"])
        yield services


async def refused(both: Pair, campaign_id: str, **fields: Any) -> FailedPreconditionError:
    """Return the refusal of a start; nothing is frozen, and nothing goes out."""
    before = len(both.channel.calls)
    with pytest.raises(FailedPreconditionError) as caught:
        await both.sender.start_campaign(campaign_id=campaign_id, **fields)
    assert caught.value.reason == "AUDIENCE_REPEATED"
    delivery = await both.sender.get_delivery(campaign_id=campaign_id)
    assert (delivery.phase, delivery.shards) == (Phase.COLLECTING, 0)
    assert len(both.channel.calls) == before
    return caught.value


async def test_the_same_campaign_again_is_idempotent(both: Pair) -> None:
    """The same file has the same id: every call of it may be repeated, and changes nothing."""
    started = await send(both, "first", ["ann", "bob"])
    assert (started.total, started.transitioned, started.left_out) == (2, False, 0)
    assert got(both, "first") == ["ann", "bob"]


async def test_one_more_row_is_refused_with_the_numbers(both: Pair) -> None:
    """The error says how many of whom got what, when, and how to go on."""
    await create(both, "second", ["ann", "bob", "carl"])
    error = await refused(both, "second")
    assert error.message.startswith("2 of these 3 people got campaign 'Welcome' (first) ")
    assert "repeat = ONLY_NEW" in error.message
    assert "repeat = AGAIN" in error.message
    metadata = dict(error.metadata)
    since = datetime.fromisoformat(metadata.pop("start_time"))
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=2)
    assert metadata == {
        "repeated": "2",
        "total": "3",
        "campaign_id": "first",
        "family": "Welcome",
    }


async def test_a_refused_campaign_takes_more_people_and_starts_otherwise(both: Pair) -> None:
    """Nothing is frozen by the refusal: the audience grows, and another choice is taken."""
    await create(both, "second", ["ann"])
    await refused(both, "second")
    await both.sender.upload_recipients(
        campaign_id="second", upload_id="v", batches=[[pb.Recipient(address="dora@example.com")]]
    )
    started = await both.sender.start_campaign(campaign_id="second", repeat=ONLY_NEW)
    assert (started.total, started.left_out) == (2, 1)
    await both.finished("second")
    assert got(both, "second") == ["dora"]


async def test_only_new_leaves_the_others_out(both: Pair) -> None:
    """They end as SKIPPED, no provider sees them, and the total counts them."""
    started = await send(both, "second", ["ann", "carl", "bob", "dora"], repeat=ONLY_NEW)
    assert (started.total, started.left_out) == (4, 2)
    assert got(both, "second") == ["carl", "dora"]
    results = await both.results("second")
    assert {sequence: result.code for sequence, result in results.items()} == {
        1: "already_sent",
        2: "250",
        3: "already_sent",
        4: "250",
    }
    assert (results[1].outcome, results[1].attempt) == (SKIPPED, 0)
    assert "campaign first" in results[1].detail
    campaign = await both.ended("second")
    assert (campaign.state, campaign.total) == (State.COMPLETED, 4)
    assert (campaign.sent, campaign.skipped) == (2, 2)
    again = await both.sender.start_campaign(campaign_id="second")
    assert (again.left_out, again.transitioned) == (2, False)


async def test_again_sends_to_all(both: Pair) -> None:
    """Who was asked and said so gets it twice."""
    started = await send(both, "second", ["ann", "carl"], repeat=AGAIN)
    assert (started.total, started.left_out) == (2, 0)
    assert got(both, "second") == ["ann", "carl"]


async def test_only_new_with_nobody_new_completes(both: Pair) -> None:
    """A campaign of which everybody is left out ends without a message."""
    started = await send(both, "second", ["ann", "bob"], repeat=ONLY_NEW)
    assert started.left_out == 2
    campaign = await both.ended("second")
    assert (campaign.state, campaign.skipped) == (State.COMPLETED, 2)
    assert got(both, "second") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "Hallo"},
        {"display_name": "Other", "family": "Welcome"},
        {"display_name": " Welcome "},
    ],
    ids=["other content", "other name, same family", "blanks"],
)
async def test_what_is_of_the_same_family_is_refused(both: Pair, fields: dict[str, Any]) -> None:
    """Content and id do not matter; a family that is named goes before the name."""
    await create(both, "second", ["ann"], **fields)
    await refused(both, "second")


@pytest.mark.parametrize(
    "fields",
    [
        {"display_name": "Goodbye"},
        {"display_name": "welcome"},
        {"family": "welcome-2"},
        {"display_name": ""},
        {"repeat_after": timedelta(0)},
    ],
    ids=["other name", "other case", "other family", "no name", "never checked"],
)
async def test_what_is_of_another_family_is_sent(both: Pair, fields: dict[str, Any]) -> None:
    """Names are compared exactly, no name is no family, and 0 switches the check off."""
    started = await send(both, "second", ["ann", "bob"], **fields)
    assert (started.total, started.left_out) == (2, 0)
    assert got(both, "second") == ["ann", "bob"]


async def test_other_people_get_it(both: Pair) -> None:
    """Only the people count: another audience of the same family is started."""
    assert (await send(both, "second", ["carl"])).total == 1
    assert got(both, "second") == ["carl"]


async def test_the_channels_form_of_an_address_is_compared(both: Pair) -> None:
    """An address that only looks different is the same person."""
    await create(both, "second", ["ANN"])
    await refused(both, "second")


async def test_eight_days_later_it_is_no_repetition(both: Pair) -> None:
    """The default is 7 days, and the new campaign's own time decides."""
    age(both, "first", EIGHT_DAYS)
    await create(both, "long", ["ann"], repeat_after=timedelta(days=9))
    assert "(first) 8 d ago" in (await refused(both, "long")).message
    assert (await send(both, "second", ["ann", "bob"])).total == 2


async def test_only_failed_people_are_sent_to_again(both: Pair) -> None:
    """FAILED is no receipt: who did not get it may get the next one, UNKNOWN may not."""
    answers = {"carl": support.REFUSED, "dora": support.LOST, "emil": support.ACCEPTED}
    both.channel.script = lambda message: answers[message.address.partition("@")[0]]
    await send(both, "second", ["emil", "carl", "dora"])
    both.channel.script = lambda _: support.ACCEPTED
    await send(both, "third", ["carl"])
    await create(both, "fourth", ["dora", "emil", "fay"])
    assert (await refused(both, "fourth")).metadata["repeated"] == "2"


async def test_a_campaign_under_way_counts_and_a_cancelled_one_counts_what_it_sent(
    tmp_path: Path,
) -> None:
    """Who is about to get it counts; once it is cancelled, only who got it does."""
    async with pair(tmp_path) as both:
        both.options.max_in_flight = 1
        both.channel.hold.clear()
        await create(both, "first", ["ann", "bob"])
        await both.sender.start_campaign(campaign_id="first")
        await support.eventually(lambda: len(both.channel.calls) == 1)
        await create(both, "second", ["ann", "bob", "carl"])
        error = await refused(both, "second")
        assert error.message.startswith("2 of these 3 people are getting campaign 'Welcome'")
        await both.status.cancel_campaign(campaign_id="first", reason="test")

        async def is_cancelled() -> bool:
            delivery = await both.sender.get_delivery(campaign_id="first")
            return bool(delivery.state == State.CANCELLED)

        await support.eventually(is_cancelled)
        both.channel.hold.set()
        await both.finished("first")
        error = await refused(both, "second")
        assert error.message.startswith("1 of these 3 people got campaign 'Welcome' (first)")
        started = await both.sender.start_campaign(campaign_id="second", repeat=ONLY_NEW)
        assert started.left_out == 1
        await both.finished("second")
        assert got(both, "second") == ["bob", "carl"]


async def test_a_campaign_cancelled_before_it_sent_does_not_count(tmp_path: Path) -> None:
    """A scheduled campaign counts for its time; cancelled, it stands in nobody's way."""
    async with pair(tmp_path) as both:
        await create(both, "first", ["ann"])
        soon = datetime.now(UTC) + timedelta(days=3)
        await both.sender.start_campaign(campaign_id="first", start_time=soon)
        await create(both, "second", ["ann"])
        error = await refused(both, "second")
        assert "the only recipient will get campaign 'Welcome' (first) in " in error.message
        await both.status.cancel_campaign(campaign_id="first", reason="test")
        await both.finished("first")
        assert (await both.sender.start_campaign(campaign_id="second")).total == 1


async def test_a_time_far_from_a_scheduled_campaign_is_no_repetition(both: Pair) -> None:
    """What counts are the two times of sending, whichever campaign comes first."""
    await create(both, "later", ["ann"])
    now = datetime.now(UTC)
    await refused(both, "later", start_time=now + timedelta(days=3))
    await both.sender.start_campaign(campaign_id="later", start_time=now + EIGHT_DAYS)
    age(both, "first", EIGHT_DAYS)
    await create(both, "now", ["ann"])
    assert (await both.sender.start_campaign(campaign_id="now")).total == 1


async def test_a_scheduled_campaign_keeps_its_begin_when_the_start_is_repeated(both: Pair) -> None:
    """A repeated call after the begin does not move it back to the day of the scheduling."""
    await create(both, "planned", ["carl"])
    soon = datetime.now(UTC) + timedelta(hours=1)
    await both.sender.start_campaign(campaign_id="planned", start_time=soon)
    change(
        both,
        "UPDATE campaigns SET start_time = start_time - ? WHERE campaign_id = 'planned'",
        round(EIGHT_DAYS.total_seconds() * 1_000_000),
    )
    await both.sender.start_campaign(campaign_id="planned", start_now=True)
    await both.finished("planned")
    await both.sender.start_campaign(campaign_id="planned")
    await create(both, "second", ["carl"])
    assert (await refused(both, "second")).metadata["campaign_id"] == "planned"


async def test_the_latest_of_several_campaigns_is_named(both: Pair) -> None:
    """A person of several counts once."""
    await send(both, "second", ["ann", "carl"], repeat=AGAIN)
    age(both, "first", timedelta(hours=2))
    await create(both, "third", ["ann", "bob", "carl", "dora"])
    error = await refused(both, "third")
    assert error.message.startswith(
        "3 of these 4 people got 2 campaigns of the same family, the latest 'Welcome' (second), "
    )
    assert (error.metadata["repeated"], error.metadata["campaign_id"]) == ("3", "second")


async def test_the_last_time_of_the_calendar_is_compared(both: Pair) -> None:
    """No time after it exists, and nobody is near it."""
    await create(both, "second", ["ann"])
    end = datetime(9999, 12, 31, tzinfo=UTC)
    started = await both.sender.start_campaign(campaign_id="second", start_time=end)
    assert started.transitioned


async def test_a_time_that_is_past_is_refused_first(both: Pair) -> None:
    """A wrong time is named before anybody is counted."""
    await create(both, "second", ["ann"])
    with pytest.raises(InvalidArgumentError, match="more than a minute past"):
        await both.sender.start_campaign(
            campaign_id="second", start_time=datetime.now(UTC) - timedelta(days=1)
        )


@pytest.mark.usefixtures("seldom_repeated")
async def test_a_crash_between_freeze_and_seal_changes_nothing(tmp_path: Path) -> None:
    """What a campaign was frozen with stays: the sender starts it, the call is repeated."""
    async with pair(tmp_path) as both:
        await send(both, "first", ["ann"])
        await create(both, "second", ["ann", "bob"])
        await both.stop_status()
        with pytest.raises(UnavailableError, match="status service does not answer"):
            await both.sender.start_campaign(campaign_id="second", repeat=ONLY_NEW)
        await both.stop_sender()
        await both.start_status()
        await both.start_sender()
        started = await support.eventually(lambda: restarted(both))
        assert (started.total, started.left_out) == (2, 1)
        await both.finished("second")
        assert got(both, "second") == ["bob"]


async def restarted(both: Pair) -> pb.StartCampaignResponse | None:
    """Repeat the start once the services answer, without a choice about repetitions."""
    try:
        return await both.sender.start_campaign(campaign_id="second")
    except UnavailableError:
        return None  # they are starting


async def test_delivery_names_the_family(both: Pair) -> None:
    """As it is compared; a campaign without a name has none."""
    await create(both, "second", ["zoe"], family=" Cafe\u0301 ")
    delivery = await both.sender.get_delivery(campaign_id="second")
    assert delivery.family == "Caf\u00e9"
    await create(both, "third", ["zoe"], display_name="")
    assert (await both.sender.get_delivery(campaign_id="third")).family == ""


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("family", {"family": "x" * 201}),
        ("repeat_after", {"repeat_after": timedelta(days=367)}),
        ("repeat_after", {"repeat_after": timedelta(seconds=-1)}),
    ],
)
async def test_limits_of_families(both: Pair, field: str, fields: dict[str, Any]) -> None:
    """A wrong field is named."""
    with pytest.raises(InvalidArgumentError) as caught:
        await create(both, "second", ["ann"], **fields)
    assert list(caught.value.field_violations) == [field]


async def test_an_unknown_choice_is_refused(both: Pair) -> None:
    """A value of a later version is never taken for another one."""
    await create(both, "second", ["zoe"])
    with pytest.raises(InvalidArgumentError) as caught:
        await both.sender.start_campaign(campaign_id="second", repeat=9)  # type: ignore[arg-type]
    assert list(caught.value.field_violations) == ["repeat"]


async def test_a_family_belongs_to_the_campaign_that_is_asked_for(both: Pair) -> None:
    """The same id with another family is another campaign."""
    with pytest.raises(AlreadyExistsError):
        await create(both, "first", ["ann"], family="Other")
