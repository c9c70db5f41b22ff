"""Web pages and proxies can't lend a caller what is not his."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from closeout.status.v1 import access_pb2
from closeout.status.v1.access_pb2_grpc import AccessServiceStub
from integration.http_support import calling, fields_of, reason_of
from integration.key_support import make_key
from integration.status_support import serving

OTHERS = ["pages.example", "pages.example:20080", "localhost.pages.example", "10.0.0.1", "[::2]:80"]
MINE = ["localhost", "LOCALHOST:20080", "127.0.0.1", "127.0.0.1:1", "[::1]:20080", "[::1]"]


async def test_a_page_whose_name_leads_to_this_machine_can_not_use_the_service(
    tmp_path: Path,
) -> None:
    """Without keys, Host is a name of this machine; a browser takes the page for its own server."""
    async with serving(tmp_path) as status, calling(status.url) as client:
        for host in OTHERS:
            origin = {"host": host, "origin": f"http://{host}"}
            read = await client.get("/v1/campaigns", headers={"host": host})
            made = await client.post("/v1/campaigns", json={"campaignId": "a"}, headers=origin)
            key = await client.post(
                "/v1/keys", json={"name": "a", "scopes": ["admin"]}, headers=origin
            )
            watched = await client.get("/v1/campaigns/a:watch", headers={"host": host})
            for answer in (read, made, key, watched):
                assert (answer.status_code, reason_of(answer)) == (401, "KEY_MISSING"), host
        for host in MINE:
            answer = await client.get("/v1/campaigns", headers={"host": host})
            assert answer.json()["campaigns"] == [], host


async def test_a_caller_with_a_key_names_the_service_as_he_likes(tmp_path: Path) -> None:
    """No page has his key."""
    async with serving(tmp_path) as status, calling(status.url) as client:
        key = make_key(status.database)
        headers = {"host": "status.example", "authorization": f"Bearer {key.text}"}
        assert (await client.get("/v1/campaigns", headers=headers)).status_code == 200


async def test_a_service_that_is_to_serve_everybody_has_any_name(tmp_path: Path) -> None:
    """Something else guards it, as the setting says."""
    async with (
        serving(tmp_path, allow_without_keys=True) as status,
        calling(status.url) as client,
    ):
        answer = await client.get("/v1/campaigns", headers={"host": "status.internal:80"})
        assert answer.status_code == 200


@pytest.mark.parametrize("name", ["authorization", "closeout-organization"])
async def test_a_credential_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    """A proxy may have checked the other one."""
    async with serving(tmp_path) as status, calling(status.url) as client:
        one, other = make_key(status.database), make_key(status.database, organisation="b")
        values = {
            "authorization": [f"Bearer {one.text}", f"Bearer {other.text}"],
            "closeout-organization": ["default", "b"],
        }
        entries = [("authorization", values["authorization"][0])] * (name != "authorization")
        entries += [(name, value) for value in values[name]]
        answer = await client.get("/v1/caller", headers=entries)
        assert reason_of(answer) == "INVALID_REQUEST"
        assert list(fields_of(answer)) == [name]
        async with grpc.aio.insecure_channel(status.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await AccessServiceStub(channel).GetCaller(
                    access_pb2.GetCallerRequest(), metadata=entries
                )
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
