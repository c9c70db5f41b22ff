"""S13, S10: the sender is killed while two organisations send campaigns with the same id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from acceptance.deployment import CAMPAIGN_ID, CONTENT, Deployment, deployed
from acceptance.processes import PATIENCE_SECONDS
from closeout.aio import SenderClient, StatusClient
from closeout.errors import UnavailableError
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from integration.databases import SqliteDatabase
from integration.key_support import make_key
from integration.keyed_pair import SERVICE_SCOPES
from providers.smtp_provider import scripted
from service_runtime.caller import ALL_SCOPES

_SIZES = {"alpha": 300, "beta": 500}
_KILLS = 6
_OUTCOMES = status_pb2.Result.Outcome


def _address(organisation: str, sequence: int) -> str:
    return f"person{sequence}@{organisation}.example"


@asynccontextmanager
async def _clients(
    deployment: Deployment, organisation: str
) -> AsyncIterator[tuple[SenderClient, StatusClient]]:
    database = SqliteDatabase(deployment.status.folder / "closeout-status.db")
    key = make_key(database, organisation=organisation, scopes=ALL_SCOPES).text
    async with (
        SenderClient(deployment.sender.address, api_key=key) as sender,
        StatusClient(deployment.status.address, api_key=key) as status,
    ):
        yield sender, status


async def _started(sender: SenderClient, organisation: str, size: int) -> None:
    """Create, fill and start the campaign of an organisation, once the sender has its key."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            await sender.create_campaign(
                campaign_id=CAMPAIGN_ID, channel="smtp", body=sender_pb2.EmailContent(**CONTENT)
            )
        except UnavailableError:
            assert asyncio.get_running_loop().time() < deadline
        else:
            break
    recipients = []
    for sequence in range(1, size + 1):
        recipient = sender_pb2.Recipient(address=_address(organisation, sequence))
        recipient.fields["name"] = organisation
        recipients.append(recipient)
    await sender.upload_recipients(
        campaign_id=CAMPAIGN_ID, upload_id="audience", batches=[recipients]
    )
    await sender.start_campaign(campaign_id=CAMPAIGN_ID)


async def _completed(status: StatusClient) -> status_pb2.Campaign:
    async with asyncio.timeout(4 * PATIENCE_SECONDS):
        async for campaign in status.watch_campaign(campaign_id=CAMPAIGN_ID):
            last = campaign
    assert last.state == status_pb2.Campaign.COMPLETED, last
    return last


async def test_s13_a_killed_sender_mixes_no_organisations_up(tmp_path: Path) -> None:
    """Each campaign completes with its own results, and nobody gets two messages."""
    key_file = tmp_path / "sender.key"
    key_file.write_text("closeout_none\n")
    async with deployed(
        tmp_path,
        scripted(latency_seconds=0.005),
        CLOSEOUT_SENDER_STATUS_API_KEY_FILE=str(key_file),
    ) as deployment:
        database = SqliteDatabase(deployment.status.folder / "closeout-status.db")
        service = make_key(database, organisation="operators", scopes=SERVICE_SCOPES)
        key_file.write_text(f"{service.text}\n")
        async with (
            _clients(deployment, "alpha") as alpha,
            _clients(deployment, "beta") as beta,
        ):
            by_name = {"alpha": alpha, "beta": beta}
            for name, (sender, _) in by_name.items():
                await _started(sender, name, _SIZES[name])
            for _ in range(_KILLS):
                await deployment.accepted(len(deployment.provider.ledger.accepted) + 40)
                await deployment.kill_sender_in_mid_sending()
                await deployment.start(deployment.sender)
            accepted = set()
            for name, (_, status) in by_name.items():
                campaign = await _completed(status)
                assert campaign.total == campaign.processed == _SIZES[name]
                assert campaign.failed == campaign.skipped == 0
                results = {
                    result.sequence: result.outcome
                    async for result in status.list_results(campaign_id=CAMPAIGN_ID)
                }
                assert sorted(results) == list(range(1, _SIZES[name] + 1))
                sent = {number for number, found in results.items() if found == _OUTCOMES.SENT}
                assert len(sent) == campaign.sent
                accepted |= {_address(name, number) for number in sent}
        got = deployment.accepted_by_address()
        assert set(got.values()) == {1}
        assert accepted <= set(got)
