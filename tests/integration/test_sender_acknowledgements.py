"""Acknowledgements that the sender's store does not take, and those that a loss makes void."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from integration import sender_support as support
from sender_service.domain import Backoff, State
from sender_service.reporting.acknowledgements import Acknowledgements
from sender_service.store import schema
from sender_service.store.outbox import ShardKey
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service_runtime.database import Store

_MESSAGES = 6


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what failed be tried again at once."""
    monkeypatch.setattr(Backoff, "next_seconds", lambda _: 0.0)


def failing_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]
) -> None:
    """Let the next write fail; ``meanwhile`` runs while it does."""

    async def fail(_: Any) -> Any:
        monkeypatch.setattr(store, "write", write)
        meanwhile()
        raise StoreUnavailableError("the test says so")

    write = store.write
    monkeypatch.setattr(store, "write", fail)


async def add_ended(store: Store, **fields: Any) -> sa.Row[Any]:
    """Store a campaign of which every message has an outcome; return its row."""
    row = await support.add_campaign(store, messages=_MESSAGES, **fields)
    shards = schema.shards
    ended = sa.update(shards).where(shards.c.campaign == row.campaign)
    values = {"intent_through": _MESSAGES, "journaled": _MESSAGES}
    await store.write(lambda connection: connection.execute(ended.values(values)))
    return row


async def stored(store: Store, campaign: int) -> tuple[str, int]:
    """Return the phase of a campaign, and how many entries of its shard count as reported."""
    query = sa.select(schema.campaigns.c.phase, schema.shards.c.reported).join(
        schema.shards, schema.shards.c.campaign == schema.campaigns.c.campaign
    )
    (row,) = await support.rows(store, query.where(schema.campaigns.c.campaign == campaign))
    return row.phase, row.reported


async def test_s7_what_comes_while_the_store_fails_is_not_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest acknowledgement and the newest state are stored, and the campaign ends."""
    async with support.open_store(tmp_path) as store:
        row = await add_ended(store)
        key = ShardKey(row.campaign, 1)
        acknowledgements = Acknowledgements(store, replay_days=7)

        def more() -> None:
            acknowledgements.add({key: _MESSAGES})
            acknowledgements.add_state(row.campaign, State.COMPLETED)

        acknowledgements.add({key: 2})
        acknowledgements.add_state(row.campaign, State.SENDING)
        failing_once(store, monkeypatch, more)
        assert await acknowledgements.store() == [row.campaign]
        assert acknowledgements.all_stored
        assert await stored(store, row.campaign) == ("FINISHED", _MESSAGES)
        (campaign,) = await support.rows(store, sa.select(schema.campaigns))
        assert campaign.state == "COMPLETED"


async def test_s15_what_the_store_did_not_take_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is forgotten, and nothing passes for stored meanwhile."""
    async with support.open_store(tmp_path) as store:
        row = await add_ended(store)
        acknowledgements = Acknowledgements(store, replay_days=7)
        seen: list[bool] = []
        acknowledgements.add({ShardKey(row.campaign, 1): _MESSAGES})
        failing_once(store, monkeypatch, lambda: seen.append(acknowledgements.all_stored))
        assert await acknowledgements.store() == [row.campaign]
        assert seen == [False]


async def test_s7_a_loss_makes_void_what_is_not_written_down(tmp_path: Path) -> None:
    """What the status service acknowledged and then lost is reported again, of that campaign."""
    async with support.open_store(tmp_path) as store:
        lost, other = [await add_ended(store, campaign_id=name) for name in ("lost", "other")]
        acknowledgements = Acknowledgements(store, replay_days=7)
        for row in (lost, other):
            acknowledgements.add({ShardKey(row.campaign, 1): _MESSAGES})
        await acknowledgements.bring_back(lost.campaign)
        assert await acknowledgements.store() == [other.campaign]
        assert await stored(store, lost.campaign) == ("STARTED", 0)
        acknowledgements.add({ShardKey(lost.campaign, 1): _MESSAGES})  # of what came again
        assert await acknowledgements.store() == [lost.campaign]


async def test_s7_another_store_makes_void_what_its_organisation_waits_for(
    tmp_path: Path,
) -> None:
    """An acknowledgement of the store before says nothing of the one that is there now."""
    async with support.open_store(tmp_path) as store:
        ours, theirs = [
            await add_ended(store, campaign_id=name, organisation=organisation)
            for name, organisation in (("a", "ours"), ("b", "theirs"))
        ]
        acknowledgements = Acknowledgements(store, replay_days=7)
        for organisation in ("ours", "theirs"):
            assert not await acknowledgements.adopt(organisation, "first")
        for row in (ours, theirs):
            acknowledgements.add({ShardKey(row.campaign, 1): _MESSAGES})
        assert await acknowledgements.adopt("ours", "second")
        assert not await acknowledgements.adopt("ours", "second")
        assert await acknowledgements.store() == [theirs.campaign]
        assert await stored(store, ours.campaign) == ("STARTED", 0)
