"""Kill either service at random moments of a campaign, and compare with the provider.

`make soak` kills each 20 times in one campaign.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from acceptance.deployment import Deployment, deployed
from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import status_pb2
from providers.smtp_provider import scripted

#: Enough messages are left for the last kill.
_MESSAGES_A_KILL = 100
_WINDOW = 64
_NAMES = {value: name for name, value in status_pb2.Result.Outcome.items()}


@pytest.fixture
def addresses(kills: int) -> list[str]:
    """Whom the campaign is sent to."""
    return [f"person{number}@example.com" for number in range(_MESSAGES_A_KILL * kills)]


def _moments(seed: int, messages: int, kills: int) -> list[int]:
    """Return the number of accepted messages before each kill."""
    return sorted(random.Random(seed).sample(range(10, messages - 100), kills))  # noqa: S311


def _outcomes(results: dict[int, status_pb2.Result], addresses: list[str]) -> dict[str, str]:
    """Return the name of the outcome of each address; sequence n is the n-th address."""
    return {addresses[sequence - 1]: _NAMES[result.outcome] for sequence, result in results.items()}


def _check_conservation(
    campaign: status_pb2.Campaign, outcomes: dict[str, str], addresses: list[str]
) -> None:
    """S1, S3: the counters add up to the total and equal the stored results."""
    assert campaign.total == campaign.processed == len(outcomes) == len(addresses)
    assert Counter(outcomes.values()) == Counter(
        SENT=campaign.sent,
        FAILED=campaign.failed,
        SKIPPED=campaign.skipped,
        UNKNOWN=campaign.unknown,
    )


def _check_completed_once(deployment: Deployment) -> None:
    """S4: one transition to COMPLETED and one event of it, read from the database."""
    with sqlite3.connect(deployment.status.folder / "closeout-status.db") as database:
        found = database.execute(
            "SELECT (SELECT count(*) FROM transitions WHERE to_state = 'COMPLETED'),"
            " (SELECT count(*) FROM events WHERE kind = 'campaign.completed')"
        ).fetchone()
    database.close()
    assert found == (1, 1)


@pytest.mark.parametrize("seed", [1])
async def test_sender_killed_at_most_once(
    tmp_path: Path, addresses: list[str], kills: int, seed: int
) -> None:
    """S10, S1, S3, S4: no recipient gets two messages, and only doubt ends as UNKNOWN.

    The sender is killed again and again in one campaign. The campaign completes, every SENT
    message is in the provider's ledger, every accepted message without an answer is
    UNKNOWN, and each kill leaves at most one window of UNKNOWN messages.
    """
    async with deployed(tmp_path, scripted(latency_seconds=0.005)) as deployment:
        await deployment.send(
            addresses,
            sender_pb2.DeliveryOptions(guarantee=sender_pb2.DeliveryOptions.AT_MOST_ONCE),
        )
        # The intervals are short, so that enough messages are left for the last kill.
        chance = random.Random(seed)  # noqa: S311
        for _ in range(kills):
            await deployment.accepted(
                len(deployment.provider.ledger.accepted) + chance.randint(1, 30)
            )
            await deployment.kill_sender_in_mid_sending()
            await deployment.start(deployment.sender)
        campaign = await deployment.completed()
        outcomes = _outcomes(await deployment.results(), addresses)

    _check_conservation(campaign, outcomes, addresses)
    _check_completed_once(deployment)
    accepted = deployment.accepted_by_address()
    assert max(accepted.values()) == 1
    assert {address for address, name in outcomes.items() if name == "SENT"} <= set(accepted)
    assert set(outcomes.values()) <= {"SENT", "UNKNOWN"}
    assert 0 < campaign.unknown <= kills * _WINDOW


@pytest.mark.parametrize("seed", [2])
async def test_sender_killed_at_least_once(
    tmp_path: Path, addresses: list[str], kills: int, seed: int
) -> None:
    """S11, S12: every message is sent; a second copy carries the same Message-ID.

    Only messages in doubt are copied, so each kill leaves at most one window of copies.
    """
    async with deployed(tmp_path, scripted(latency_seconds=0.005)) as deployment:
        await deployment.send(
            addresses,
            sender_pb2.DeliveryOptions(
                guarantee=sender_pb2.DeliveryOptions.AT_LEAST_ONCE, max_in_flight=_WINDOW
            ),
        )
        for moment in _moments(seed, len(addresses), kills)[::2]:
            await deployment.accepted(moment)
            await deployment.kill_and_start(deployment.sender)
        campaign = await deployment.completed()
        outcomes = _outcomes(await deployment.results(), addresses)

    _check_conservation(campaign, outcomes, addresses)
    assert campaign.sent == len(addresses)
    accepted = deployment.accepted_by_address()
    assert set(accepted) == set(addresses)
    assert accepted.total() - len(addresses) <= (kills + 1) // 2 * _WINDOW
    identities = {
        (entry.recipient, entry.message_id) for entry in deployment.provider.ledger.accepted
    }
    assert len(identities) == len(addresses)


@pytest.mark.parametrize("seed", [3])
async def test_status_killed(tmp_path: Path, addresses: list[str], kills: int, seed: int) -> None:
    """S7, S1, S4: no result is lost or counted twice, and the campaign completes once."""
    async with deployed(tmp_path, scripted(latency_seconds=0.005)) as deployment:
        await deployment.send(addresses)
        for moment in _moments(seed, len(addresses), kills):
            await deployment.accepted(moment)
            await deployment.kill_and_start(deployment.status)
        campaign = await deployment.completed()
        outcomes = _outcomes(await deployment.results(), addresses)

    _check_conservation(campaign, outcomes, addresses)
    _check_completed_once(deployment)
    assert campaign.sent == len(addresses)
    assert deployment.accepted_by_address() == Counter(addresses)
