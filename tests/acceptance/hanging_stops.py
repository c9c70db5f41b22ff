"""Stops of services whose database hangs for ever, at any step of a write."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from acceptance import failing_service
from acceptance.deployment import until
from acceptance.failing_campaign import FRESH, LAST, MIDDLE, Reported
from acceptance.failpoints import ADDING, COMPLETING, WRITING, Failpoint, Fault, When, fired
from acceptance.forked import ForkedService
from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2 as pb
from integration.databases import Database
from service_runtime.process import EXIT_FORCED

#: How long a service may take to end what runs, seconds.
GRACE_SECONDS = 0.5
#: Seconds between two signals of somebody who does not wait.
_BETWEEN_SIGNALS = 0.05
#: Every step of frames in mid-campaign, and of the last one, and on which side it hangs.
HANGS = [
    (frame, Failpoint(Fault.HANG, when, step))
    for frame, steps in ((FRESH, ADDING), (MIDDLE, WRITING), (LAST, COMPLETING))
    for step in steps
    for when in When
]


async def stop_while_it_hangs(
    folder: Path, database: Database, frame: int, point: Failpoint, *, impatient: bool
) -> float:
    """Stop a status service that hangs at a point; return how long the end took, seconds.

    Checks that it ends by itself, or at the second signal, and that what was acknowledged
    is stored and the campaign completes afterwards.

    Args:
        folder: for its files; its name is the name of the campaign.
        database: what it stores in.
        frame: the frame with which it hangs.
        point: where it hangs.
        impatient: whether signals go on until it has ended, which the second one does.
    """
    service = ForkedService(
        failing_service.main,
        "status service listening on ",
        folder,
        {
            "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0",
            "CLOSEOUT_STATUS_DATABASE_URL": database.url,
            "CLOSEOUT_STATUS_GRACE_SECONDS": str(GRACE_SECONDS),
        },
    )
    with service:
        await asyncio.to_thread(service.start)
        campaign = Reported.with_code(folder.name, str(point), frame)
        async with StatusClient(service.address) as client:
            await campaign.start(client)
        reporting = asyncio.create_task(campaign.report(service.address))
        await until(lambda: fired(folder) == [str(point)] or reporting.done())
        assert not reporting.done(), f"{point} was not reached: {reporting}, {service.log}"
        ended = asyncio.create_task(asyncio.to_thread(service.wait))
        begin = time.monotonic()
        service.signal(signal.SIGTERM)
        while impatient and not (await asyncio.wait([ended], timeout=_BETWEEN_SIGNALS))[0]:
            service.signal(signal.SIGTERM)
        assert await ended == EXIT_FORCED
        took = time.monotonic() - begin
        await reporting
        assert bool(service.events("stop_cut_short")) is not impatient
        await asyncio.to_thread(service.start)
        async with StatusClient(service.address) as client:
            kept = {
                result.sequence: result.outcome
                async for result in client.list_results(campaign_id=folder.name)
            }
            for sequence, outcome in campaign.outcomes_of(campaign.acknowledged).items():
                assert kept[sequence] >= outcome, "S7"
            await campaign.report_all(service)
            final = await client.get_campaign(campaign_id=folder.name)
        assert final.state == pb.Campaign.COMPLETED, "L1"
        assert not service.events("campaign_repaired"), "L1"
    return took
