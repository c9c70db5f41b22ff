"""Restore the status database from a backup under real processes, and do nothing else."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from acceptance.deployment import CAMPAIGN_ID, Deployment, deployed
from acceptance.processes import PATIENCE_SECONDS
from closeout.aio import SenderClient, StatusClient
from closeout.sender.v1 import sender_pb2
from providers.smtp_provider import scripted

_MESSAGES = 600
_ADDRESSES = [f"person{number}@example.com" for number in range(_MESSAGES)]


def _back_up(folder: Path) -> int:
    """Copy the database of the running service; return the results in the copy."""
    with (
        closing(sqlite3.connect(folder / "closeout-status.db")) as source,
        closing(sqlite3.connect(folder / "backup.db")) as target,
    ):
        source.backup(target)
        return int(target.execute("SELECT count(*) FROM results").fetchone()[0])


async def _restore(deployment: Deployment) -> None:
    """Stop the status service, replace its database by the copy, and start it."""
    assert await asyncio.to_thread(deployment.status.terminate) == 0
    folder = deployment.status.folder
    for suffix in ("-wal", "-shm"):
        (folder / f"closeout-status.db{suffix}").unlink(missing_ok=True)
    shutil.copyfile(folder / "backup.db", folder / "closeout-status.db")
    await deployment.start(deployment.status)


async def _watch(deployment: Deployment, *, processed: int) -> None:
    """Wait until the campaign has ``processed`` results."""
    async with StatusClient(deployment.status.address) as client:
        async for campaign in client.watch_campaign(campaign_id=CAMPAIGN_ID):
            if campaign.processed >= processed:
                return


async def _finished(deployment: Deployment) -> None:
    """Wait until the sender has received every acknowledgement.

    A COMPLETED campaign has every result, but the last acknowledgements may not have
    arrived; the sender would not miss those results in a store restored now.
    """
    async with (
        SenderClient(deployment.sender.address) as client,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        phase = None
        while phase != sender_pb2.GetDeliveryResponse.FINISHED:
            phase = (await client.get_delivery(campaign_id=CAMPAIGN_ID)).phase


async def test_s7_a_restored_status_database_needs_nothing_else(tmp_path: Path) -> None:
    """S7, S4, S10, S15: restored while the campaign runs, and again after its end.

    Both times the campaign completes with every result, nobody gets a second message,
    and the sender logs the lost results.
    """
    async with deployed(tmp_path, scripted(latency_seconds=0.005)) as deployment:
        await deployment.send(_ADDRESSES)
        await deployment.accepted(100)
        copied = await asyncio.to_thread(_back_up, deployment.status.folder)
        await _watch(deployment, processed=copied + 100)
        await _restore(deployment)
        first = await deployment.completed()
        await _finished(deployment)
        await _restore(deployment)
        second = await deployment.completed()
        results = await deployment.results()
        lost = deployment.sender.events("status_store_lost_results")

    for campaign in (first, second):
        assert (campaign.total, campaign.sent) == (_MESSAGES, _MESSAGES)
    assert set(results) == set(range(1, _MESSAGES + 1))
    assert deployment.accepted_by_address() == Counter(_ADDRESSES)
    assert [line["processed"] for line in lost] == [copied, copied]
    assert lost[0]["acknowledged"] >= copied + 1
    assert lost[1]["acknowledged"] == _MESSAGES
