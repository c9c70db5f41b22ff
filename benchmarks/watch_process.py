"""``python -m benchmarks.watch_process ADDRESS CAMPAIGN WATCHERS``: watch, as many clients do.

It prints ``ready`` once each watcher has its first snapshot. Each line on standard input is
answered by the number of snapshots since the line before.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop

from closeout.connection import CHANNEL_OPTIONS
from closeout.status.v1 import status_pb2, status_pb2_grpc

#: Watchers that share a connection.
_A_CONNECTION = 50


async def _run(address: str, campaign_id: str, watchers: int) -> None:
    snapshots = 0
    waiting = watchers
    ready = asyncio.Event()

    async def watch(channel: grpc.aio.Channel) -> None:
        nonlocal snapshots, waiting
        stub = status_pb2_grpc.StatusServiceStub(channel)
        first = True
        async for _ in stub.WatchCampaign(status_pb2.WatchCampaignRequest(campaign_id=campaign_id)):
            snapshots += 1
            if first:
                first = False
                waiting -= 1
                if not waiting:
                    ready.set()

    channels = [
        # Without the last option all watchers of a process share one connection.
        grpc.aio.insecure_channel(
            address, options=[*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(0, watchers, _A_CONNECTION)
    ]
    tasks = [
        asyncio.create_task(watch(channels[number // _A_CONNECTION])) for number in range(watchers)
    ]
    if not watchers:
        ready.set()
    over = [asyncio.create_task(ready.wait()), *tasks]
    await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
    if not ready.is_set():
        raise RuntimeError("a watch ended before all had begun")
    _print("ready")
    while await asyncio.to_thread(sys.stdin.readline):
        _print(f"{snapshots}")
        snapshots = 0
    for task in over:
        task.cancel()
    await asyncio.gather(*over, return_exceptions=True)
    for channel in channels:
        await channel.close()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
