"""Hostile clients of a service, an honest one beside them, and what both saw."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acceptance.hostile_http2 import (
    CANCEL,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    connected,
    frame,
    headers,
    message,
)
from closeout.aio import StatusClient
from closeout.errors import CallCancelledError, ResourceExhaustedError
from closeout.status.v1 import status_pb2 as pb
from integration.status_support import SENT, reporting, results

_STATUS = "/closeout.status.v1.StatusService/"
#: A message announces so many bytes and is never complete.
_ANNOUNCED = 4 * 1024 * 1024 - 1
#: Frames of a burst, and seconds between two.
_BURST, _BETWEEN_SECONDS = 100, 0.05
#: So many streams a client asks for at once.
_STREAMS = 50
#: A client writes no more while so many of its bytes are not taken.
_MOST_UNSENT = 1_000_000


class _Client:
    """A hostile client.

    Args:
        address: HOST:PORT of gRPC.
        http_address: HOST:PORT of HTTP.
        chance: decides what it does.
        seen: counts what was done.
    """

    def __init__(
        self, address: str, http_address: str, chance: random.Random, seen: Counter[str]
    ) -> None:
        self._address = address
        self._http_address = http_address
        self._chance = chance
        self._seen = seen

    async def reset(self) -> None:
        """Open calls and reset them at once, for ever."""
        async with connected(self._address) as connection, connection.being_read() as reading:
            while not reading.done():
                for _ in range(_BURST):
                    stream = connection.open_stream(_STATUS + "GetCampaign")
                    connection.write(frame(RST_STREAM, 0, stream, CANCEL))
                self._seen["resets"] += _BURST
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def flood(self) -> None:
        """Send pings and settings, for ever, and read nothing."""
        async with connected(self._address) as connection:
            while connection.is_open and connection.unsent < _MOST_UNSENT:
                kind, size = self._chance.choice([(PING, 8), (SETTINGS, 6)])
                body = b"\0" * 8 if kind == PING else b"\0\x04\0\0\xff\xff"
                connection.write(frame(kind, 0, 0, body[:size]) * _BURST)
                self._seen["pings and settings"] += _BURST
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def stay_half_open(self) -> None:
        """Say half of something, and nothing more."""
        begun = frame(HEADERS, 0, 1, headers(_STATUS + "GetCampaign")[:20])
        beginning = self._chance.choice(
            [b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS, 0, 0) + begun]
        )
        place = self._chance.choice([self._address, self._http_address])
        await self._say(place, beginning, "half-open connections")

    async def send_half_a_body(self) -> None:
        """Announce a large body over HTTP, send most of it, and wait."""
        head = (
            b"POST /v1/campaigns HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 4000000\r\n\r\n"
        )
        await self._say(self._http_address, head + b"x" * 3_900_000, "half bodies")

    async def send_half_a_message(self) -> None:
        """Send most of large messages in many calls, for ever."""
        async with connected(self._address) as connection, connection.being_read() as reading:
            calls = ("BatchReportResults", "CreateCampaign", "ReportResults")
            streams = [
                connection.open_stream(_STATUS + self._chance.choice(calls))
                for _ in range(_STREAMS)
            ]
            for stream in streams:
                connection.send(stream, message(b"", announced=_ANNOUNCED))
            self._seen["half messages"] += _STREAMS
            left = dict.fromkeys(streams, _ANNOUNCED - 1)
            while not reading.done():
                for stream in streams:
                    if left[stream] and connection.unsent < _MOST_UNSENT:
                        part = b"\0" * min(left[stream], 16_384)
                        left[stream] -= connection.send(stream, part)
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def never_read(self) -> None:
        """Report wrong frames and watch, in many streams, and read no answer."""
        async with connected(self._address) as connection:
            watch = pb.WatchCampaignRequest(campaign_id="honest").SerializeToString()
            for _ in range(_STREAMS // 2):
                stream = connection.open_stream(_STATUS + "WatchCampaign")
                connection.send(stream, message(watch))
            streams = [
                connection.open_stream(_STATUS + "ReportResults") for _ in range(_STREAMS // 2)
            ]
            self._seen["unread streams"] += _STREAMS
            number = 0
            while connection.is_open and connection.unsent < _MOST_UNSENT:
                number += 1
                wrong = pb.ReportResultsRequest(frame=number).SerializeToString()
                for stream in streams:
                    connection.send(stream, message(wrong))
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def open_streams(self) -> None:
        """Watch in as many streams as there are, and read."""
        async with connected(self._address) as connection, connection.being_read() as reading:
            watch = pb.WatchCampaignRequest(campaign_id="honest").SerializeToString()
            while not reading.done():
                for _ in range(_STREAMS):
                    stream = connection.open_stream(_STATUS + "WatchCampaign")
                    connection.send(stream, message(watch))
                self._seen["streams"] += _STREAMS
                await asyncio.sleep(1.0)

    async def _say(self, place: str, beginning: bytes, what: str) -> None:
        """Say something, and nothing more until the service ends the connection."""
        host, _, port = place.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(beginning)
            self._seen[what] += 1
            while await reader.read(65_536):
                pass
        finally:
            writer.transport.abort()

    @property
    def habits(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What it can do."""
        return (
            self.reset,
            self.flood,
            self.stay_half_open,
            self.send_half_a_body,
            self.send_half_a_message,
            self.never_read,
            self.open_streams,
        )

    async def run(self, number: int) -> None:
        """Do one of them again and again, until cancelled; a cut connection is made again."""
        while True:
            with contextlib.suppress(OSError, EOFError):
                await self.habits[number % len(self.habits)]()
            self._seen["connections that ended"] += 1
            await asyncio.sleep(_BETWEEN_SECONDS)


async def attack(
    address: str, http_address: str, *, clients: int, seconds: float, seed: int
) -> Counter[str]:
    """Be ``clients`` hostile clients for some time; return what was done."""
    seen: Counter[str] = Counter()
    tasks = [
        asyncio.create_task(
            _Client(
                address,
                http_address,
                random.Random(f"{seed} {number}"),  # noqa: S311 - a load
                seen,
            ).run(number)
        )
        for number in range(clients)
    ]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()  # a mistake of this module
    return seen


@dataclass
class Honest:
    """A client that reports a frame, waits for its acknowledgement, and asks for the campaign.

    Args:
        address: HOST:PORT of gRPC.

    Attributes:
        acknowledged: how long each acknowledgement took, seconds.
        answered: how long each GetCampaign took, seconds, with its repetitions.
        repeated: how many calls were cancelled, or refused by gRPC, and made again.
    """

    address: str
    acknowledged: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    repeated: int = 0

    async def prepare(self) -> None:
        """Make its campaign."""
        async with StatusClient(self.address) as client:
            await client.create_campaign(campaign_id="honest")
            await client.start_campaign(campaign_id="honest", total=10_000_000)

    async def run(self, stop: asyncio.Event) -> None:
        """Report and ask until ``stop`` is set; the stream may not end before that."""
        async with (
            StatusClient(self.address) as client,
            reporting(client) as stream,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._ask(client, stop))
            number = 0
            while not stop.is_set():
                first = 10 * number + 1
                number += 1
                begin = time.monotonic()
                await stream.send("honest", *results(range(first, first + 10), SENT))
                await stream.acked(number)
                self.acknowledged.append(time.monotonic() - begin)
                await _pause(stop)

    async def _ask(self, client: StatusClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            begin = time.monotonic()
            await self._get(client)
            self.answered.append(time.monotonic() - begin)
            await _pause(stop)

    async def _get(self, client: StatusClient) -> pb.Campaign:
        """Return the campaign.

        Under resets of others, gRPC ends now and then a call of somebody else as cancelled.
        """
        while True:
            try:
                return await client.get_campaign(campaign_id="honest")
            except (CallCancelledError, ResourceExhaustedError):
                self.repeated += 1
                await asyncio.sleep(_BETWEEN_SECONDS)


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BETWEEN_SECONDS):
            await stop.wait()


def peak_megabytes(pid: int) -> int:
    """Return the most memory that a process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("the system does not say it")
