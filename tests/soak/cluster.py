"""Several status services on one PostgreSQL, as processes, and their faults."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from acceptance.processes import Service
from providers.held_port import HeldPort
from providers.postgresql_server import PostgresqlServer

#: Seconds between two faults and seconds that a fault lasts, from and to.
_BETWEEN = (0.3, 2.0)
_LASTING = (0.1, 2.0)
#: The faults and their weights.
_FAULTS = {"kill": 6, "freeze": 3, "database kill": 2, "database freeze": 1}
#: Events that a status service must not log.
_DEFECTS = ("campaign_repaired", "record_failed", "call_failed", "background_work_failed")


class Cluster:
    """A running cluster; see :func:`cluster`.

    Attributes:
        addresses: of the services; restarts keep them.
        faults: how often each kind of fault happened.
        violations: observations that contradict a promise.
    """

    def __init__(self, server: PostgresqlServer, url: str, services: list[Service]) -> None:
        self.addresses = [service.address for service in services]
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self.server = server
        self.url = url
        self._services = services

    async def inject_faults(self, chance: random.Random, stop: asyncio.Event) -> None:
        """Kill and freeze services and the database until ``stop`` is set; then all run."""
        while not await within(chance.uniform(*_BETWEEN), stop):
            (kind,) = chance.choices(list(_FAULTS), list(_FAULTS.values()))
            service, seconds = chance.choice(self._services), chance.uniform(*_LASTING)
            self.faults[kind] += 1
            if kind == "kill":
                await asyncio.to_thread(service.kill)
                await within(seconds, stop)
                await asyncio.to_thread(service.start)
            elif kind == "freeze":
                service.signal(signal.SIGSTOP)
                await within(seconds, stop)
                service.signal(signal.SIGCONT)
            elif kind == "database kill":
                await asyncio.to_thread(self.server.kill)
                await within(seconds, stop)
                await asyncio.to_thread(self.server.start)
            else:
                await asyncio.to_thread(self.server.pause)
                await within(seconds, stop)
                await asyncio.to_thread(self.server.resume)
            for replica in self._services:
                if not replica.is_running:
                    self.violations.append(f"{replica.folder.name} ended with {replica.wait()}")
                    await asyncio.to_thread(replica.start)

    def check_logs(self) -> None:
        """Record the forbidden events that the services logged."""
        for service in self._services:
            for name in _DEFECTS:
                self.violations += [f"{service.folder.name}: {e}" for e in service.events(name)]

    def stop(self) -> None:
        """Stop the services as an init system does."""
        for service in self._services:
            if (code := service.terminate()) != 0:
                self.violations.append(f"{service.folder.name} stopped with {code}")


@contextmanager
def cluster(folder: Path, replicas: int) -> Iterator[Cluster]:
    """Start PostgreSQL and ``replicas`` status services on one database."""
    with ExitStack() as running:
        server = running.enter_context(PostgresqlServer())
        url = server.create_database()
        services = []
        for number in range(replicas):
            service = Service(
                "status_service",
                "status service listening on ",
                folder / f"replica-{number + 1}",
                {
                    "CLOSEOUT_STATUS_LISTEN": running.enter_context(HeldPort()).address,
                    "CLOSEOUT_STATUS_DATABASE_URL": url,
                    "CLOSEOUT_STATUS_RECONCILE_INTERVAL_SECONDS": "2",
                    "CLOSEOUT_LOG_LEVEL": "warning",
                },
            )
            running.enter_context(service)
            service.start()
            services.append(service)
        yield Cluster(server, url, services)


async def within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for ``event``; return False if it was not set in time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
