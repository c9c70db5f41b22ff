"""One soak: a cluster under load and faults for some time, then the verdict."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from soak.cluster import cluster, within
from soak.load import Load
from soak.verdict import violations

_REPORTERS = 6
_OPERATORS = 2
_DRAIN_SECONDS = 180.0


@dataclass(frozen=True)
class Report:
    """The report of a soak.

    Attributes:
        done: the number of each action.
        wrong: the violations of each check; an empty list where it holds.
    """

    done: dict[str, int]
    wrong: dict[str, list[str]]

    @property
    def holds(self) -> bool:
        """Whether no check found a violation."""
        return not any(self.wrong.values())

    def __str__(self) -> str:
        """Format the report for people."""
        lines = [f"  {action}: {count:,}" for action, count in self.done.items()]
        for check, found in self.wrong.items():
            lines.append(f"  {check}: {len(found)}")
            lines += [f"    {violation}"[:500] for violation in found[:10]]
        return "\n".join(lines)


async def soak(folder: Path, *, replicas: int, seconds: float, seed: int) -> Report:
    """Report through ``replicas`` services while they and PostgreSQL are killed and frozen.

    After ``seconds`` no fault happens and no campaign begins; open campaigns are
    reported until they are acknowledged. ``seed`` determines the faults and the
    results, but not their timing.
    """
    with cluster(folder, replicas) as services:
        load = Load(services.addresses, seed)
        stop, ended = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as operators:
            for number in range(_OPERATORS):
                operators.create_task(load.interfere(number, ended))
            # What is still not acknowledged long after the last fault never will be.
            async with asyncio.timeout(seconds + _DRAIN_SECONDS), asyncio.TaskGroup() as reporting:
                for number in range(_REPORTERS):
                    reporting.create_task(load.report(number, stop))
                chance = random.Random(f"{seed} faults")  # noqa: S311 - a load
                reporting.create_task(services.inject_faults(chance, stop))
                await within(seconds, stop)
                stop.set()
            ended.set()
        await asyncio.to_thread(services.stop)
        await asyncio.to_thread(services.check_logs)
        wrong = await asyncio.to_thread(violations, services.url, load.acknowledged)
        wrong["forbidden answers and log lines"] = load.violations + services.violations
        done = {"campaigns": len(load.acknowledged), **load.seen, **services.faults}
        return Report(done, wrong)
