"""Streams on which nothing is said, through a proxy that closes what is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from closeout.aio import StatusClient
from closeout.aio.channel import Channel
from closeout.connection import CHANNEL_OPTIONS
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import PATIENCE_SECONDS, SENT, results

#: More steps of the loop than a connection takes from being accepted to its handler.
_ACCEPTING_STEPS = 10


class SilenceProxy:
    """Carries connections, and closes each on which nothing was said for some time.

    Args:
        address: where to, HOST:PORT.
        seconds: so long.

    Attributes:
        address: what clients connect to.
        connections: how many there were.
        closed: how many were closed because of their silence.
    """

    def __init__(self, address: str, seconds: float) -> None:
        self._onward = address
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.connections = 0
        self.closed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SilenceProxy]:
        """Carry connections until the block ends."""
        listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listener.close()
            for _ in range(_ACCEPTING_STEPS):
                await asyncio.sleep(0)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # the connections are closed in the next step

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1

        def ended(task: asyncio.Task[None]) -> None:
            # Also where it was cancelled before it began, or a connection broke.
            writer.transport.abort()
            if not task.cancelled():
                task.exception()

        task = asyncio.create_task(self._carry(reader, writer))
        task.add_done_callback(ended)
        self._tasks.add(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._onward.rpartition(":")
        onward, onward_writer = await asyncio.open_connection(host, int(port))
        said = asyncio.Event()
        ways = [
            asyncio.create_task(_carry(reader, onward_writer, said)),
            asyncio.create_task(_carry(onward, writer, said)),
        ]
        try:
            while not any(way.done() for way in ways):
                said.clear()
                async with asyncio.timeout(self._seconds):
                    await said.wait()
        except TimeoutError:
            self.closed += 1
        finally:
            onward_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: asyncio.Event
) -> None:
    try:
        while data := await reader.read(65_536):
            said.set()
            writer.write(data)
    finally:
        said.set()


def channel_to(address: str, options: Mapping[str, Any]) -> Channel:
    """Return a channel as our clients have it, but for some options."""
    return grpc.aio.insecure_channel(
        address, options=list((dict(CHANNEL_OPTIONS) | dict(options)).items())
    )


async def stay_idle(channel: Channel, *, seconds: float) -> None:
    """Open a watch and a result stream, say nothing for some time, and then use both.

    Raises:
        ClientError: the watch ended.
        InvalidStateError: the result stream ended.
        AssertionError: it did not say what it should.
    """
    client = StatusClient(channel)
    await client.create_campaign(campaign_id="idle")
    await client.start_campaign(campaign_id="idle", total=2)
    report = client.report_results()
    try:
        async with aclosing(client.watch_campaign(campaign_id="idle")) as watch:
            assert (await anext(watch)).state == pb.Campaign.SENDING
            await report.write(
                pb.ReportResultsRequest(frame=1, campaign_id="idle", results=results([1], SENT))
            )
            while (await report.read()).acked_through < 1:
                pass
            while (await anext(watch)).sent < 1:
                pass
            following = asyncio.ensure_future(anext(watch))
            answer = asyncio.ensure_future(report.read())
            try:
                # This silence is what is looked at.
                await asyncio.wait(
                    [following, answer], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
                )
                await report.write(
                    pb.ReportResultsRequest(frame=2, campaign_id="idle", results=results([2], SENT))
                )
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert (await answer).acked_through == 2
                    assert (await following).state == pb.Campaign.COMPLETED
            finally:
                for task in (following, answer):
                    task.cancel()
                await asyncio.gather(following, answer, return_exceptions=True)
    finally:
        report.cancel()
