"""`:watch` over HTTP: server-sent events, until the campaign has ended or the key is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import status_service.http_api.event_stream as stream_module
from closeout.status.v1 import status_pb2
from integration.http_support import (
    STATUS,
    Event,
    Keys,
    calling,
    reason_of,
    serving_servicers,
    watching,
)
from integration.status_support import Status, eventually, results, serving
from providers.plain_http import NO_TLS
from service_runtime import access_interceptor, http_connection

#: A snapshot is about so large, bytes.
_SNAPSHOT_BYTES = 20_000


@pytest.fixture
async def status(tmp_path: Path) -> AsyncIterator[Status]:
    """A status service on SQLite."""
    async with serving(tmp_path) as service:
        yield service


@pytest.fixture
async def http(status: Status) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its HTTP."""
    async with calling(status.url) as client:
        yield client


def state_of(event: Event | None) -> str:
    """Return the state in an event, whose id is the revision beside it."""
    assert event is not None
    assert event.kind == "message"
    campaign = event.data["campaign"]
    assert event.number == campaign["revision"]
    state: str = campaign["state"]
    return state


async def test_events_follow_a_campaign_until_it_has_ended(
    http: httpx.AsyncClient, status: Status
) -> None:
    """First the present state, then every change; the id is the revision; the end ends it."""
    await status.start("a", 2)
    async with watching(http, "/v1/campaigns/a:watch") as events:
        assert events.answer.headers["content-type"].startswith("text/event-stream")
        assert events.answer.headers["cache-control"] == "no-store"
        assert state_of(await events.next()) == "SENDING"
        await status.client.pause_campaign(campaign_id="a")
        assert state_of(await events.next()) == "PAUSED"
        await status.report("a", *results([1, 2]))
        rest = await events.rest()
    assert state_of(rest[-1]) == "COMPLETED"
    numbers = [int(event.number) for event in rest]
    assert numbers == sorted(set(numbers))


async def test_a_client_that_comes_back_gets_what_it_has_not(
    http: httpx.AsyncClient, status: Status
) -> None:
    """Last-Event-ID spares the known snapshot; 204 says that the known one was the last."""
    await status.start("a", 1)
    async with watching(http, "/v1/campaigns/a:watch", last_event_id="2") as events:
        assert await events.next() == Event("comment", "", None)  # nothing new, and open
        await status.client.pause_campaign(campaign_id="a")
        assert state_of(await events.next()) == "PAUSED"
    async with watching(http, "/v1/campaigns/a:watch", last_event_id="2") as events:
        assert state_of(await events.next()) == "PAUSED"
    ended = (await status.client.cancel_campaign(campaign_id="a")).campaign
    async with watching(http, "/v1/campaigns/a:watch", last_event_id=str(ended.revision)) as events:
        assert events.answer.status_code == 204
        assert await events.rest() == []
    async with watching(http, "/v1/campaigns/a:watch", last_event_id="99") as events:
        assert [state_of(event) for event in await events.rest()] == ["CANCELLED"]


async def test_head_says_what_get_would_begin_with(http: httpx.AsyncClient, status: Status) -> None:
    """No event, and no stream that stays open."""
    await status.start("a", 1)
    head = await http.head("/v1/campaigns/a:watch")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert (await http.head("/v1/campaigns/none:watch")).status_code == 404


async def test_a_silent_stream_has_comments(
    http: httpx.AsyncClient, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies and readers see that it is alive."""
    assert stream_module.ALIVE_SECONDS == 15.0
    quick = {"alive_seconds": 0.05}
    monkeypatch.setattr(stream_module.EventStream.__init__, "__kwdefaults__", quick)
    await status.start("a", 1)
    async with watching(http, "/v1/campaigns/a:watch") as events:
        assert state_of(await events.next()) == "SENDING"
        assert [await events.next() for _ in range(2)] == [Event("comment", "", None)] * 2


async def test_a_stream_ends_with_the_error_of_its_key() -> None:
    """Within 10 s after a key was revoked; a browser that comes back is refused."""
    assert access_interceptor.RECHECK_SECONDS <= 5.0
    keys = Keys()
    served = serving_servicers({STATUS: _Endless()}, access=keys, recheck_seconds=0.05)
    async with served as client:
        key = {"authorization": "Bearer read"}
        async with watching(client, "/v1/campaigns/a:watch", **key) as events:
            assert state_of(await events.next()) == "SENDING"
            keys.revoked.add("read")
            last = (await events.rest())[-1]
        assert (last.kind, last.number) == ("error", "")
        assert last.data["details"][0]["reason"] == "KEY_REVOKED"
        assert last.data["code"] == 16
        again = await client.get("/v1/campaigns/a:watch", headers=key)
        assert (again.status_code, reason_of(again)) == (401, "KEY_REVOKED")


async def test_a_stream_ends_with_an_error_when_the_service_stops(tmp_path: Path) -> None:
    """The reader learns that it may come back."""
    async with serving(tmp_path) as status:
        await status.start("a", 1)
        client = httpx.AsyncClient(verify=NO_TLS, base_url=status.url)
        stream = watching(client, "/v1/campaigns/a:watch")
        events = await stream.__aenter__()
        assert state_of(await events.next()) == "SENDING"
        reading = asyncio.ensure_future(events.rest())
    (last,) = await reading
    assert last.data["details"][0]["reason"] == "SHUTTING_DOWN"
    await stream.__aexit__(None, None, None)
    await client.aclose()


class _Endless:
    """A servicer whose watch never ends, and counts what it made and who still watches."""

    def __init__(self) -> None:
        self.made = 0
        self.open = 0

    async def WatchCampaign(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        campaign = status_pb2.Campaign(
            state=status_pb2.Campaign.SENDING, display_name="x" * _SNAPSHOT_BYTES
        )
        self.open += 1
        try:
            while True:
                self.made += 1
                campaign.revision = self.made
                yield status_pb2.WatchCampaignResponse(campaign=campaign)
                await asyncio.sleep(0)
        finally:
            self.open -= 1

    def __getattr__(self, name: str) -> Any:
        if name == "GetCampaign":
            return self._get
        return self.WatchCampaign

    async def _get(self, _request: Any, _context: Any) -> Any:
        return status_pb2.GetCampaignResponse(campaign=status_pb2.Campaign(revision=1))


async def test_readers_that_do_not_read_hold_nothing_and_nobody() -> None:
    """Of thirty, each gets what its connection takes and no more; others are answered."""
    servicer = _Endless()
    request = b"GET /v1/campaigns/a:watch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer read\r\n\r\n"
    async with serving_servicers({STATUS: servicer}) as client:
        port = client.base_url.port
        hanging = []
        try:
            for _ in range(30):
                hanging.append(socket.create_connection(("127.0.0.1", port)))
                hanging[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                hanging[-1].sendall(request)
            made = -1

            async def settled() -> bool:
                nonlocal made
                before, made = made, servicer.made
                await asyncio.sleep(0.2)  # between two looks
                return servicer.open == len(hanging) and before == made

            await eventually(settled, what="that nothing more is made for those who do not read")
            # Both ends of a connection keep some MiB at most, the service itself 64 KiB.
            assert servicer.made * _SNAPSHOT_BYTES < len(hanging) * 8 * 2**20
            for _ in range(20):
                answer = await client.get(
                    "/v1/campaigns/a", headers={"authorization": "Bearer read"}
                )
                assert answer.status_code == 200
        finally:
            for connection in hanging:
                connection.close()

        async def gone() -> bool:
            return servicer.open == 0

        await eventually(gone, what="that nobody is watched for any more")


async def test_a_connection_that_nobody_reads_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives it up after a minute, and the watch ends; other systems than Linux don't."""
    assert http_connection.UNREAD_SECONDS == 60.0
    monkeypatch.setattr(http_connection, "UNREAD_SECONDS", 0.5)
    servicer = _Endless()
    request = b"GET /v1/campaigns/a:watch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer read\r\n\r\n"
    async with serving_servicers({STATUS: servicer}) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as hanging:
            hanging.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            hanging.sendall(request)

            async def begun() -> bool:
                return servicer.open == 1

            async def given_up() -> bool:
                return servicer.open == 0

            await eventually(begun, what="a watch")
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                await eventually(given_up, what="the end of the watch")
