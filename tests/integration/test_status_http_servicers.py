"""What HTTP does with servicers, shown by servicers of a test: keys, failures, connections."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from closeout.status.v1 import status_pb2
from integration.http_support import (
    ACCESS,
    EVENTS,
    STATUS,
    Keeper,
    fields_of,
    reason_of,
    serving_servicers,
)
from service_runtime.caller import Scope
from service_runtime.errors import ShuttingDownError, StoreUnavailableError, TooManyAttemptsError
from status_service.access.scopes import SCOPES
from status_service.http_api.rules import packaged_rules

RULES = packaged_rules()


async def test_keys_have_paths_too() -> None:
    """Rules of further services need no code: their servicer alone."""
    async with serving_servicers({ACCESS: Keeper()}) as client:
        admin = {"authorization": "Bearer admin"}
        caller = await client.get("/v1/caller", headers=admin)
        assert caller.json()["keyId"] == "Bearer admin"
        assert caller.json()["actor"].startswith("ipv4:127.0.0.1:")
        form = {"name": "ops", "scopes": ["read"], "expireTime": "2030-01-01T00:00:00Z"}
        made = (await client.post("/v1/keys", json=form, headers=admin)).json()
        assert (made["key"]["expireTime"], made["secretKey"]) == (form["expireTime"], "closeout_x")
        listed = await client.get("/v1/keys?pageSize=7", headers=admin)
        assert listed.json()["nextPageToken"] == "7"
        revoked = await client.post("/v1/keys/abc:revoke", headers=admin)
        assert revoked.json()["key"]["keyId"] == "abc"
        for body, overlap in (({}, "None"), ({"overlapSeconds": "0"}, "0")):
            rotated = await client.post("/v1/keys/abc:rotate", json=body, headers=admin)
            assert rotated.json()["formerKey"]["name"] == overlap
        leaked = await client.get("/v1/caller?authorization=Bearer+x", headers=admin)
        assert list(fields_of(leaked)) == ["authorization"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
async def test_nobody_calls_without_a_key_of_the_right_scope(rule: Any) -> None:
    """401 without one, 403 with a scope that is not enough, before the body is read."""
    servicers = dict.fromkeys((STATUS, ACCESS, EVENTS), _Unreached())
    path = re.sub(r"{\w+}", "a", rule.path)
    async with serving_servicers(servicers) as client:
        if rule.call == "GetCaller":
            assert (await client.get(path)).status_code == 500  # it checks by itself
            return
        content = {"content": b"no JSON"} if rule.has_body else {}
        missing = await client.request(rule.method, path, **content)
        assert (missing.status_code, reason_of(missing)) == (401, "KEY_MISSING")
        assert missing.headers["www-authenticate"].startswith("Bearer")
        if not isinstance(SCOPES[rule.full_method], Scope):
            return  # the request decides
        weak = {"authorization": "Bearer service"}
        refused = await client.request(rule.method, path, headers=weak, **content)
        assert (refused.status_code, reason_of(refused)) == (403, "SCOPE_MISSING")


class _Unreached:
    """A servicer that nobody may reach."""

    def __getattr__(self, name: str) -> Any:
        async def fail(_request: Any, _context: Any) -> None:
            raise AssertionError(name)

        return fail


class _Failing:
    """A servicer that fails to read a campaign."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def GetCampaign(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise self._error

    async def WatchCampaign(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise self._error
        yield

    def __getattr__(self, name: str) -> Any:
        return getattr(_Unreached(), name)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (StoreUnavailableError("no", retry_after_seconds=1.5), 503, "2"),
        (ShuttingDownError("no"), 503, "1"),
        (TooManyAttemptsError("no", retry_after_seconds=10), 429, "10"),
    ],
)
async def test_what_may_succeed_later_says_when(
    error: Exception, status: int, retry_after: str
) -> None:
    """429 and 503 have Retry-After, in whole seconds, and RetryInfo where the service knows."""
    async with serving_servicers({STATUS: _Failing(error)}) as client:
        answer = await client.get("/v1/campaigns/a", headers={"authorization": "Bearer read"})
    assert (answer.status_code, answer.headers["retry-after"]) == (status, retry_after)
    assert reason_of(answer) == error.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("rest", ["", ":watch"])
async def test_a_defect_is_500_with_an_id_and_its_text_is_in_the_log_alone(rest: str) -> None:
    """Nobody outside reads what a database or a library said."""
    failing = _Failing(RuntimeError("password=hunter2"))
    with capture_logs() as logs:
        async with serving_servicers({STATUS: failing}) as client:
            read = {"authorization": "Bearer read"}
            answer = await client.get(f"/v1/campaigns/a{rest}", headers=read)
    assert (answer.status_code, reason_of(answer)) == (500, "INTERNAL_ERROR")
    assert "hunter2" not in answer.text
    (logged,) = (entry for entry in logs if entry["event"] == "call_failed")
    assert logged["error_id"] in answer.text


async def test_a_client_that_goes_away_does_not_stop_its_call() -> None:
    """What was begun is finished: a commit is never left half way."""
    begun, finished = asyncio.Event(), asyncio.Event()

    class Slow:
        def __getattr__(self, _name: str) -> Callable[..., Awaitable[Any]]:
            async def create(_request: Any, _context: Any) -> Any:
                begun.set()
                await asyncio.sleep(0.2)  # longer than the client stays
                finished.set()
                return status_pb2.CreateCampaignResponse()

            return create

    async with serving_servicers({STATUS: Slow()}) as client:
        write = {"authorization": "Bearer write"}
        call = asyncio.ensure_future(client.post("/v1/campaigns", json={}, headers=write))
        await asyncio.wait_for(begun.wait(), 10)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.wait_for(finished.wait(), 10)


async def test_requests_of_one_connection_have_each_its_own_caller() -> None:
    """Of two requests that travel together, neither acts for the other."""
    keeper = Keeper()
    async with serving_servicers({ACCESS: keeper}) as client:
        host, port = client.base_url.host, client.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        for key in ("admin", "admin+read", ""):
            sent = f"authorization: Bearer {key}\r\n" if key else "connection: close\r\n"
            writer.write(f"GET /v1/keys HTTP/1.1\r\nhost: x\r\n{sent}\r\n".encode())
        answers = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
    assert keeper.listed_by == ["admin", "admin+read"]
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"200", b"401"]
    assert json.loads(answers.rpartition(b"\r\n\r\n")[2])["code"] == 16
