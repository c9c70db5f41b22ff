"""The audience of a resend is copied in parts: what breaks off, goes on, and comes beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.family_support import people
from integration.resend_support import ended_campaign, sent_to
from integration.sender_pair import Pair
from sender_service.campaigns import resend
from sender_service.campaigns.resend import finish_copy
from sender_service.domain import Outcome
from sender_service.store import campaigns, resends, schema
from sender_service.store.resends import Counts, Selection

Result = status_pb2.Result


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, and a campaign with one message of each outcome."""
    async with ended_campaign(tmp_path) as services:
        yield services


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
