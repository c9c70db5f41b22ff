"""The sender's own key: what happens when it is missing, revoked or too weak, and afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from closeout.errors import ClientError, UnauthenticatedError, UnavailableError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.keyed_pair import ALPHA, BETA, KeyedPair, keyed_pair
from sender_service.access.asking import CallerLimits
from sender_service.access.met_keys import MetKeys
from sender_service.store import schema
from service_runtime.caller import Scope

Kind = status_pb2.Problem
State = status_pb2.Campaign.State


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[KeyedPair]:
    async with keyed_pair(tmp_path) as services:
        yield services


def kinds(delivery: pb.GetDeliveryResponse) -> set[int]:
    """Return the kinds of the problems that hold a delivery up."""
    return {problem.kind for problem in delivery.problems}


@pytest.mark.parametrize("scopes", [None, (Scope.WRITE, Scope.SERVICE)], ids=["revoked", "weak"])
async def test_sending_stops_while_the_senders_key_is_refused(
    both: KeyedPair, scopes: tuple[Scope, ...] | None
) -> None:
    """S17: no pause would reach it. Results are kept, the reason is shown, a good key goes on."""
    async with both.member(ALPHA) as alpha, both.member(BETA) as beta:
        await alpha.begin("warm-up", 1)
        await alpha.finished("warm-up")
        both.channel.forget()
        both.channel.hold.clear()
        await alpha.begin("news", 60)
        await support.eventually(lambda: both.channel.flying == both.channel.concurrency)
        with capture_logs() as logged:
            both.revoke(both.service_key)
            if scopes is not None:
                both.give_service_key(scopes)

            async def stopped() -> bool:
                delivery = await alpha.sender.get_delivery(campaign_id="news")
                return Kind.STATUS_SERVICE_REFUSES in kinds(delivery) and not delivery.revision

            await support.eventually(stopped)
            both.channel.hold.set()
            await support.eventually(lambda: both.channel.flying == 0)
        (line,) = [line for line in logged if line["event"] == "status_service_refuses"]
        assert line["log_level"] == "error"
        assert "[sender] status_api_key_file" in line["setting"]
        handed_over = len(both.channel.calls)
        delivery = await alpha.sender.get_delivery(campaign_id="news")
        assert delivery.state == State.STATE_UNSPECIFIED
        (problem,) = delivery.problems
        assert problem.needs_attention
        assert problem.setting == "[sender] status_api_key_file"
        assert "report, service, write" in problem.detail
        checks = (await alpha.sender.check_sender()).checks
        (check,) = [check for check in checks if check.name == "status_service"]
        assert (check.ok, check.problem.kind) == (False, Kind.STATUS_SERVICE_REFUSES)
        await alpha.status.pause_campaign(campaign_id="news")
        assert len(both.channel.calls) == handed_over < 60
        both.give_service_key()

        async def paused() -> bool:
            found = await alpha.sender.get_delivery(campaign_id="news")
            return found.state == State.PAUSED and not found.problems

        await support.eventually(paused)
        await alpha.status.resume_campaign(campaign_id="news")
        await alpha.finished("news")
        campaign = await alpha.status.get_campaign(campaign_id="news")
        assert (campaign.state, campaign.sent) == (State.COMPLETED, 60)
        assert len(both.channel.calls) == 60
        checks = (await beta.sender.check_sender()).checks
        assert all(check.ok for check in checks if check.name == "status_service")


async def test_without_a_good_key_nobody_new_is_known(tmp_path: Path) -> None:
    """A sender that starts with a wrong key says what to do, and serves nobody until then."""
    both = KeyedPair(tmp_path)
    try:
        both.key_file.write_text("closeout_wrong\n")
        await both.start()
        async with both.member(ALPHA) as alpha:
            with pytest.raises(UnavailableError) as caught:
                await alpha.create("news", 1)
            assert caught.value.reason == "STATUS_SERVICE_UNAVAILABLE"
            assert "[sender] status_api_key_file" in caught.value.message
            both.give_service_key()

            async def known() -> bool:
                try:
                    await alpha.begin("news", 1)
                except UnavailableError:
                    return False
                return True

            await support.eventually(known)
            await alpha.finished("news")
    finally:
        await asyncio.shield(both.close())


async def test_a_sender_without_a_key_acts_for_default_alone(tmp_path: Path) -> None:
    """Campaigns of others wait, and none of their results is reported as default's."""
    async with keyed_pair(tmp_path) as both, both.member(ALPHA) as alpha:
        both.channel.hold.clear()
        await alpha.begin("news", 5)
        await both.stop_sender()
        del both.settings["status_api_key_file"]
        both.channel.hold.set()
        with capture_logs() as logged:
            await both.start_sender()
            await support.eventually(
                lambda: any(
                    line["event"] == "status_service_refuses" and line["organisation"] == ALPHA
                    for line in logged
                )
            )
            with pytest.raises(UnavailableError):
                await alpha.sender.get_delivery(campaign_id="news")
        await both.stop_sender()
        both.settings["status_api_key_file"] = str(both.key_file)
        await both.start_sender()
        await alpha.finished("news")
        campaign = await alpha.status.get_campaign(campaign_id="news")
        assert (campaign.state, campaign.total) == (State.COMPLETED, 5)


async def test_an_upload_ends_when_its_key_is_revoked(both: KeyedPair) -> None:
    """Within a few checks, with the reason; what was stored before stays, and no more comes."""
    key = both.key(ALPHA, name="uploader")
    async with both.member(ALPHA, key) as alpha, both.member(ALPHA) as other:
        await other.sender.create_campaign(
            campaign_id="news", channel="scripted", body=pb.EmailContent(subject="Hello")
        )
        sent = 0

        async def batches() -> AsyncIterator[list[pb.Recipient]]:
            nonlocal sent
            while True:
                yield [pb.Recipient(address=f"p{sent}@example.com")]
                sent += 1
                if sent == 20:
                    both.revoke(key)
                await asyncio.sleep(0.02)

        async def upload() -> None:
            while True:
                with contextlib.suppress(UnavailableError):  # gRPC lost the reason
                    async with asyncio.timeout(10):
                        await alpha.sender.upload_recipients(
                            campaign_id="news", upload_id="u", batches=batches()
                        )

        with pytest.raises(UnauthenticatedError) as caught:
            await upload()
        assert caught.value.reason == "KEY_REVOKED"
        stored = (await other.sender.get_delivery(campaign_id="news")).total
        assert 0 < stored <= sent + 1


@pytest.mark.usefixtures("seldom_repeated")
async def test_callers_are_known_through_an_outage_of_the_status_service(tmp_path: Path) -> None:
    """For as long as the grace; then UNAVAILABLE, and known again when it is back."""
    both = KeyedPair(tmp_path)
    both.caller_limits = CallerLimits(kept_seconds=0.0, grace_seconds=3.0, recheck_seconds=0.1)
    try:
        await both.start()
        async with both.member(ALPHA) as alpha, both.member(BETA) as stranger:
            await alpha.create("news", 1)
            await both.stop_status()
            assert (await alpha.sender.get_delivery(campaign_id="news")).total == 1
            with pytest.raises(UnavailableError):
                await stranger.sender.get_delivery(campaign_id="news")

            async def unknown() -> bool:
                try:
                    await alpha.sender.get_delivery(campaign_id="news")
                except UnavailableError as error:
                    return error.reason == "STATUS_SERVICE_UNAVAILABLE"
                return False

            await support.eventually(unknown)
            await both.start_status()

            async def known() -> Any:
                try:
                    return await alpha.sender.get_delivery(campaign_id="news")
                except ClientError:
                    return None

            assert (await support.eventually(known)).total == 1
    finally:
        await asyncio.shield(both.close())


async def test_that_a_key_was_met_is_known_after_a_restart(tmp_path: Path) -> None:
    """A sender that has lost its own key serves nobody without one, as before."""
    async with support.open_store(tmp_path) as store:
        first = MetKeys(store, has_key=False)
        assert not await first.ever()
        await first.note()
        assert await first.ever()
        for _ in range(2):
            restarted = MetKeys(store, has_key=False)
            assert await restarted.ever()
            await restarted.note()
        assert (
            len(
                await support.rows(
                    store, sa.select(schema.meta).where(schema.meta.c.name == "met_keys")
                )
            )
            == 1
        )
