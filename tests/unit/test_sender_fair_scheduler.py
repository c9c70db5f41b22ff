"""Campaigns take turns at sending, and one that has its turn knows whether others wait."""

from __future__ import annotations

import asyncio

from sender_service.delivery.fair_scheduler import FairScheduler

_PATIENCE_SECONDS = 20.0


async def test_l5_others_wait_while_all_turns_are_taken() -> None:
    """Not before, nor when they had theirs, nor when they gave up."""
    scheduler = FairScheduler(1)
    waited: list[bool] = []

    async def take_turn() -> None:
        async with scheduler.turn():
            waited.append(scheduler.others_wait)

    async with scheduler.turn():
        assert not scheduler.others_wait
        given_up, *others = (asyncio.create_task(take_turn()) for _ in range(3))
        await asyncio.sleep(0)
        assert scheduler.others_wait
        given_up.cancel()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await asyncio.gather(given_up, *others, return_exceptions=True)
    assert waited == [True, False]
    assert not scheduler.others_wait


async def test_as_many_have_their_turn_as_may() -> None:
    """A turn is free again when its block ends."""
    scheduler = FairScheduler(2)
    async with scheduler.turn():
        for _ in range(3):
            async with asyncio.timeout(_PATIENCE_SECONDS), scheduler.turn():
                assert not scheduler.others_wait
