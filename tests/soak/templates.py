"""Campaigns whose templates are made to keep a sender busy, with its health asked throughout."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from acceptance.processes import Service
from closeout.aio import SenderClient, StatusClient
from closeout.errors import ClientError, InvalidArgumentError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from providers.hostile_templates import Hostile, hostile_templates
from providers.http_provider import HttpProvider

#: What no process may grow to, bytes.
_LARGEST_BYTES = 300 * 1000 * 1000
#: An answer about health that an operator would call late, seconds.
_LATE_SECONDS = 0.2
#: A campaign that has not ended so long after the last one was started is a violation.
_PATIENCE_SECONDS = 1_800.0
#: So many campaigns are created at once.
_AT_ONCE = 4
_LOOK_SECONDS = 0.05


@dataclass
class TemplatesReport:
    """What became of the templates.

    Attributes:
        ends: how many ended with each reason or code.
        health: how long each answer of the sender's health took, seconds.
        largest: the memory of the largest process, bytes.
        wrong: what must not be, for people.
    """

    ends: Counter[str] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)
    largest: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def __str__(self) -> str:
        taken = sorted(self.health)
        late = sum(one > _LATE_SECONDS for one in taken)
        health = (
            f"  health: {len(taken):,} answers, p50 {taken[len(taken) // 2] * 1000:.0f} ms,"
            f" p99 {taken[len(taken) * 99 // 100] * 1000:.0f} ms,"
            f" at most {taken[-1] * 1000:.0f} ms, {late} of them over 200 ms"
        )
        lines = [
            *(f"  {count:>5} {end}" for end, count in self.ends.most_common()),
            health,
            f"  largest process: {self.largest / 1e6:.0f} MB",
            *(f"  VIOLATION: {one}" for one in self.wrong),
        ]
        return "\n".join(lines)


async def hostile_campaigns(folder: Path, number: int, seed: int) -> TemplatesReport:
    """Send so many campaigns to one recipient each; see how each ends, and what it costs."""
    report = TemplatesReport()
    async with HttpProvider() as provider:
        listen = {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
        status = Service(
            "status_service", "status service listening on ", folder / "status", listen
        )
        listen = {"CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0", "CLOSEOUT_WEBHOOK_URL": provider.url}
        sender = Service(
            "sender_service", "sender service listening on ", folder / "sender", listen
        )
        try:
            await asyncio.to_thread(status.start)
            address = {"CLOSEOUT_SENDER_STATUS_ADDRESS": status.address}
            await asyncio.to_thread(lambda: sender.start(**address))
            await _send(status, sender, hostile_templates(seed, number), report)
            if report.ends.total() != number:
                report.wrong.append(f"{number:,} were asked for, {report.ends.total():,} ended")
            children = _family(sender.pid) - {sender.pid}
            await asyncio.to_thread(sender.kill)
            await _gone(children, report)
        finally:
            for service in (sender, status):
                if service.is_running:
                    await asyncio.to_thread(service.kill)
    defects = [event["event"] for event in sender.events() if event.get("level") == "error"]
    report.wrong += [f"the log of the sender has {event}" for event in defects]
    return report


async def _send(
    status: Service, sender: Service, made: Iterator[Hostile], report: TemplatesReport
) -> None:
    looking = asyncio.create_task(_look(sender, report))
    try:
        async with (
            StatusClient(status.address) as campaigns,
            SenderClient(sender.address) as client,
        ):
            await _follow(campaigns, await _begin(client, made, report), report)
        if looking.done():
            looking.result()
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _begin(
    client: SenderClient, made: Iterator[Hostile], report: TemplatesReport
) -> list[str]:
    """Start a campaign for each template that is not refused; return their ids."""
    running: list[str] = []
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def one(campaign_id: str, hostile: Hostile) -> None:
        async with at_once:
            try:
                await _start(client, campaign_id, hostile)
            except InvalidArgumentError as error:
                report.ends[f"refused: {error.reason}"] += 1
            except ClientError as error:
                report.wrong.append(f"{campaign_id}: {error}")
            else:
                running.append(campaign_id)

    named = ((f"t{at}-{hostile.kind}", hostile) for at, hostile in enumerate(made))
    await asyncio.gather(*(one(campaign_id, hostile) for campaign_id, hostile in named))
    return running


async def _start(client: SenderClient, campaign_id: str, hostile: Hostile) -> None:
    body = pb.EmailContent(subject="Hello")
    setattr(body, "html" if hostile.is_html else "text", hostile.source)
    recipient = pb.Recipient(address="ann")
    recipient.fields.update(hostile.fields)
    await client.create_campaign(campaign_id=campaign_id, channel="webhook", body=body)
    await client.upload_recipients(campaign_id=campaign_id, upload_id="all", batches=[[recipient]])
    await client.start_campaign(campaign_id=campaign_id)


async def _follow(campaigns: StatusClient, running: list[str], report: TemplatesReport) -> None:
    """Wait until every campaign is COMPLETED, and note how its message ended."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for campaign_id in running:
        campaign = await campaigns.get_campaign(campaign_id=campaign_id)
        while campaign.state != status_pb2.Campaign.COMPLETED:
            if time.monotonic() > deadline:
                report.wrong.append(f"{campaign_id} does not end: {campaign}")
                return
            await asyncio.sleep(_LOOK_SECONDS)
            campaign = await campaigns.get_campaign(campaign_id=campaign_id)
        async for result in campaigns.list_results(campaign_id=campaign_id):
            outcome = status_pb2.Result.Outcome.Name(result.outcome)
            report.ends[f"{outcome}: {result.code}"] += 1
            if not result.code:
                report.wrong.append(f"{campaign_id} ended without a code")


async def _look(sender: Service, report: TemplatesReport) -> None:
    """Ask for the health of the sender, and for the memory of its processes, throughout."""
    async with grpc.aio.insecure_channel(sender.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            begin = time.perf_counter()
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
            report.health.append(time.perf_counter() - begin)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                report.wrong.append(f"health says {answer.status}")
            largest = max(_memory(pid) for pid in _family(sender.pid))
            if report.largest <= _LARGEST_BYTES < largest:
                report.wrong.append(f"a process has {largest / 1e6:.0f} MB")
            report.largest = max(report.largest, largest)
            await asyncio.sleep(_LOOK_SECONDS)


def _family(pid: int) -> set[int]:
    """Return a process and its children."""
    children = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += path.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
    return {pid, *map(int, children)}


def _memory(pid: int) -> int:
    """Return the most memory a process had, bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


async def _gone(pids: set[int], report: TemplatesReport) -> None:
    """Wait until no process of a killed sender is left."""
    deadline = time.monotonic() + 60
    while any(_memory(pid) for pid in pids):
        if time.monotonic() > deadline:
            report.wrong.append(f"processes are left: {sorted(pids)}")
            return
        await asyncio.sleep(_LOOK_SECONDS)
