"""BatchGetRecipients: who messages go to, in order, within the limits, for their owner only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from pysqlite3 import dbapi2

from closeout.aio.channel import open_channel
from closeout.errors import InvalidArgumentError, NotFoundError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.sender.v1.sender_pb2_grpc import SenderServiceStub
from integration.sender_pair import Pair, pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_ABSENT, _FOREIGN = "other-1", "other-2"  # of one length, so that answers can be compared


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with nothing in them."""
    async with pair(tmp_path) as services:
        yield services


async def upload(both: Pair, *recipients: pb.Recipient) -> None:
    """Create the campaign ``c`` with these recipients."""
    await both.create("c", 0)
    await both.sender.upload_recipients(
        campaign_id="c",
        upload_id="more",
        batches=[recipients[start : start + 200] for start in range(0, len(recipients), 200)],
    )


async def asked(both: Pair, *sequences: int, campaign_id: str = "c") -> list[tuple[int, str, str]]:
    """Return what the sender answers."""
    found = await both.sender.batch_get_recipients(campaign_id=campaign_id, sequences=sequences)
    return [(entry.sequence, entry.address, entry.recipient_key) for entry in found]


async def test_recipients_come_in_order_of_sequence(both: Pair) -> None:
    """Asked in any order, once for a repeat; the address is the channel's form of it."""
    await upload(
        both,
        pb.Recipient(address=" A@Example.com ", recipient_key="K1"),
        pb.Recipient(address="nobody", recipient_key="K2"),
        pb.Recipient(address="b@example.com"),
        pb.Recipient(address="c@example.com", recipient_key="=K4"),
    )
    assert await asked(both, 3, 1, 2, 3) == [
        (1, "a@example.com", "K1"),
        (2, "b@example.com", ""),
        (3, "c@example.com", "=K4"),
    ]


async def test_sequences_that_do_not_exist_are_left_out(both: Pair) -> None:
    """Also when none of them exists, and whatever the numbers are."""
    await both.create("c", 2)
    await both.create("d", 5)
    assert await asked(both, 0, -1, 2, 3, 2**63 - 1, -(2**63)) == [(2, "p1@example.com", "")]
    assert await asked(both, 3) == []
    await both.create("empty", 0)
    assert await asked(both, 1, campaign_id="empty") == []


async def test_recipients_are_known_before_during_and_after_the_sending(both: Pair) -> None:
    """The audience may be asked about in every phase."""
    await both.create("c", 60)
    before = await asked(both, 1, 60)
    await both.sender.start_campaign(campaign_id="c")
    assert await asked(both, 1, 60) == before
    await both.ended("c")
    await both.finished("c")
    assert await asked(both, 1, 60) == before
    assert [address for _, address, _ in before] == ["p0@example.com", "p59@example.com"]


async def test_four_hundred_may_be_asked_for_and_no_more(both: Pair) -> None:
    """None and 401 are refused with the field and the limit, whatever the campaign."""
    await both.create("c", 1)
    assert len(await asked(both, *range(1, 401))) == 1
    for campaign_id in ("c", _ABSENT):
        for sequences in ((), range(1, 402), [1] * 401):
            with pytest.raises(InvalidArgumentError) as refused:
                await asked(both, *sequences, campaign_id=campaign_id)
            assert refused.value.reason == "INVALID_REQUEST"
            limit = f"{len(sequences)} given; 1 to 400"
            assert refused.value.field_violations == {"sequences": limit}
    with pytest.raises(InvalidArgumentError) as refused:
        await asked(both, 1, campaign_id="")
    assert list(refused.value.field_violations) == ["campaign_id"]


async def test_four_hundred_fit_an_answer_however_long_they_are(both: Pair) -> None:
    """An answer holds the longest addresses and keys there can be."""
    wide = "\U0001f4e7"  # four bytes in UTF-8
    addresses = [f"{number:04}@" + wide * (2048 - 5) for number in range(400)]
    recipients = [pb.Recipient(address=address, recipient_key=wide * 255) for address in addresses]
    await upload(both, *recipients)
    found = await asked(both, *range(1, 401))
    assert [address for _, address, _ in found] == addresses


async def test_forty_with_their_fields_fit_an_answer_however_many_they_are(both: Pair) -> None:
    """Fields of 16 KiB take the most space as a list of numbers; 41 recipients are refused."""
    wide = "\U0001f4e7"
    fields = struct_pb2.Struct()
    json_format.ParseDict({"a": [1] * 8000}, fields)
    recipients = [
        pb.Recipient(
            address=f"{number:04}@" + wide * (2048 - 5), recipient_key=wide * 255, fields=fields
        )
        for number in range(40)
    ]
    await both.create("c", 0)
    await both.sender.upload_recipients(
        campaign_id="c", upload_id="more", batches=[recipients[:20], recipients[20:]]
    )
    found = await both.sender.batch_get_recipients(
        campaign_id="c", sequences=range(1, 41), include_fields=True
    )
    assert [entry.fields for entry in found] == [fields] * 40
    (bare,) = await both.sender.batch_get_recipients(campaign_id="c", sequences=[1])
    assert not bare.HasField("fields")
    with pytest.raises(InvalidArgumentError) as refused:
        await both.sender.batch_get_recipients(
            campaign_id="c", sequences=range(1, 42), include_fields=True
        )
    assert refused.value.field_violations == {"sequences": "41 given; 1 to 40"}


async def test_an_upload_without_a_campaign_is_the_callers_mistake(both: Pair) -> None:
    """What is required in every message is missed as such, not looked for."""
    with pytest.raises(InvalidArgumentError) as refused:
        await both.sender.upload_recipients(campaign_id="", upload_id="u", batches=[[]])
    assert list(refused.value.field_violations) == ["campaign_id"]


def _answer(error: grpc.aio.AioRpcError, name: str) -> tuple[Any, ...]:
    """Return all that a refusal says, with NAME for the name of the campaign."""
    trailers = [
        (
            key,
            (value if isinstance(value, bytes) else value.encode()).replace(name.encode(), b"NAME"),
        )
        for key, value in error.trailing_metadata() or ()
    ]
    return error.code(), (error.details() or "").replace(name, "NAME"), sorted(trailers)


async def test_s13_recipients_of_a_foreign_campaign_are_not_found(both: Pair) -> None:
    """A foreign campaign and an absent one get the same answer, byte for byte but for the id."""
    await both.create(_FOREIGN, 3)
    with contextlib.closing(dbapi2.connect(both.folder / "sender.db")) as connection, connection:
        connection.execute("UPDATE campaigns SET organisation = 'rival'")
    with pytest.raises(NotFoundError):
        await asked(both, 1, campaign_id=_FOREIGN)
    answers = []
    async with open_channel(both.sender_address) as channel:
        stub: Any = SenderServiceStub(channel)
        for name in (_ABSENT, _FOREIGN):
            request = pb.BatchGetRecipientsRequest(campaign_id=name, sequences=[1, 2])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.BatchGetRecipients(request)
            answers.append(_answer(caught.value, name))
    assert answers[0][:2] == (grpc.StatusCode.NOT_FOUND, "campaign 'NAME' not found")
    assert answers[0] == answers[1]
