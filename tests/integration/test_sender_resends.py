"""A campaign that has ended is sent again, to those whose messages have some outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from closeout.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.family_support import NAME, change, create, got, people, send
from integration.sender_pair import Pair, State, pair
from sender_service.campaigns import resend
from sender_service.campaigns.resend import finish_copy
from sender_service.channels.contract import Message, Reply
from sender_service.channels.errors import TemplateError
from sender_service.domain import Outcome
from sender_service.store import campaigns, resends, schema
from sender_service.store.resends import Counts, Selection

Result = status_pb2.Result
REQUEST_ID = "6a0c4e3b-6b54-4f30-9e0f-0a1c8c8c3f10"


def answer(message: Message) -> Reply:
    """Refuse fred, lose ulla, accept the others."""
    name = message.address.partition("@")[0]
    return {"fred": support.REFUSED, "ulla": support.LOST}.get(name, support.ACCEPTED)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, and a campaign with one message of each outcome."""
    async with pair(tmp_path) as services:
        await send(services, "earlier", ["skip"])
        services.channel.script = answer
        await send(
            services,
            "first",
            ["sara", "fred", "skip", "ulla"],
            repeat=pb.StartCampaignRequest.ONLY_NEW,
            labels={"list": "a"},
        )
        services.channel.script = lambda _: support.ACCEPTED
        yield services


async def sent_to(both: Pair, campaign_id: str) -> list[str]:
    """Start a campaign, wait for its end, and return whom its provider was handed."""
    await both.sender.start_campaign(campaign_id=campaign_id)
    await both.finished(campaign_id)
    return got(both, campaign_id)


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


async def test_a_resend_to_nobody_is_refused(both: Pair) -> None:
    """No empty campaign is left behind, and the message says why."""
    with pytest.raises(InvalidArgumentError, match="nobody in campaign 'first'"):
        await both.sender.resend_campaign(
            source_campaign_id="first", include_unsent=True, campaign_id="again"
        )
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="again")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"outcomes": []}, "outcomes"),
        ({"outcomes": [0]}, "outcomes[0]"),
        ({"outcomes": [9]}, "outcomes[0]"),
        ({"source_campaign_id": ""}, "source_campaign_id"),
        ({"campaign_id": "first"}, "campaign_id"),
        ({"campaign_id": "-"}, "campaign_id"),
        ({"request_id": "x"}, "request_id"),
        ({"display_name": "x" * 201}, "display_name"),
    ],
)
async def test_wrong_fields_are_named(both: Pair, fields: dict[str, Any], field: str) -> None:
    """Each one, by its name in the request."""
    call: dict[str, Any] = {"source_campaign_id": "first", "outcomes": [Result.FAILED]}
    with pytest.raises(InvalidArgumentError) as caught:
        await both.sender.resend_campaign(**(call | fields))
    assert list(caught.value.field_violations) == [field]


async def test_content_that_no_longer_compiles_is_refused(both: Pair) -> None:
    """No campaign is left behind that could send nothing."""

    def broken(content: Any) -> Any:  # noqa: ARG001 - as a channel takes it
        raise TemplateError("subject", "unknown filter 'gone'", line=1, column=7)

    both.channel.compile = broken  # type: ignore[method-assign]
    with pytest.raises(InvalidArgumentError) as caught:
        await both.sender.resend_campaign(
            source_campaign_id="first", outcomes=[Result.FAILED], campaign_id="again"
        )
    assert caught.value.reason == "TEMPLATE_INVALID"
    with pytest.raises(NotFoundError):
        await both.status.get_campaign(campaign_id="again")


async def test_a_source_that_is_not_there_is_not_found(both: Pair) -> None:
    """An unknown id, or one of another organisation."""
    change(both, "UPDATE campaigns SET organisation = 'other' WHERE campaign_id = 'first'")
    for source in ("nobody", "first"):
        for validate_only in (False, True):
            with pytest.raises(NotFoundError) as caught:
                await both.sender.resend_campaign(
                    source_campaign_id=source,
                    outcomes=[Result.FAILED],
                    campaign_id="again",
                    validate_only=validate_only,
                )
            assert caught.value.reason == "CAMPAIGN_NOT_FOUND"


async def test_a_campaign_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    """Collected, scheduled or under way: its outcomes are not known yet."""
    async with pair(tmp_path) as both:
        await create(both, "first", ["ann"])
        both.channel.hold.clear()
        for phase in ("COLLECTING", "STARTED"):
            with pytest.raises(FailedPreconditionError) as caught:
                await both.sender.resend_campaign(
                    source_campaign_id="first", outcomes=[Result.SENT], campaign_id="again"
                )
            assert caught.value.reason == "CAMPAIGN_NOT_ENDED"
            assert caught.value.metadata == {"campaign_id": "first", "phase": phase}
            await both.sender.start_campaign(campaign_id="first")
        both.channel.hold.set()
        await both.finished("first")


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


async def test_a_copy_that_broke_off_goes_on_where_it_was(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call again, or the start, brings the audience to its end, each person once."""
    monkeypatch.setattr(resends, "MESSAGES_A_PART", 1)
    monkeypatch.setattr(resend, "MESSAGES_A_PART", 1)
    outcomes = [Result.SENT, Result.FAILED, Result.UNKNOWN]
    call = partial(both.sender.resend_campaign, source_campaign_id="first", outcomes=outcomes)
    copies = {"left": 2}
    copy = resends.copy_part

    def crash(connection: sa.Connection, campaign: int) -> bool:
        if not copies["left"]:
            raise RuntimeError("a crash between two parts")
        copies["left"] -= 1
        return copy(connection, campaign)

    for campaign_id in ("again", "start"):
        copies["left"] = 2
        monkeypatch.setattr(resends, "copy_part", crash)
        with pytest.raises(Exception, match="internal error"):
            await call(campaign_id=campaign_id)
        assert (await both.sender.get_delivery(campaign_id=campaign_id)).total == 2
        monkeypatch.setattr(resends, "copy_part", copy)
    made = await call(campaign_id="again")
    assert (made.created, made.total) == (False, 3)
    assert await sent_to(both, "again") == ["fred", "sara", "ulla"]
    started = await both.sender.start_campaign(
        campaign_id="start", repeat=pb.StartCampaignRequest.AGAIN
    )
    assert started.total == 3


async def test_people_uploaded_beside_a_copy_are_in_it_once(both: Pair) -> None:
    """A resend takes more people, until it is started."""
    await both.sender.resend_campaign(
        source_campaign_id="first", outcomes=[Result.FAILED], campaign_id="again"
    )
    uploaded = await both.sender.upload_recipients(
        campaign_id="again", upload_id="u", batches=[people("fred", "nora")]
    )
    assert (uploaded.accepted, uploaded.duplicate, uploaded.total) == (1, 1, 2)
    assert await sent_to(both, "again") == ["fred", "nora"]


async def test_the_copy_is_numbered_without_a_gap(tmp_path: Path) -> None:
    """Whatever the parts, whoever is uploaded between two of them, and in any organisation."""
    selection = Selection(frozenset({Outcome.FAILED}), include_unsent=True)
    async with support.open_store(tmp_path) as store:
        source = await support.add_campaign(store, messages=9, organisation="default")
        failed = [2, 3, 7]

        def prepare(connection: sa.Connection) -> None:
            for entry, sequence in enumerate([1, *failed], start=1):
                outcome = Outcome.FAILED if sequence in failed else Outcome.SENT
                connection.execute(
                    sa.insert(schema.outcomes).values(
                        campaign=source.campaign,
                        sequence=sequence,
                        shard=1,
                        entry=entry,
                        outcome=outcome.value,
                        attempt=1,
                        finish_time=source.create_time,
                    )
                )
            new = support.new_campaign("again")
            assert resends.insert(connection, new, source.campaign, selection)
            assert not resends.insert(connection, new, source.campaign, selection)

        await store.write(prepare)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resends, "MESSAGES_A_PART", 4)
            number = await store.read(
                partial(resends.unfinished, organisation="default", campaign_id="again")
            )
            assert number is not None
            assert not await store.write(partial(resends.copy_part, campaign=number))
            upload = partial(
                support.recipients.take_batch,
                organisation="default",
                campaign_id="again",
                upload_id="u",
                first_row=0,
                rows=support.rows_of(["p4@example.com", "new@example.com"]),
            )
            await store.write(upload)
            await finish_copy(store, "other", "again")
            await finish_copy(store, "default", "again")
        row = await store.read(partial(campaigns.get, organisation="default", campaign_id="again"))
        query = sa.select(schema.recipients).where(schema.recipients.c.campaign == number)
        found = await support.rows(store, query.order_by(schema.recipients.c.sequence))
        assert row.total == len(found) == 9
        assert [person.sequence for person in found] == list(range(1, 10))
        assert len({person.address for person in found}) == 9
        counts = await store.read(partial(resends.read_counts, campaign=row.campaign))
        assert counts == Counts(failed=3, unsent=4)
