"""Settings and requests of the sender: what is taken, what is refused and how."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.api import requests
from sender_service.campaigns.audience import GivenRecipient, check_rows
from sender_service.channels.null import NullChannel
from sender_service.channels.registry import ChannelRegistry, installed_channels
from sender_service.domain import Guarantee
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


async def test_an_unknown_channel_is_told_what_is_installed() -> None:
    """The answer lists what could have been meant."""
    registry = ChannelRegistry({"null": NullChannel}, Settings())
    with pytest.raises(Exception, match="installed: null") as refused:
        registry.get("fax")
    assert refused.value.reason == "CHANNEL_NOT_FOUND"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "violation"),
    [
        ({"campaign_id": "-x"}, "campaign_id"),
        ({"campaign_id": "x" * 129}, "campaign_id"),
        ({"display_name": "x" * 201}, "display_name"),
        ({"channel": ""}, "channel"),
        ({"request_id": "no"}, "request_id"),
        ({"options": pb.DeliveryOptions(max_in_flight=10_001)}, "options.window"),
        ({"options": pb.DeliveryOptions(max_in_flight=-1)}, "options.window"),
        ({"options": pb.DeliveryOptions(max_attempts=101)}, "options.max_attempts"),
        ({"options": pb.DeliveryOptions(guarantee=9)}, "options.guarantee"),
        ({"options": pb.DeliveryOptions(retry_backoff={"seconds": 3601})}, "options.retry_backoff"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], violation: str) -> None:
    """Every refusal of CreateCampaign says which field and what it takes."""
    with pytest.raises(InvalidRequestError) as refused:
        requests.check_create(request(**fields))
    assert list(refused.value.fields) == [violation]


def test_all_wrong_fields_are_named_at_once() -> None:
    """A caller does not mend one field to learn of the next."""
    with pytest.raises(InvalidRequestError) as refused:
        requests.check_create(request(campaign_id="!", channel="", request_id="?"))
    assert set(refused.value.fields) == {"campaign_id", "channel", "request_id"}


def test_options_left_out_are_the_channels() -> None:
    """Window and guarantee come from the channel, retries from the contract."""
    new = requests.new_campaign(request(), "default", NullChannel())
    assert (new.window, new.guarantee) == (1000, Guarantee.AT_MOST_ONCE)
    assert (new.max_attempts, new.retry_backoff_ms) == (5, 2000)


def test_the_digest_of_content_leaves_options_out() -> None:
    """A repeated create is told by all it says, a key only by what is sent (S12)."""
    first = requests.new_campaign(request(), "default", NullChannel())
    named = requests.new_campaign(request(display_name="n"), "default", NullChannel())
    other = requests.new_campaign(request(body=pb.EmailContent(text="t")), "default", NullChannel())
    assert first.content_digest == named.content_digest != other.content_digest
    assert len({first.request_digest, named.request_digest, other.request_digest}) == 3


def test_whole_numbers_stay_whole() -> None:
    """A template prints 5 for 5, and nested values keep their shape."""
    struct = struct_pb2.Struct()
    struct.update({"n": 5, "f": 2.5, "b": True, "l": [1, {"x": None}], "s": "t"})
    assert requests.struct_to_dict(struct) == {
        "n": 5,
        "f": 2.5,
        "b": True,
        "l": [1, {"x": None}],
        "s": "t",
    }
    assert repr(requests.struct_to_dict(struct)["n"]) == "5"


@pytest.mark.parametrize(
    ("recipient", "reason"),
    [
        (GivenRecipient("a\r\nRCPT TO:<b@x>", "", {}), "line breaks or NUL"),
        (GivenRecipient("a\0b", "", {}), "line breaks or NUL"),
        (GivenRecipient("a@x\n", "", {}), "line breaks or NUL"),
        (GivenRecipient("a" * 3000, "", {}), "at most 2,048 characters"),
        (GivenRecipient("a@x", "k" * 256, {}), "recipient_key has at most 255"),
        (GivenRecipient("a@x", "k\0", {}), "recipient_key must not contain NUL"),
        (GivenRecipient("a@x", "", {"t": "x" * 20_000}), "at most 16 KiB"),
        (GivenRecipient("a@x", "", {"n": float("nan")}), "not finite"),
        (GivenRecipient("", "", {}), "1 to 320 characters"),
    ],
)
def test_a_recipient_that_cannot_be_used_says_why(recipient: GivenRecipient, reason: str) -> None:
    """A bad row is a row with a reason, never a failed upload."""
    (row,) = check_rows(NullChannel(), [recipient])
    assert reason in row.reason
    assert len(row.address) <= 320


def test_a_recipient_that_can_be_used_has_no_reason() -> None:
    """The address is in the channel's form, the fields are JSON."""
    (row,) = check_rows(NullChannel(), [GivenRecipient(" a@x ", "k", {"ü": 1})])
    assert row == ("a@x", "k", '{"ü":1}', "")
