"""Idle streams of a real process, behind a proxy that closes what is silent for a minute."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from acceptance.processes import Service
from closeout.errors import ClientError
from integration.idle_streams import SilenceProxy, channel_to, stay_idle

#: What many proxies allow, seconds.
_PROXY_SECONDS = 60.0


async def idle_behind_a_proxy(seconds: float) -> list[str]:
    """Hold a watch and a result stream on which nothing is said; return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="closeout-soak-") as folder:
        status = Service(
            "status_service",
            "status service listening on ",
            Path(folder),
            {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"},
        )
        with status:
            await asyncio.to_thread(status.start)
            async with (
                SilenceProxy(status.address, _PROXY_SECONDS).open() as proxy,
                channel_to(proxy.address, {}) as channel,
            ):
                try:
                    await stay_idle(channel, seconds=seconds)
                except (ClientError, AssertionError, asyncio.InvalidStateError) as error:
                    return [f"an idle stream ended: {error!r}"]
                if (proxy.connections, proxy.closed) != (1, 0):
                    return [f"{proxy.connections} connections, {proxy.closed} closed: not one"]
    return []
