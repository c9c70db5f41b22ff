"""A status service with its pages, and browsers without a script that are signed in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from closeout.aio import StatusClient
from closeout.connection import CHANNEL_OPTIONS
from closeout.status.v1 import status_pb2 as pb
from closeout.status.v1.status_pb2_grpc import StatusServiceStub
from integration.databases import PATIENCE_SECONDS, Database, SqliteDatabase
from integration.key_support import credentials, make_key
from integration.migrated import make_file
from integration.page_reader import Document, Form
from integration.status_support import Status, status_settings
from providers.plain_http import NO_TLS
from service_runtime.caller import Scope
from status_service.access.key_access import AccessLimits
from status_service.access.keys import NewKey
from status_service.dashboard.security import form_token
from status_service.migrations import MIGRATIONS
from status_service.server import running

OPERATOR = (Scope.READ, Scope.WRITE, Scope.REPAIR)
#: Who changes a campaign, where the trail says it, in a browser of :meth:`Pages.browser`.
ACTOR = "key:ops via dashboard"


class Browser:
    """Goes to pages and sends forms, as a browser of a person does.

    Attributes:
        http: its connection, with its cookies.
        origin: what it says of the pages it is on.
    """

    def __init__(self, http: httpx.AsyncClient, address: str) -> None:
        self.http = http
        self.origin = f"http://{address}"

    @property
    def token(self) -> str:
        """What every form of its session has to have."""
        return form_token(self.http.cookies["closeout-session"].encode())

    async def open(self, path: str, status: int = 200) -> Document:
        """Return a page."""
        answer = await self.http.get(path, headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return Document(answer.text)

    async def send(
        self, form: Form, *, ticked: Iterable[str] = (), headers: Any = None, **typed: str
    ) -> httpx.Response:
        """Send a form; the answer is not followed.

        Args:
            form: of a page.
            ticked: the names of boxes that are ticked.
            headers: in place of those that say where it comes from.
            typed: fields that are typed into.
        """
        sent = form.fields | {name: form.ticks[name] for name in ticked} | typed
        usual = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        return await self.http.post(
            form.action, data=sent, headers=usual if headers is None else headers
        )

    async def click(
        self, document: Document, button: str, *, ticked: Iterable[str] = (), **typed: str
    ) -> Document:
        """Send the form of a button that is done, and return the page it leads to."""
        answer = await self.send(document.form(button), ticked=ticked, **typed)
        assert answer.status_code == 303, f"{answer.status_code}: {Document(answer.text).text}"
        return await self.open(answer.headers["location"].partition("#")[0])

    async def post(self, path: str, **fields: str) -> Document:
        """Send fields with the token of the session; return the answer, or where it leads to."""
        sent = {"token": self.token} | fields
        headers = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        answer = await self.http.post(path, data=sent, headers=headers)
        if answer.status_code != 303:
            return Document(answer.text)
        return await self.open(answer.headers["location"].partition("#")[0])

    async def sign_in(self, key: str) -> None:
        """Sign in with a key."""
        form = (await self.open("/sign-in")).forms[0]
        answer = await self.send(form, key=key)
        assert answer.status_code == 303, answer.text


@dataclass
class Pages:
    """A status service, its pages and its database."""

    status: Status
    address: str

    @asynccontextmanager
    async def browser(
        self,
        *,
        name: str = "ops",
        scopes: Iterable[Scope] = OPERATOR,
        organisation: str = "default",
    ) -> AsyncIterator[Browser]:
        """Sign in with a new key, and leave at the end."""
        key = make_key(self.status.database, name=name, scopes=scopes, organisation=organisation)
        async with self.stranger() as browser:
            await browser.sign_in(key.text)
            yield browser

    @asynccontextmanager
    async def stranger(self) -> AsyncIterator[Browser]:
        """Open a browser that nobody signed in."""
        async with httpx.AsyncClient(
            verify=NO_TLS, base_url=f"http://{self.address}", timeout=PATIENCE_SECONDS
        ) as http:
            yield Browser(http, self.address)

    async def state(self, campaign_id: str) -> str:
        """Return the state of a campaign."""
        campaign = await self.status.client.get_campaign(campaign_id=campaign_id)
        return pb.Campaign.State.Name(campaign.state)

    def trail(self, campaign_id: str) -> list[tuple[str, str, str]]:
        """Return (state, actor, reason) of each transition of a campaign, oldest first."""
        rows = self.status.execute(
            "SELECT to_state, actor, reason FROM transitions JOIN campaigns USING (campaign)"
            " WHERE campaign_id = ? ORDER BY transition",
            campaign_id,
        )
        return [tuple(row) for row in rows]

    def age(self, campaign_id: str, seconds: int = 2_520) -> None:
        """Make a campaign older by hand, so that it stands still for so long."""
        micros = seconds * 1_000_000
        self.status.execute(
            "UPDATE campaigns SET create_time = create_time - ?, start_time = start_time - ?,"
            " progress_time = progress_time - ? WHERE campaign_id = ?",
            micros,
            micros,
            micros,
            campaign_id,
        )


class _CallWithKey(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends a key with each call."""

    def __init__(self, key: NewKey) -> None:
        self._key = key

    async def intercept_unary_unary(self, call: Any, details: Any, request: Any) -> Any:
        """Call with the key."""
        return await call(_with_key(details, self._key), request)


class _StreamWithKey(grpc.aio.StreamStreamClientInterceptor):
    """Sends a key with each stream."""

    def __init__(self, key: NewKey) -> None:
        self._key = key

    async def intercept_stream_stream(self, call: Any, details: Any, requests: Any) -> Any:
        """Call with the key."""
        return await call(_with_key(details, self._key), requests)


def _with_key(details: Any, key: NewKey) -> Any:
    sent = grpc.aio.Metadata(*(details.metadata or ()), *credentials(key))
    return details._replace(metadata=sent)


@asynccontextmanager
async def serving_pages(place: Database | Path, **changed: Any) -> AsyncIterator[Pages]:
    """Serve pages from a database. What the test itself calls has a key with every scope."""
    database = SqliteDatabase(place / "status.db") if isinstance(place, Path) else place
    if isinstance(database, SqliteDatabase):
        make_file(database.path, MIGRATIONS)
    limits = AccessLimits(kept_seconds=0.0)
    async with running(status_settings(database, **changed), limits=limits) as service:
        key = make_key(database, name="test")
        interceptors = [_CallWithKey(key), _StreamWithKey(key)]
        async with grpc.aio.insecure_channel(
            service.address, options=CHANNEL_OPTIONS, interceptors=interceptors
        ) as channel:
            status = Status(
                database,
                service.address,
                service.http_address,
                StatusClient(channel),
                StatusServiceStub(channel),
                f"{service.http_scheme}://{service.http_address}",
            )
            yield Pages(status, service.http_address)
