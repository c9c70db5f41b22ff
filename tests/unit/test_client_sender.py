"""The clients of the sender service against a server in the test.

Each test runs with the asyncio client and with the blocking one, unless its name says
which: what they do is the same.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

import closeout.aio
from closeout.errors import FailedPreconditionError
from closeout.sender.v1 import sender_pb2
from closeout.sender.v1.sender_pb2_grpc import add_SenderServiceServicer_to_server
from closeout.status.v1 import status_pb2
from unit.fake_services import Sender, connected, serving


@pytest.fixture(params=["asyncio", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return the kind of client."""
    return str(request.param)


@pytest.fixture
async def sender_servicer() -> Sender:
    return Sender()


@pytest.fixture
async def sender(kind: str, sender_servicer: Sender) -> AsyncIterator[Any]:
    register = partial(add_SenderServiceServicer_to_server, sender_servicer)
    async with serving(register) as address, connected(kind, "SenderClient", address) as client:
        yield client


def recipients(count: int) -> list[sender_pb2.Recipient]:
    return [sender_pb2.Recipient(address=f"{n}@example.com") for n in range(count)]


async def test_an_upload_numbers_its_rows(sender: Any, sender_servicer: Sender) -> None:
    """Each batch says the number of its first row, from 0."""
    batches = [recipients(3), recipients(2), recipients(1)]
    answer = await sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches)
    assert answer.accepted == 6
    assert [upload.first_row for upload in sender_servicer.uploads] == [0, 3, 5]


async def test_an_upload_of_asyncio_takes_an_async_source(sender_servicer: Sender) -> None:
    """Batches may come from an async iterator."""

    async def batches() -> AsyncIterator[list[sender_pb2.Recipient]]:
        yield recipients(2)
        yield recipients(2)

    register = partial(add_SenderServiceServicer_to_server, sender_servicer)
    async with serving(register) as address, closeout.aio.SenderClient(address) as sender:
        answer = await sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches())
    assert answer.total == 4


async def test_a_refused_upload_says_why(sender: Any, sender_servicer: Sender) -> None:
    """A refusal in the middle is the server's own, however much is still to come."""
    sender_servicer.frozen = True
    for _ in range(10):
        with pytest.raises(FailedPreconditionError, match="frozen"):
            await sender.upload_recipients(
                campaign_id="c", upload_id="u", batches=(recipients(1000) for _ in range(500))
            )


async def test_a_source_that_fails_ends_the_upload(sender: Any) -> None:
    """The exception of the batches is raised as it is; the upload is not finished."""

    def batches() -> Iterator[list[sender_pb2.Recipient]]:
        yield recipients(1)
        raise ValueError("row 2 is broken")

    with pytest.raises(ValueError, match="row 2 is broken"):
        await sender.upload_recipients(campaign_id="c", upload_id="u", batches=batches())


async def test_a_create_carries_content_and_options(sender: Any, sender_servicer: Sender) -> None:
    """What is given is sent; what is absent stays absent."""
    answer = await sender.create_campaign(
        channel="smtp", campaign_id="c", body=sender_pb2.EmailContent(subject="s")
    )
    assert answer.campaign_id == "c"
    (created,) = sender_servicer.created
    assert (created.WhichOneof("body"), created.email.subject) == ("email", "s")
    assert not created.HasField("options")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (sender_pb2.EmailContent(subject="s"), "email"),
        (sender_pb2.TextContent(text="t"), "text"),
        (sender_pb2.JsonContent(json="{}"), "json"),
        (None, None),
    ],
    ids=["email", "text", "json", "none"],
)
async def test_a_create_carries_a_body_of_any_kind(
    sender: Any, sender_servicer: Sender, body: Any, field: str | None
) -> None:
    """The type of the body chooses its field; channel null needs no body."""
    await sender.create_campaign(channel="c", body=body)
    assert sender_servicer.created[0].WhichOneof("body") == field


async def test_fields_of_recipients_are_named_or_absent(
    sender: Any, sender_servicer: Sender
) -> None:
    """No field at all is something else than no word about them."""
    for fields in (None, [], iter(["name", "city"])):
        await sender.create_campaign(channel="c", recipient_fields=fields)
    absent, none, two = sender_servicer.created
    assert not absent.HasField("recipient_fields")
    assert none.HasField("recipient_fields")
    assert list(none.recipient_fields.names) == []
    assert list(two.recipient_fields.names) == ["name", "city"]


async def test_a_test_carries_body_recipients_and_fields(
    sender: Any, sender_servicer: Sender
) -> None:
    """Any iterables do; there is one attempt for each recipient."""
    recipients = [sender_pb2.Recipient(address=f"{name}@shop.example") for name in "ab"]
    answer = await sender.send_test(
        channel="sms",
        body=sender_pb2.TextContent(text="t"),
        recipients=iter(recipients),
        recipient_fields=["name"],
    )
    assert [attempt.address for attempt in answer.attempts] == ["a@shop.example", "b@shop.example"]
    (request,) = sender_servicer.tests
    assert (request.channel, request.text.text) == ("sms", "t")
    assert list(request.recipient_fields.names) == ["name"]


async def test_a_check_is_of_all_channels_or_of_one(sender: Any) -> None:
    """The name of a channel is passed on."""
    assert (await sender.check_sender()).checks[0].name == "channel smtp"
    assert (await sender.check_sender(channel="null")).checks[0].name == "channel null"


async def test_a_create_carries_its_family(sender: Any, sender_servicer: Sender) -> None:
    """A time of zero is sent, since it switches the check off; none given is the default."""
    await sender.create_campaign(channel="c", family="News", repeat_after=timedelta(0))
    await sender.create_campaign(channel="c", repeat_after=timedelta(days=2))
    await sender.create_campaign(channel="c")
    named, timed, plain = sender_servicer.created
    assert (named.family, named.HasField("repeat_after")) == ("News", True)
    assert timed.repeat_after.ToTimedelta() == timedelta(days=2)
    assert (plain.family, plain.HasField("repeat_after")) == ("", False)


async def test_a_start_says_what_to_do_about_repetitions(
    sender: Any, sender_servicer: Sender
) -> None:
    """Without a choice the call is refused where there are any."""
    await sender.start_campaign(campaign_id="c")
    started = await sender.start_campaign(
        campaign_id="c", repeat=sender_pb2.StartCampaignRequest.ONLY_NEW
    )
    assert started.left_out == 1
    repeats = [request.repeat for request in sender_servicer.started]
    assert repeats == [
        sender_pb2.StartCampaignRequest.REFUSE,
        sender_pb2.StartCampaignRequest.ONLY_NEW,
    ]


async def test_a_resend_is_safe_to_repeat(sender: Any, sender_servicer: Sender) -> None:
    """Without an id each call has a request_id of its own; with one it has none."""
    answer = await sender.resend_campaign(
        source_campaign_id="s",
        outcomes=iter([status_pb2.Result.FAILED, status_pb2.Result.UNKNOWN]),
        include_unsent=True,
        display_name="Sorry",
    )
    assert (answer.campaign_id, answer.total) == ("c", 2)
    await sender.resend_campaign(
        source_campaign_id="s", include_unsent=True, campaign_id="c", validate_only=True
    )
    first, second = sender_servicer.resent
    assert list(first.outcomes) == [status_pb2.Result.FAILED, status_pb2.Result.UNKNOWN]
    assert (first.include_unsent, first.display_name, first.campaign_id) == (True, "Sorry", "")
    assert uuid.UUID(first.request_id)
    assert (second.request_id, second.campaign_id, second.validate_only) == ("", "c", True)


async def test_shards_come_over_all_pages(sender: Any) -> None:
    """The caller sees one sequence of shards, whatever the pages."""
    assert [shard.shard async for shard in sender.list_shards(campaign_id="c")] == [1, 2]


async def test_recipients_are_asked_for_by_sequence(sender: Any) -> None:
    """Any iterable of sequences does; the entries are returned as a list."""
    found = await sender.batch_get_recipients(campaign_id="c", sequences=iter([3, 1]))
    assert [(entry.sequence, entry.address) for entry in found] == [
        (1, "1@example.com"),
        (3, "3@example.com"),
    ]
