"""Hostile clients of both services, beside an honest one."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from acceptance.hostile_clients import Honest, attack, peak_megabytes
from acceptance.processes import Service

#: Hostile clients run in so many processes of their own, half of them at each service.
_PROCESSES = 2
#: In the world they have machines of their own.
_NICE = 10
_MOST_MEGABYTES = 300
_LONGEST_SECONDS = 1.0
#: Events that no service may log: they say that something is to be mended.
_DEFECTS = {"error", "critical"}


async def beside_hostile_clients(*, clients: int, seconds: float, seed: int) -> list[str]:
    """Attack both services; print the figures, and return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="closeout-soak-") as folder:
        status = Service(
            "status_service",
            "status service listening on ",
            Path(folder) / "status",
            {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"},
        )
        with status:
            await asyncio.to_thread(status.start)
            sender = Service(
                "sender_service",
                "sender service listening on ",
                Path(folder) / "sender",
                {
                    "CLOSEOUT_SENDER_LISTEN": "127.0.0.1:0",
                    "CLOSEOUT_SENDER_STATUS_ADDRESS": status.address,
                },
            )
            with sender:
                await asyncio.to_thread(sender.start)
                return await _attacked(
                    [status, sender], clients=clients, seconds=seconds, seed=seed
                )


async def _attacked(
    services: list[Service], *, clients: int, seconds: float, seed: int
) -> list[str]:
    honest = Honest(services[0].address)
    await honest.prepare()
    stop = asyncio.Event()
    reporting = asyncio.create_task(honest.run(stop))
    loop = asyncio.get_running_loop()
    # Their work must not be the delay that is measured here.
    with ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn")) as processes:
        attacks = [
            loop.run_in_executor(
                processes,
                _attack,
                service.address,
                service.http_address,
                clients // len(services),
                seconds,
                seed + number,
            )
            for number, service in enumerate(services)
        ]
        seen: Counter[str] = sum(await asyncio.gather(*attacks), Counter())
    stop.set()
    wrong = []
    try:
        await reporting
    except Exception as error:  # noqa: BLE001 - it is what the soak reports
        wrong.append(f"the honest client failed: {error!r}")
    acknowledged, answered = _p99(honest.acknowledged), _p99(honest.answered)
    megabytes = [peak_megabytes(service.pid) for service in services]
    print("  " + ", ".join(f"{what}: {count:,}" for what, count in seen.items()), flush=True)  # noqa: T201
    print(  # noqa: T201
        f"  {len(honest.acknowledged):,} acknowledgements, p99 {acknowledged * 1000:.0f} ms;"
        f" {honest.repeated} calls made again;"
        f" answers p99 {answered * 1000:.0f} ms; memory {megabytes} MB",
        flush=True,
    )
    if acknowledged > _LONGEST_SECONDS:
        wrong.append("an acknowledgement took more than a second")
    if max(megabytes) > _MOST_MEGABYTES:
        wrong.append(f"a service had more than {_MOST_MEGABYTES} MB")
    for service in services:
        if not service.is_running or await asyncio.to_thread(service.terminate):
            wrong.append(f"{service.folder.name} did not end in order")
        wrong += [
            f"{service.folder.name} logged {line['event'][:200]}"
            for line in service.events()
            if line["level"] in _DEFECTS
        ]
    return wrong


def _attack(
    address: str, http_address: str, clients: int, seconds: float, seed: int
) -> Counter[str]:
    """Attack one service, in a process of its own, which leaves processors to the service."""
    os.nice(_NICE)
    return asyncio.run(attack(address, http_address, clients=clients, seconds=seconds, seed=seed))


def _p99(seconds: list[float]) -> float:
    """Return what 99 of 100 did not exceed; endless where there is none."""
    return sorted(seconds)[len(seconds) * 99 // 100] if seconds else float("inf")
