"""Requests of HTTP in tests: answers in JSON, events of a stream, and servicers of a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from closeout.status.v1 import access_pb2, access_pb2_grpc
from integration.databases import PATIENCE_SECONDS
from providers.plain_http import NO_TLS
from service_runtime.access import Access, Credentials
from service_runtime.caller import Caller, Scope, caller_of
from service_runtime.errors import KeyMissingError, KeyRevokedError
from service_runtime.grace import Grace
from service_runtime.http_app import application
from service_runtime.http_server import serving_http
from status_service.access.scopes import SCOPES
from status_service.http_api.rules import Rule, packaged_rules
from status_service.http_api.transcoder import transcoded

STATUS = "closeout.status.v1.StatusService"
ACCESS = "closeout.status.v1.AccessService"
EVENTS = "closeout.status.v1.EventService"


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of a service."""
    async with httpx.AsyncClient(verify=NO_TLS, base_url=url, timeout=PATIENCE_SECONDS) as client:
        yield client


def reason_of(answer: httpx.Response) -> str:
    """Return the reason of an error, which has the form and the headers of all errors."""
    assert answer.status_code >= 400, answer.text
    check_headers(answer)
    status = answer.json()
    assert set(status) == {"code", "message", "details"}
    assert status["message"]
    (info,) = (one for one in status["details"] if one["@type"].endswith("/google.rpc.ErrorInfo"))
    assert info["domain"] == "closeout"
    reason: str = info["reason"]
    return reason


def fields_of(answer: httpx.Response) -> dict[str, str]:
    """Return the wrong fields of an error, and what is wrong with each."""
    violations = [
        violation
        for detail in answer.json()["details"]
        for violation in detail.get("fieldViolations", [])
    ]
    return {violation["field"]: violation["description"] for violation in violations}


def check_headers(answer: httpx.Response) -> None:
    """Check what every answer in JSON says: its type is sure, and nobody keeps it."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@dataclass(frozen=True)
class Event:
    """A server-sent event, as a browser reads it; ``kind`` is ``comment`` for a comment."""

    kind: str
    number: str
    data: Any


class Events:
    """The events of a stream, read one after the other."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> Event | None:
        """Return the next event or comment; None: the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self._lines:
                if line.startswith(":"):
                    fields["event"] = "comment"
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif set(fields) - {"retry"}:
                    data = json.loads(fields.get("data", "null"))
                    return Event(fields.get("event", "message"), fields.get("id", ""), data)
                else:
                    fields.clear()
        return None

    async def rest(self) -> list[Event]:
        """Return all events until the stream ends."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def watching(client: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Events]:
    """Open a stream of events."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", path, headers=named) as answer:
        if answer.status_code != 200:
            await answer.aread()
        yield Events(answer)


class Keys(Access):
    """Knows the callers of a test by a key that is the name of their scopes, as in ``read``."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller."""
        key = credentials.authorization.removeprefix("Bearer ")
        if not key:
            raise KeyMissingError("send a key")
        if key in self.revoked:
            raise KeyRevokedError("this key was revoked; use another one")
        scopes = frozenset(Scope(name) for name in key.split("+"))
        return Caller("default", f"key:{key}", credentials.on_behalf_of, scopes, key, key)


class Keeper(access_pb2_grpc.AccessServiceServicer):
    """An AccessService that answers what it was asked, and keeps who asked to list keys."""

    def __init__(self) -> None:
        self.listed_by: list[str] = []

    async def GetCaller(self, request: Any, context: Any) -> Any:  # noqa: ARG002, D102, N802
        entries = dict(context.invocation_metadata())
        return access_pb2.GetCallerResponse(
            organization="default", actor=context.peer(), key_id=entries.get("authorization", "")
        )

    async def CreateKey(self, request: Any, context: Any) -> Any:  # noqa: ARG002, D102, N802
        key = access_pb2.Key(
            name=request.name, scopes=request.scopes, expire_time=request.expire_time
        )
        return access_pb2.CreateKeyResponse(key=key, secret_key="closeout_x")  # noqa: S106

    async def ListKeys(self, request: Any, context: Any) -> Any:  # noqa: D102, N802
        self.listed_by.append(caller_of(context).key_name)
        return access_pb2.ListKeysResponse(next_page_token=str(request.page_size))

    async def RevokeKey(self, request: Any, context: Any) -> Any:  # noqa: ARG002, D102, N802
        return access_pb2.RevokeKeyResponse(key=access_pb2.Key(key_id=request.key_id))

    async def RotateKey(self, request: Any, context: Any) -> Any:  # noqa: ARG002, D102, N802
        overlap = str(request.overlap_seconds if request.HasField("overlap_seconds") else None)
        key = access_pb2.Key(key_id=request.key_id, name=overlap)
        return access_pb2.RotateKeyResponse(former_key=key)


@asynccontextmanager
async def serving_servicers(
    servicers: Mapping[str, object],
    *,
    access: Access | None = None,
    rules: Iterable[Rule] | None = None,
    recheck_seconds: float = 5.0,
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve servicers of a test over HTTP; yield a client."""
    known = packaged_rules() if rules is None else rules
    routes = transcoded(
        known,
        servicers,
        access=access or Keys(),
        scopes=SCOPES,
        recheck_seconds=recheck_seconds,
    )
    async with (
        serving_http(application(routes), "127.0.0.1:0", grace=Grace(1)) as port,
        calling(f"http://127.0.0.1:{port}") as client,
    ):
        yield client
