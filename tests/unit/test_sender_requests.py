"""Settings and requests of the sender: what is taken, what is refused and how."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import struct_pb2

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.api import requests
from sender_service.campaigns.audience import RecipientInput, check_rows
from sender_service.channels.from_wire import fields_of
from sender_service.channels.null import NullChannel
from sender_service.channels.registry import ChannelRegistry, installed_channels
from sender_service.domain import Repeat
from sender_service.settings import SenderSettings, Settings, settings_model
from service_runtime.errors import InvalidRequestError, StartupError
from service_runtime.settings import load


def request(**fields: Any) -> pb.CreateCampaignRequest:
    return pb.CreateCampaignRequest(**({"channel": "null"} | fields))


def test_a_lease_must_outlive_two_lost_heartbeats() -> None:
    """A lease shorter than three heartbeats is refused at the start, in one line."""
    with pytest.raises(StartupError, match="at least 3 times heartbeat_seconds") as refused:
        load(Settings, {"CLOSEOUT_SENDER_LEASE_SECONDS": "20"})
    assert "\n" not in str(refused.value)
    assert SenderSettings(lease_seconds=30, heartbeat_seconds=10).lease_seconds == 30


def test_each_installed_channel_has_a_table_of_its_own() -> None:
    """A setting of a channel is read beside those of the sender."""
    model = settings_model(installed_channels())
    loaded = load(model, {"CLOSEOUT_SENDER_SHARD_SIZE": "7", "CLOSEOUT_SMTP_PORT": "2525"})
    assert loaded.sender.shard_size == 7
    smtp = installed_channels()["smtp"]
    assert loaded.of_channel(smtp).port == 2525  # type: ignore[attr-defined]


def test_a_channel_without_a_table_has_its_defaults() -> None:
    """The settings of a test or an embedding program need not name channels."""
    assert isinstance(Settings().of_channel(NullChannel), NullChannel.settings_model)


async def test_an_unknown_channel_is_refused_with_what_is_installed() -> None:
    """The answer lists what could have been meant."""
    registry = ChannelRegistry({"null": NullChannel}, Settings())
    with pytest.raises(Exception, match="installed: null") as caught:
        registry.get("fax")
    assert caught.value.reason == "CHANNEL_NOT_FOUND"  # type: ignore[attr-defined]


def refused(check: Callable[..., Any], message: Any) -> dict[str, str]:
    """Return what is wrong with a request, by field."""
    with pytest.raises(InvalidRequestError) as caught:
        check(message)
    return caught.value.fields


def options(**fields: Any) -> dict[str, Any]:
    return {"options": pb.DeliveryOptions(**fields)}


def retry(**fields: Any) -> dict[str, Any]:
    return options(retry=pb.RetryPolicy(**fields))


@pytest.mark.parametrize(
    ("fields", "violation"),
    [
        ({"campaign_id": "-x"}, "campaign_id"),
        ({"campaign_id": "x" * 129}, "campaign_id"),
        ({"display_name": "x" * 201}, "display_name"),
        ({"display_name": "a\0"}, "display_name"),
        ({"channel": ""}, "channel"),
        ({"channel": "x" * 65}, "channel"),
        ({"request_id": "no"}, "request_id"),
        ({"labels": {"": "x"}}, "labels['']"),
        ({"labels": {"k": "x" * 64}}, "labels['k']"),
        ({"labels": {str(n): "" for n in range(33)}}, "labels"),
        ({"text": pb.TextContent(text=" ")}, "text.text"),
        ({"json": pb.JsonContent()}, "json.json"),
        ({"json": pb.JsonContent(json="x" * 262_144)}, "json"),
        ({"email": pb.EmailContent(subject="x" * 200_000, html="y" * 70_000)}, "email"),
        (options(max_in_flight=10_001), "options.max_in_flight"),
        (options(max_in_flight=-1), "options.max_in_flight"),
        (options(guarantee=9), "options.guarantee"),
        (retry(max_attempts=101), "options.retry.max_attempts"),
        (retry(max_attempts=-1), "options.retry.max_attempts"),
        (retry(initial_backoff={"seconds": 86_401}), "options.retry.initial_backoff"),
        (retry(initial_backoff={"seconds": -1}), "options.retry.initial_backoff"),
        (retry(initial_backoff={}), "options.retry.initial_backoff"),
        (retry(initial_backoff={"seconds": 2**62}), "options.retry.initial_backoff"),
        (retry(max_backoff={"seconds": 86_401}), "options.retry.max_backoff"),
        (
            retry(initial_backoff={"seconds": 9}, max_backoff={"seconds": 8}),
            "options.retry.max_backoff",
        ),
        (retry(deadline={"seconds": 30 * 86_400 + 1}), "options.retry.deadline"),
        (retry(deadline={}), "options.retry.deadline"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], violation: str) -> None:
    """Every refusal of CreateCampaign says which field and what it takes."""
    assert list(refused(requests.create, request(**fields))) == [violation]


def test_all_wrong_fields_are_named_at_once() -> None:
    """A caller does not mend one field to learn of the next."""
    wrong = request(campaign_id="!", channel="", request_id="?")
    assert set(refused(requests.create, wrong)) == {"campaign_id", "channel", "request_id"}


def test_a_recipient_of_a_preview_keeps_the_limits() -> None:
    """What no upload takes, no preview takes."""
    bad = pb.Recipient(address="a\nb")
    assert list(refused(requests.preview_recipient, request(preview_recipient=bad))) == [
        "preview_recipient"
    ]
    assert requests.preview_recipient(request()) == RecipientInput("", "", {})


_CAMPAIGN_CALLS = [
    (requests.start, pb.StartCampaignRequest),
    (requests.get_delivery, pb.GetDeliveryRequest),
    (requests.list_shards, pb.ListShardsRequest),
]


@pytest.mark.parametrize(("check", "message"), _CAMPAIGN_CALLS)
@pytest.mark.parametrize("campaign_id", ["", "-x", "x" * 8_000, "a\0"])
def test_every_call_checks_the_id(check: Any, message: Any, campaign_id: str) -> None:
    """An id that can be no campaign's is refused as such, and is never echoed whole."""
    fields = refused(check, message(campaign_id=campaign_id))
    assert list(fields) == ["campaign_id"]
    assert len(fields["campaign_id"]) < 300


@pytest.mark.parametrize(
    "time",
    [
        {"seconds": 2**62},
        {"seconds": 253_402_300_800},
        {"seconds": -62_135_596_801},
        {"nanos": -1},
        {"nanos": 2**31 - 1},
    ],
)
def test_a_start_time_out_of_range_is_the_callers_mistake(time: dict[str, int]) -> None:
    """A time that no calendar has is refused, and is no failure of the service."""
    message = pb.StartCampaignRequest(campaign_id="c", start_time=time)
    assert list(refused(requests.start, message)) == ["start_time"]


def test_a_start_is_at_a_time_or_now() -> None:
    """Both at once contradict each other; neither is the usual start."""
    both = pb.StartCampaignRequest(campaign_id="c", start_time={"seconds": 1}, start_now=True)
    assert set(refused(requests.start, both)) == {"start_time", "start_now"}
    usual = requests.start(pb.StartCampaignRequest(campaign_id="c"))
    assert usual == ("c", None, False, Repeat.REFUSE)
    timed = requests.start(pb.StartCampaignRequest(campaign_id="c", start_time={"seconds": 1}))
    assert timed.start_time == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "violation"),
    [
        ({"campaign_id": ""}, "campaign_id"),
        ({"upload_id": ""}, "upload_id"),
        ({"upload_id": "u" * 129}, "upload_id"),
        ({"first_row": -1}, "first_row"),
        ({"recipients": [pb.Recipient()] * 1_001}, "recipients"),
        ({"campaign_id": "d"}, "campaign_id"),
        ({"upload_id": "v"}, "upload_id"),
    ],
)
async def test_each_message_of_an_upload_is_checked(fields: dict[str, Any], violation: str) -> None:
    """The first and every further message is complete, and of the same campaign and upload."""
    good = {"campaign_id": "c", "upload_id": "u"}

    async def messages() -> AsyncIterator[pb.UploadRecipientsRequest]:
        yield pb.UploadRecipientsRequest(**good)
        yield pb.UploadRecipientsRequest(**(good | fields))

    batches = requests.upload(messages())
    assert await anext(batches) == ("c", "u", 0, [])
    with pytest.raises(InvalidRequestError) as caught:
        await anext(batches)
    assert list(caught.value.fields) == [violation]


async def test_an_upload_without_a_message_is_refused() -> None:
    """An empty stream names no campaign."""

    async def nothing() -> AsyncIterator[pb.UploadRecipientsRequest]:
        for message in ():
            yield message

    with pytest.raises(InvalidRequestError, match="campaign_id: required"):
        await anext(requests.upload(nothing()))


@pytest.mark.parametrize(("asked", "size"), [(0, 100), (7, 7), (5_000, 1_000)])
def test_shards_come_in_pages(asked: int, size: int) -> None:
    """0 is the usual size, and no page is longer than a thousand."""
    message = pb.ListShardsRequest(campaign_id="c", page_size=asked)
    assert requests.list_shards(message).page.size == size
    negative = pb.ListShardsRequest(campaign_id="c", page_size=-1)
    assert list(refused(requests.list_shards, negative)) == ["page_size"]


def test_whole_numbers_stay_whole() -> None:
    """A template prints 5 for 5, and nested values keep their shape."""
    struct = struct_pb2.Struct()
    struct.update({"n": 5, "f": 2.5, "b": True, "l": [1, {"x": None}], "s": "t"})
    assert fields_of(struct) == {
        "n": 5,
        "f": 2.5,
        "b": True,
        "l": [1, {"x": None}],
        "s": "t",
    }
    assert repr(fields_of(struct)["n"]) == "5"


@pytest.mark.parametrize(
    ("recipient", "reason"),
    [
        (RecipientInput("a\r\nRCPT TO:<b@x>", "", {}), "line breaks or NUL"),
        (RecipientInput("a\0b", "", {}), "line breaks or NUL"),
        (RecipientInput("a@x\n", "", {}), "line breaks or NUL"),
        (RecipientInput("a" * 3000, "", {}), "at most 2,048 characters"),
        (RecipientInput("a@x", "k" * 256, {}), "recipient_key has at most 255"),
        (RecipientInput("a@x", "k\0", {}), "recipient_key must not contain NUL"),
        (RecipientInput("a@x", "", {"t": "x" * 20_000}), "at most 16 KiB"),
        (RecipientInput("a@x", "", {"n": float("nan")}), "not finite"),
        (RecipientInput("", "", {}), "1 to 320 characters"),
    ],
)
def test_a_recipient_that_cannot_be_used_says_why(recipient: RecipientInput, reason: str) -> None:
    """A bad row is a row with a reason, never a failed upload."""
    (row,) = check_rows(NullChannel(), [recipient])
    assert reason in row.reason
    assert len(row.address) <= 320


def test_a_recipient_that_can_be_used_has_no_reason() -> None:
    """The address is in the channel's form, the fields are JSON."""
    (row,) = check_rows(NullChannel(), [RecipientInput(" a@x ", "k", {"ü": 1})])
    assert row == ("a@x", "k", '{"ü":1}', "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("no such number"), "no such number"), (ValueError(), "can't use this address")],
)
def test_a_channels_own_error_is_the_reason(error: ValueError, reason: str) -> None:
    """What a channel finds wrong with an address is no fault of the fields."""

    class Picky(NullChannel):
        def check_address(self, address: str) -> str:  # noqa: ARG002 - it fails for all
            raise error

    (row,) = check_rows(Picky(), [RecipientInput("a@x", "", {})])
    assert reason in row.reason
    assert "finite" not in row.reason
