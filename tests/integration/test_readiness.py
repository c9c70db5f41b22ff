"""``/healthz`` and ``/readyz`` of both services."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.databases import PostgresqlDatabase
from integration.scrapes import get, scrape
from integration.sender_pair import pair
from integration.status_support import Status, eventually, serving, status_settings
from providers.postgresql_server import PostgresqlServer
from service_runtime import readiness
from status_service.server import running


async def missing_at(http_address: str) -> dict[str, str]:
    """Return what a service says that it lacks."""
    answer = await get(http_address, "/readyz")
    assert answer.status_code in {200, 503}
    found: dict[str, str] = answer.json().get("missing", {})
    assert (answer.status_code == 503) == bool(found)
    return found


async def test_both_services_are_alive_and_ready(tmp_path: Path) -> None:
    """Nobody needs a key for it, and no answer may be kept."""
    async with pair(tmp_path) as both:
        for address in (both.status_http, both.sender_http):
            for path in ("/healthz", "/readyz"):
                answer = await get(address, path)
                assert answer.status_code == 200
                assert answer.json() == {"status": "ok"}
                assert answer.headers["cache-control"] == "no-store"


async def test_a_database_of_another_version_is_named(status: Status) -> None:
    """What is missing says what to do, and the process lives."""
    (row,) = status.execute("SELECT version_num FROM closeout_status_version")
    status.execute("UPDATE closeout_status_version SET version_num = '9999'")
    try:
        missing = await missing_at(status.http_address)
        assert set(missing) == {"migrations"}
        assert "upgrade Closeout" in missing["migrations"]
        assert (await get(status.http_address, "/healthz")).status_code == 200
        assert (await scrape(status.http_address)).value("closeout_ready") == 0
    finally:
        status.execute("UPDATE closeout_status_version SET version_num = ?", *row)


async def test_a_database_that_does_not_answer_is_named(
    own_postgresql_server: Callable[..., PostgresqlServer],
) -> None:
    """The service lives, is not ready, and becomes ready again by itself."""
    server = own_postgresql_server()
    async with serving(PostgresqlDatabase(server.create_database())) as status:
        assert await missing_at(status.http_address) == {}
        await asyncio.to_thread(server.stop)

        async def named() -> bool:
            return "database" in await missing_at(status.http_address)

        await eventually(named, what="the database is missing")
        assert (await get(status.http_address, "/healthz")).status_code == 200
        assert (await scrape(status.http_address)).value("closeout_store_up") == 0
        await asyncio.to_thread(server.start)

        async def ready() -> bool:
            return not await missing_at(status.http_address)

        await eventually(ready, what="it is ready again")


async def test_a_service_that_stops_is_not_ready(tmp_path: Path) -> None:
    """While running calls get their grace, probes send nobody new."""
    async with running(status_settings(tmp_path)) as service:
        await service.readiness._server.drain()  # type: ignore[attr-defined] # the real one
        assert set(await missing_at(service.http_address)) == {"draining"}


async def test_a_write_that_hangs_is_no_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is missing, and systemd gets no sign of life until it goes on."""
    monkeypatch.setattr(readiness, "STUCK_SECONDS", 0.05)
    go_on = threading.Event()
    async with running(status_settings(tmp_path)) as service:
        store = service.readiness._store
        hanging = asyncio.create_task(store.write(lambda _: go_on.wait()))
        try:

            async def named() -> bool:
                return "writer" in await missing_at(service.http_address)

            await eventually(named, what="the writer is missing")
            assert not service.readiness.progresses
        finally:
            go_on.set()
        await hanging
        assert service.readiness.progresses
        assert await missing_at(service.http_address) == {}
