"""A status service that is killed once it has confirmed a pause, and a sender that has to obey.

`make soak` kills it more often.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.deployment import CAMPAIGN_ID, Deployment, deployed
from acceptance.processes import PATIENCE_SECONDS
from closeout.aio import SenderClient, StatusClient
from closeout.errors import UnavailableError
from closeout.status.v1 import status_pb2
from integration.sender_support import eventually
from providers.postgresql_server import PostgresqlServer
from providers.smtp_provider import scripted

State = status_pb2.Campaign.State
#: More than the provider takes in all the rounds of a test: who does not obey sends them all.
_MESSAGES_A_KILL = 2_000
_LATENCY_SECONDS = 0.02


@pytest.fixture
def pause_kills(request: pytest.FixtureRequest) -> int:
    """How many pauses are confirmed by a service that is killed in that moment."""
    kills: int = request.config.getoption("--pause-kills")
    return kills


@pytest.fixture(params=["sqlite", "postgresql"])
def status_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The database of the status service; empty: a file."""
    if request.param == "sqlite":
        yield ""
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


async def _kill(deployment: Deployment) -> None:
    """Kill the status service at once, and start it again."""
    deployment.status.signal(signal.SIGKILL)
    await asyncio.to_thread(deployment.status.wait)
    await deployment.start(deployment.status)


async def _obeyed(sender: SenderClient, state: State) -> None:
    """Wait until the sender knows the state, and nobody works on the campaign."""

    async def look() -> bool:
        delivery = await sender.get_delivery(campaign_id=CAMPAIGN_ID)
        busy = delivery.in_doubt or delivery.leased_shards or delivery.unreported
        return delivery.state == state and not busy

    await eventually(look, seconds=PATIENCE_SECONDS)


async def _pause(status: StatusClient) -> None:
    """Pause the campaign as soon as the status service answers."""

    async def paused() -> bool:
        try:
            await status.pause_campaign(campaign_id=CAMPAIGN_ID)
        except UnavailableError:
            return False  # it has just been started
        return True

    await eventually(paused, seconds=PATIENCE_SECONDS)


async def test_s17_what_a_dying_status_service_confirmed_is_obeyed(
    tmp_path: Path, status_database: str, pause_kills: int
) -> None:
    """Whether it could announce the pause or not, and whether the sender was there or not.

    Each round begins with a kill while messages go out; in every other one, the service is
    killed before as well, so that the pause meets a sender that has no stream. At last the
    campaign is cancelled in the same way: what the provider has is what was sent.
    """
    addresses = [f"person{number}@example.com" for number in range(_MESSAGES_A_KILL * pause_kills)]
    async with (
        deployed(
            tmp_path,
            scripted(latency_seconds=_LATENCY_SECONDS),
            status_database=status_database,
        ) as deployment,
        StatusClient(deployment.status.address) as status,
        SenderClient(deployment.sender.address) as sender,
    ):
        accepted = deployment.provider.ledger.accepted
        await deployment.send(addresses)
        for number in range(pause_kills):
            await deployment.accepted(len(accepted) + 20)
            if number % 2:
                await _kill(deployment)
            await _pause(status)
            await _kill(deployment)
            await _obeyed(sender, State.PAUSED)
            assert (await deployment.campaign()).sent == len(accepted) < len(addresses)
            await status.resume_campaign(campaign_id=CAMPAIGN_ID)
        await deployment.accepted(len(accepted) + 20)
        await status.cancel_campaign(campaign_id=CAMPAIGN_ID)
        await _kill(deployment)

        async def ended() -> bool:
            return not (await deployment.campaign()).pending

        await eventually(ended, seconds=PATIENCE_SECONDS)
        campaign = await deployment.campaign()
    assert campaign.state == State.CANCELLED
    assert campaign.sent == len(accepted) < len(addresses)
    assert campaign.skipped == len(addresses) - campaign.sent
    assert set(deployment.accepted_by_address().values()) == {1}, "S10"
