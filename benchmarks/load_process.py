"""``python -m benchmarks.load_process SPEC``: report results from a separate process.

It prepares all frames, or all requests of unary calls, and prints ``ready``. Each line on
standard input sends all of them, each stream or caller over a separate connection; a line
of JSON returns the figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

import grpc
import uvloop

from benchmarks import frames
from benchmarks.load import LoadFigures, LoadSpec
from closeout.status.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

_METHOD = "/closeout.status.v1.StatusService/ReportResults"
_UNARY_METHOD = "/closeout.status.v1.StatusService/BatchReportResults"
_SWITCH_INTERVAL_SECONDS = 0.0005
#: Seconds from the start of a round to the due time of its first frame.
_LEAD_SECONDS = 0.05

_Open: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, status_pb2.ReportResultsResponse]"


async def _run(spec: LoadSpec) -> None:
    serialised = frames.serialised_calls if spec.unary else frames.serialised
    prepared = [
        serialised(
            campaign_id,
            first=spec.first + (turn * spec.results if spec.shared else 0),
            results=spec.results,
            size=spec.results_a_frame,
        )
        for turn, campaign_id in enumerate(spec.campaigns)
    ]
    channels = [
        # Without this option all streams of a process share one connection.
        grpc.aio.insecure_channel(spec.address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in prepared
    ]
    for channel in channels:
        await channel.channel_ready()
    _print("ready")
    while await asyncio.to_thread(sys.stdin.readline):
        figures = await (
            _call_all(channels, prepared)
            if spec.unary
            else _report_all(channels, prepared, spec.frames_a_second)
        )
        _print(json.dumps(asdict(figures)))
    for channel in channels:
        await channel.close()


def _unchanged(frame: bytes) -> bytes:
    return frame


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _call_all(
    channels: Sequence[grpc.aio.Channel], prepared: Sequence[Sequence[bytes]]
) -> LoadFigures:
    """Report by calls, one after the other on each channel."""
    cpu = time.process_time()
    begin = time.perf_counter()
    await asyncio.gather(*map(_call_each, channels, prepared))
    return LoadFigures(
        seconds=time.perf_counter() - begin, cpu_seconds=time.process_time() - cpu, latencies=[]
    )


async def _call_each(channel: grpc.aio.Channel, requests: Sequence[bytes]) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, status_pb2.BatchReportResultsResponse] = (
        channel.unary_unary(
            _UNARY_METHOD,
            request_serializer=_unchanged,
            response_deserializer=status_pb2.BatchReportResultsResponse.FromString,
        )
    )
    for request in requests:
        await call(request)  # a call has one campaign: a rejection fails it


async def _report_all(
    channels: Sequence[grpc.aio.Channel],
    prepared: Sequence[Sequence[bytes]],
    frames_a_second: float,
) -> LoadFigures:
    streams: list[_Open] = [
        channel.stream_stream(
            _METHOD,
            request_serializer=_unchanged,
            response_deserializer=status_pb2.ReportResultsResponse.FromString,
        )
        for channel in channels
    ]
    cpu = time.process_time()
    begin = time.perf_counter()
    between = len(streams) / frames_a_second if frames_a_second else 0.0
    latencies = await asyncio.gather(
        *(
            # The streams are staggered, so that frames are due at even distances.
            _report(
                stream, serialised, begin + _LEAD_SECONDS + between * turn / len(streams), between
            )
            for turn, (stream, serialised) in enumerate(zip(streams, prepared, strict=True))
        )
    )
    return LoadFigures(
        seconds=time.perf_counter() - begin,
        cpu_seconds=time.process_time() - cpu,
        latencies=[latency for of_stream in latencies for latency in of_stream]
        if frames_a_second
        else [],
    )


async def _report(
    stream: _Open, serialised: Sequence[bytes], start: float, between: float
) -> list[float]:
    """Send frames when they are due, or without a limit if ``between`` is 0.

    Returns:
        Seconds from the due time of each frame to its acknowledgement, including the
        wait for earlier frames.
    """
    call = stream()
    latencies: list[float] = []

    async def acknowledged() -> None:
        async for response in call:
            if response.rejections:
                raise RuntimeError(f"rejected: {response.rejections[0]}")
            now = time.perf_counter()
            latencies.extend(
                now - start - frame * between
                for frame in range(len(latencies), response.acked_through)
            )
            if response.acked_through == len(serialised):
                return
        raise RuntimeError("the stream ended before everything was acknowledged")

    reading = asyncio.create_task(acknowledged())
    try:
        for number, frame in enumerate(serialised):
            wait = start + number * between - time.perf_counter() if between else 0.0
            if wait > 0:
                await asyncio.sleep(wait)
            await call.write(frame)
        await reading
    finally:
        reading.cancel()
        call.cancel()
    return latencies


def main() -> int:
    """Run the command."""
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    uvloop.run(_run(LoadSpec(**json.loads(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
