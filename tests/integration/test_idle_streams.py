"""B2: an idle watch and an idle result stream, through a proxy that closes what is silent.

Pings come twice in the time after which the proxy closes, as the default of 30 s does with
the 60 s of many proxies. `make soak` has the real times, for half an hour.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import grpc
import pytest

from closeout.errors import ClientError
from integration.idle_streams import SilenceProxy, channel_to, stay_idle
from integration.status_support import serving
from service_runtime.grpc_server import KEEPALIVE, Keepalive, Server
from status_service import server as status_server

_PROXY_SECONDS = 3.0
_PING_SECONDS = _PROXY_SECONDS / 2
#: So long nothing is said: longer than the proxy allows, twice.
_IDLE_SECONDS = 2.2 * _PROXY_SECONDS


async def test_idle_streams_live_behind_a_proxy_that_closes_what_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pings of client and server keep one connection open, and nobody counts them as many."""
    ratio = KEEPALIVE.client_interval_seconds / KEEPALIVE.ping_seconds
    pings = Keepalive(client_interval_seconds=_PING_SECONDS * ratio, ping_seconds=_PING_SECONDS)
    monkeypatch.setattr(status_server.calls, "Server", partial(Server, keepalive=pings))
    async with (
        serving(tmp_path) as status,
        SilenceProxy(status.address, _PROXY_SECONDS).open() as proxy,
        channel_to(
            proxy.address, {"grpc.keepalive_time_ms": round(_PING_SECONDS * 1_000)}
        ) as channel,
    ):
        await stay_idle(channel, seconds=_IDLE_SECONDS)
        assert (proxy.connections, proxy.closed) == (1, 0)


async def test_without_pings_the_proxy_closes_them(tmp_path: Path) -> None:
    """The proxy of the test above does what it is for."""
    async with (
        serving(tmp_path) as status,
        SilenceProxy(status.address, 0.5).open() as proxy,
        channel_to(proxy.address, {}) as channel,
    ):
        with pytest.raises((ClientError, grpc.aio.AioRpcError, asyncio.InvalidStateError)):
            await stay_idle(channel, seconds=_IDLE_SECONDS)
        assert proxy.closed
