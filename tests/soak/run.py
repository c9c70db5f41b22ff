"""One soak: a cluster, its load and its troubles for some time, then the verdict."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from soak.cluster import cluster, within
from soak.load import Load
from soak.verdict import violations

_REPORTERS = 6
_MEDDLERS = 2
_DRAIN_SECONDS = 180.0


@dataclass(frozen=True)
class Report:
    """What a soak did and found.

    Attributes:
        done: how often each thing was done.
        wrong: what was found, by what must hold; empty lists where it does.
    """

    done: dict[str, int]
    wrong: dict[str, list[str]]

    @property
    def holds(self) -> bool:
        """Whether nothing was wrong."""
        return not any(self.wrong.values())

    def __str__(self) -> str:
        """Return it for people."""
        lines = [f"  {what}: {count:,}" for what, count in self.done.items()]
        for what, found in self.wrong.items():
            lines.append(f"  {what}: {len(found)}")
            lines += [f"    {one}"[:500] for one in found[:10]]
        return "\n".join(lines)


async def soak(folder: Path, *, replicas: int, seconds: float, seed: int) -> Report:
    """Report through ``replicas`` services while they and PostgreSQL are killed and frozen.

    After ``seconds`` no trouble comes and no campaign begins; what is under way is
    reported until it is acknowledged. Who is killed when, and what is reported, comes
    from ``seed``; how the two meet does not.
    """
    with cluster(folder, replicas) as services:
        load = Load(services.addresses, seed)
        stop, ended = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as meddling:
            for number in range(_MEDDLERS):
                meddling.create_task(load.meddle(number, ended))
            # What is not acknowledged long after the last trouble never will be.
            async with asyncio.timeout(seconds + _DRAIN_SECONDS), asyncio.TaskGroup() as reporting:
                for number in range(_REPORTERS):
                    reporting.create_task(load.report(number, stop))
                chance = random.Random(f"{seed} trouble")  # noqa: S311 - a load
                reporting.create_task(services.trouble(chance, stop))
                await within(seconds, stop)
                stop.set()
            ended.set()
        await asyncio.to_thread(services.stop)
        await asyncio.to_thread(services.check_logs)
        wrong = await asyncio.to_thread(violations, services.url, load.acknowledged)
        wrong["answers and log lines that must not be"] = load.violations + services.violations
        done = {"campaigns": len(load.acknowledged), **load.seen, **services.troubles}
        return Report(done, wrong)
