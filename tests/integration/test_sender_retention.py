"""What the sender keeps of campaigns: deleted, erased, and removed after a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from closeout.errors import FailedPreconditionError, NotFoundError, UnavailableError
from closeout.sender.v1 import sender_pb2
from integration import sender_support as support
from integration.databases import SqliteDatabase
from integration.sender_pair import Pair, State, pair
from integration.status_support import SENT, by_hand, results
from integration.test_sender_restores import back_up, ended, restore
from sender_service.campaigns import retention
from sender_service.settings import SenderSettings
from sender_service.store import campaigns, erasure, removal, schema
from sender_service.store.removal import Expiry

if TYPE_CHECKING:
    from pathlib import Path

    from service_runtime.database import Store

ANN = "p1@example.com"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sender look often for something to remove."""
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0.05)


def sender_rows(both: Pair, table: str) -> int:
    """Return how many rows a table of the sender has."""
    with SqliteDatabase(both.folder / "sender.db").by_hand() as connection:
        ((number,),) = connection.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
    return int(number)


async def answers(both: Pair) -> bool:
    """Return whether the sender answers, as some time after it was started again."""
    try:
        await both.sender.get_delivery(campaign_id="c1")
    except UnavailableError:
        return False
    return True


async def removed(both: Pair) -> None:
    """Wait until the sender has nothing to remove."""

    async def look() -> bool:
        return sender_rows(both, "removals") == 0

    await support.eventually(look)


async def test_a_campaign_is_deleted_at_both_services(tmp_path: Path) -> None:
    """Content, recipients and outcomes are gone, those of others stay; a repeat changes nothing."""
    async with pair(tmp_path) as both:
        for name in ("c1", "c2"):
            await both.begin(name, 3)
            await both.finished(name)
        with capture_logs() as logged:
            assert (await both.status.delete_campaign(campaign_id="c1")).deleted
            would = await both.sender.delete_campaign(campaign_id="c1", dry_run=True)
            did = await both.sender.delete_campaign(campaign_id="c1")
            assert (would.deleted, would.recipients) == (did.deleted, did.recipients) == (True, 3)

            async def said() -> bool:  # after the rows have gone
                return any(line["event"] == "campaign_removed" for line in logged)

            await support.eventually(said)
        assert [sender_rows(both, table) for table in ("recipients", "outcomes", "shards")] == [
            3,
            3,
            1,
        ]
        with pytest.raises(NotFoundError):
            await both.sender.get_delivery(campaign_id="c1")
        assert not (await both.sender.delete_campaign(campaign_id="c1")).deleted
        assert (await both.sender.get_delivery(campaign_id="c2")).finished == 3
        with pytest.raises(NotFoundError):
            await both.sender.delete_campaign(campaign_id="never")
        of_it = [line for line in logged if line.get("campaign_id") == "c1"]
        assert {"campaign_deleted", "campaign_removed"} <= {line["event"] for line in of_it}
        # Recipients and outcomes, a shard, an upload and the campaign, removed in several steps.
        assert [line["rows"] for line in of_it if line["event"] == "campaign_removed"] == [9]


async def test_a_campaign_at_work_is_not_deleted_and_one_that_was_cancelled_is(
    tmp_path: Path,
) -> None:
    """The sender refuses while messages go out; a draft goes once it was cancelled."""
    async with pair(tmp_path) as both:
        both.channel.hold.clear()
        await both.begin("c1", 3)
        with pytest.raises(FailedPreconditionError) as at_work:
            await both.sender.delete_campaign(campaign_id="c1")
        assert at_work.value.reason == "CAMPAIGN_NOT_ENDED"
        both.channel.hold.set()
        await both.create("draft", 2)
        with pytest.raises(FailedPreconditionError):
            await both.sender.delete_campaign(campaign_id="draft")
        await both.status.cancel_campaign(campaign_id="draft")
        await both.status.delete_campaign(campaign_id="draft")
        assert (await both.sender.delete_campaign(campaign_id="draft")).recipients == 2


async def test_a_campaign_deleted_under_its_sender_ends_and_never_comes_back(
    tmp_path: Path,
) -> None:
    """What is unsent is not sent, what became of the rest is kept here; nothing is registered."""
    async with pair(tmp_path) as both:
        both.channel.hold.clear()
        await both.begin("c1", 40)

        async def sending() -> bool:
            return both.channel.flying > 0

        await support.eventually(sending)
        await both.status.cancel_campaign(campaign_id="c1")
        await both.status.delete_campaign(campaign_id="c1")
        both.channel.hold.set()
        delivery = await both.finished("c1")
        assert (delivery.finished, delivery.unreported) == (40, 0)
        assert 0 < len(both.channel.accepted()) < 40
        with pytest.raises(NotFoundError) as caught:
            await both.status.get_campaign(campaign_id="c1")
        assert caught.value.reason == "CAMPAIGN_DELETED"
        # A frozen campaign does not come back either, nor does an ended one by a new stream.
        await both.stop_sender()
        await both.start_sender()
        await support.eventually(partial(answers, both))
        await both.begin("c2", 1)
        await both.finished("c2")
        with by_hand(tmp_path) as connection:
            found = connection.execute("SELECT campaign_id FROM campaigns").fetchall()
        assert {row[0] for row in found} - {"1"} == {"c2"}


async def test_a_campaign_deleted_after_the_backup_is_deleted_again_by_hand(
    tmp_path: Path,
) -> None:
    """A restore brings it back as it was, and the sender neither repeats nor loses anything."""
    async with pair(tmp_path) as both:
        await both.begin("c1", 3)
        await both.finished("c1")
        back_up(tmp_path)
        await both.status.delete_campaign(campaign_id="c1")
        await both.sender.delete_campaign(campaign_id="c1")
        await removed(both)
        await restore(both)
        campaign = await ended(both, "c1")  # it answers again
        assert (campaign.state, campaign.sent) == (State.COMPLETED, 3)
        assert (await both.status.delete_campaign(campaign_id="c1")).deleted


async def test_results_kept_no_longer_hold_up_no_sender(tmp_path: Path) -> None:
    """A sender whose results are wanted no more finishes its campaign."""
    async with pair(tmp_path) as both:
        both.channel.hold.clear()
        await both.begin("c1", 3)

        async def sending() -> bool:
            return both.channel.flying > 0

        await support.eventually(sending)
        await both.status.cancel_campaign(campaign_id="c1")
        with by_hand(tmp_path) as connection:
            connection.execute("UPDATE campaigns SET results_remove_time = 1")
        both.channel.hold.set()
        delivery = await both.finished("c1")
        assert (delivery.finished, delivery.unreported) == (3, 0)
        with pytest.raises(FailedPreconditionError) as caught:
            await both.status.report(results([1]), campaign_id="c1")
        assert caught.value.reason == "RESULTS_REMOVED"


async def test_an_address_is_erased_everywhere_and_counted(tmp_path: Path) -> None:
    """Campaigns that have ended forget the person; one at work is named and left alone."""
    async with pair(tmp_path) as both:
        for name in ("c1", "c2"):
            await both.begin(name, 3)
            await both.finished(name)
        await both.create("draft", 2)
        would = await both.sender.erase_address(address=f" {ANN.upper()}", dry_run=True)
        assert (would.recipients, would.outcomes) == (2, 2)
        assert list(would.open_campaign_ids) == ["draft"]
        with capture_logs() as logged:
            did = await both.sender.erase_address(address=ANN)
        assert (did.recipients, did.outcomes) == (2, 2)
        assert list(did.open_campaign_ids) == ["draft"]
        found = await both.sender.batch_get_recipients(campaign_id="c1", sequences=[1, 2, 3])
        assert [one.address for one in found] == [
            "p0@example.com",
            "[erased 2]",
            "p2@example.com",
        ]
        assert (await both.sender.erase_address(address=ANN)).recipients == 0
        assert ANN not in str(logged)
        # Nobody sends to a person who was erased.
        again = await both.sender.resend_campaign(
            source_campaign_id="c1", outcomes=[SENT], campaign_id="again"
        )
        assert again.total == 2


@pytest.mark.parametrize("campaigns_at_once", [1, 2, 3, 4])
async def test_an_address_is_erased_from_any_number_of_campaigns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, campaigns_at_once: int
) -> None:
    """A call looks at a limited number of them; the calls of a client at all, each once."""
    monkeypatch.setattr(erasure, "CAMPAIGNS_AT_ONCE", campaigns_at_once)
    async with pair(tmp_path) as both:
        for name in ("c1", "c2", "c3"):
            await both.begin(name, 2)
            await both.finished(name)
        would = await both.sender.erase_address(address=ANN, dry_run=True)
        assert (would.recipients, would.outcomes) == (3, 3)
        did = await both.sender.erase_address(address=ANN)
        assert (did.recipients, did.outcomes) == (3, 3)


async def test_an_address_is_erased_from_rows_that_were_refused(tmp_path: Path) -> None:
    """However it was written there; what an upload refused of others stays."""
    async with pair(tmp_path) as both:
        for name in ("c1", "c2", "c3"):
            await both.begin(name, 1)
            await both.finished(name)
        rows = {1: "Ann <P1@Example.com>", 2: "p1xexample.com", 3: f"{ANN}, {ANN}"}
        with SqliteDatabase(both.folder / "sender.db").by_hand() as connection:
            for number, row in rows.items():
                connection.execute(
                    "UPDATE uploads SET rejected_rows = ? WHERE campaign = ?", (row, number)
                )
        assert (await both.sender.erase_address(address=ANN)).recipients == 0
        with SqliteDatabase(both.folder / "sender.db").by_hand() as connection:
            found = connection.execute("SELECT rejected_rows FROM uploads ORDER BY campaign")
            assert [row for (row,) in found] == [
                "Ann <[erased]>",
                "p1xexample.com",
                "[erased], [erased]",
            ]


class Removing:
    """A sender's store, and its retention without a status service."""

    def __init__(self, store: Store, expiry: Expiry) -> None:
        self.store = store
        self.expiry = expiry
        self.rows: list[int] = []

    async def finished(self, name: str, messages: int) -> sa.Row[Any]:
        """Store a campaign that ended long ago."""
        row = await support.add_campaign(self.store, messages=messages, campaign_id=name)

        def work(connection: sa.Connection) -> None:
            connection.exec_driver_sql(
                "UPDATE campaigns SET phase = 'FINISHED', finish_time = 1 WHERE campaign_id = ?",
                (name,),
            )

        await self.store.write(work)
        return row

    async def step(self) -> bool:
        """Do one transaction, as the service does."""
        found = await self.store.read(removal.first)
        if found is None:
            return bool(await self.store.write(partial(removal.expire, expiry=self.expiry)))
        step = await self.store.write(partial(removal.step, removal=found))
        self.rows.append(step.rows)
        return True


async def test_b1_recipients_go_in_small_transactions_and_on_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removes a bounded number of rows; a new process goes on where one was killed."""
    monkeypatch.setattr(removal, "MESSAGES_AT_ONCE", 10)
    expiry = Expiry.of_days(1, 30)
    async with support.open_store(tmp_path) as store:
        removing = Removing(store, expiry)
        row = await removing.finished("old", 100)
        await support.add_campaign(store, messages=5, campaign_id="open")
        for _ in range(4):
            assert await removing.step()
        assert removing.rows == [10] * 3
    async with support.open_store(tmp_path) as store:
        removing = Removing(store, expiry)
        while await removing.step():
            assert removing.rows[-1:] in ([], [0], [10])
        assert sum(removing.rows) == 70
        left = await support.rows(store, sa.select(schema.recipients.c.campaign))
        assert {one.campaign for one in left} == {row.campaign + 1}
        (kept,) = await support.rows(
            store, sa.select(schema.campaigns).where(schema.campaigns.c.campaign == row.campaign)
        )
        assert (kept.content, kept.total) == ("", 100)
        assert kept.content_remove_time is not None
        assert not await store.read(partial(removal.is_due, expiry=expiry))
        # Nothing of it can be reported again, so it is not asked for.
        assert not await store.read(
            partial(campaigns.finished_lately, organisation="default", days=36_500)
        )


async def test_what_is_not_kept_is_said_to_be_so(tmp_path: Path) -> None:
    """BatchGetRecipients and ResendCampaign answer RECIPIENTS_REMOVED; totals stay."""
    async with pair(tmp_path, content_keep_days=1, recipients_keep_days=8) as both:
        await both.begin("c1", 3)
        await both.finished("c1")
        with SqliteDatabase(both.folder / "sender.db").by_hand() as connection:
            connection.execute("UPDATE campaigns SET finish_time = 1")

        async def gone() -> bool:
            return sender_rows(both, "recipients") == 0

        await support.eventually(gone)
        for call in (
            both.sender.batch_get_recipients(campaign_id="c1", sequences=[1]),
            both.sender.resend_campaign(source_campaign_id="c1", outcomes=[SENT]),
        ):
            with pytest.raises(FailedPreconditionError) as caught:
                await call
            assert caught.value.reason == "RECIPIENTS_REMOVED"
        delivery = await both.sender.get_delivery(campaign_id="c1")
        assert (delivery.finished, delivery.phase) == (3, sender_pb2.GetDeliveryResponse.FINISHED)
        assert (await both.status.get_campaign(campaign_id="c1")).sent == 3


def test_recipients_are_kept_for_as_long_as_results_may_be_reported_again() -> None:
    """A setting that would remove outcomes within replay_days is refused."""
    with pytest.raises(ValueError, match="replay_days"):
        SenderSettings(recipients_keep_days=7)
    assert SenderSettings(recipients_keep_days=8).recipients_keep_days == 8
