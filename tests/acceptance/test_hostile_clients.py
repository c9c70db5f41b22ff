"""B2: hostile clients beside an honest one, for a few seconds; `make soak` has 200 of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from acceptance.forked import ForkedService
from acceptance.hostile_clients import Honest, attack, peak_megabytes
from status_service import __main__ as status_main

#: Each habit twice.
_CLIENTS = 14
_SECONDS = 3.0
_MOST_MEGABYTES = 300


async def test_b2_hostile_clients_harm_nobody(tmp_path: Path) -> None:
    """The honest client's calls all succeed, memory is bounded, and nothing counts as a defect."""
    settings = {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"}
    service = ForkedService(status_main.main, "status service listening on ", tmp_path, settings)
    with service:
        await asyncio.to_thread(service.start)
        honest = Honest(service.address)
        await honest.prepare()
        stop = asyncio.Event()
        reporting = asyncio.create_task(honest.run(stop))
        seen = await attack(
            service.address, service.http_address, clients=_CLIENTS, seconds=_SECONDS, seed=1
        )
        stop.set()
        await reporting
        assert honest.acknowledged
        assert all(seen[what] for what in ("resets", "half messages", "unread streams", "streams"))
        assert peak_megabytes(service.pid) < _MOST_MEGABYTES
        assert await asyncio.to_thread(service.terminate) == 0
    logged = [line for line in service.events() if line["level"] not in {"info", "warning"}]
    assert logged == []
    assert "Traceback" not in service.log
