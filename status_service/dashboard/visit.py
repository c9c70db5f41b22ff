"""One request of a page, after the check of who asks: what pages are given.

A page is a function of a :class:`Visit`, in a table with its path, its method and the
scope it needs: see :class:`Page` and :mod:`.gate`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from starlette.responses import HTMLResponse, RedirectResponse

from service_runtime.database_time import read_clock
from service_runtime.validation import Validation
from status_service.dashboard import formats
from status_service.dashboard.security import form_token
from status_service.errors import CampaignNotFoundError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from service_runtime.access import Access
    from service_runtime.caller import Caller, Scope
    from service_runtime.database import Store
    from status_service.campaigns.service import CampaignService
    from status_service.dashboard.assets import Assets
    from status_service.dashboard.live import Live
    from status_service.dashboard.problem_scans import ProblemScans
    from status_service.dashboard.rendering import Renderer
    from status_service.dashboard.sender_link import SenderLink
    from status_service.dashboard.sessions import Session, Sessions
    from status_service.reads.service import CampaignViews


class Keys(Protocol):
    """What sign-in and sessions ask of keys."""

    async def caller_of_key(self, key_id: str) -> Caller:
        """Return the caller that a key is, whose secret was right once.

        Raises:
            ServiceError: UNAUTHENTICATED if the key is gone, expired or revoked.
        """

    async def keys_exist(self) -> bool:
        """Return whether there is a key; if there is none, everybody is served."""


@dataclass(frozen=True)
class Board:
    """What pages work with.

    Attributes:
        service: changes campaigns.
        views: reads them.
        store: the database.
        access: knows the caller of a key that somebody signs in with.
        keys: knows the keys of sessions.
        sessions: who is signed in.
        renderer: makes pages of templates.
        assets: the files beside them.
        live: what changes on open pages.
        stopping: set when the service stops.
        stall_threshold: how long without a new result is too long.
        only_this_machine: the service listens on loopback.
        process_secret: what form tokens are made of where nobody signs in.
        notes: what is kept for visitors without a session.
        scans: what was found lately on the page of problems.
        sender: the sender service that pages ask.
        badge: how many campaigns of an organisation are to be looked at, by the latest pass.
    """

    service: CampaignService
    views: CampaignViews
    store: Store
    access: Access
    keys: Keys
    sessions: Sessions
    renderer: Renderer
    assets: Assets
    live: Live
    stopping: asyncio.Event
    stall_threshold: timedelta
    only_this_machine: bool
    process_secret: bytes
    scans: ProblemScans
    sender: SenderLink
    notes: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    badge: Callable[[str], int] = lambda _organisation: 0

    async def clock(self) -> datetime:
        """Return the database's time, the only one that pages use."""
        return await self.store.read(read_clock)


@dataclass(frozen=True)
class Visit:
    """One request of a page.

    Attributes:
        request: what the browser sent.
        board: what the page works with.
        caller: who asks; checked.
        session: the session; None before the first key, where nobody signs in.
        form: the fields that were sent; empty for GET.
        refused: why a form was not done that is shown again; on top, with the focus.
    """

    request: Request
    board: Board
    caller: Caller
    session: Session | None
    form: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    @property
    def campaign_id(self) -> str:
        """The campaign in the path.

        Raises:
            CampaignNotFoundError: no campaign can have this id.
        """
        check = Validation()
        campaign_id = check.campaign_id(str(self.request.path_params["campaign_id"]))
        if check.failed:
            raise CampaignNotFoundError(campaign_id)
        return campaign_id

    @property
    def secret(self) -> bytes:
        """What form tokens are made of: of the session, or of this process before the first key."""
        return self.session.secret if self.session else self.board.process_secret

    def may(self, scope: Scope) -> bool:
        """Return whether the caller may do what needs ``scope``."""
        return scope in self.caller.scopes

    def render(
        self,
        template: str,
        *,
        now: datetime,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """Return a page in the usual frame.

        Args:
            template: a template that extends ``base.html``.
            now: the database's time of its figures.
            status: the status of HTTP.
            headers: further headers.
            values: what the template shows.
        """
        frame = self.frame(now)
        html = self.board.renderer.page(template, frame=frame, now=now, **values)
        return HTMLResponse(html, status, headers=dict(headers or {}))

    def frame(self, now: datetime | None = None) -> Frame:
        """Return what the frame of the page shows; ``now`` None: the page has no figures."""
        who = self.caller
        open_to = "this machine" if self.board.only_this_machine else "everybody who reaches it"
        return Frame(
            organisation=formats.clean(who.organisation),
            key_name=formats.clean(who.key_name),
            open_to="" if self.session else open_to,
            token=form_token(self.secret),
            to_look_at=self.board.badge(who.organisation),
            now=now,
            refused=self.refused,
        )

    async def keep(self, text: str) -> None:
        """Keep a text for this visitor for ten minutes, instead of the one before.

        Without a session it is kept in this process, by organisation.
        """
        if self.session:
            await self.board.sessions.note(self.session.digest, text)
        else:
            self.board.notes[self.caller.organisation] = (await self.board.clock(), text)

    async def kept(self) -> str:
        """Return the text that is kept for this visitor; empty: none is."""
        if self.session:
            return await self.board.sessions.noted(self.session.digest)
        noted = self.board.notes.get(self.caller.organisation)
        if noted is None or await self.board.clock() - noted[0] >= timedelta(minutes=10):
            return ""
        return noted[1]


class Frame(NamedTuple):
    """What the frame of a page shows.

    Attributes:
        organisation: whose campaigns these are.
        key_name: the name of the key of the session.
        open_to: who may look without a key; empty: nobody may.
        token: what every form has to have in its field ``token``.
        to_look_at: how many campaigns the latest pass found to be looked at.
        now: the database's time of the figures; None: the page has none.
        refused: why a form was not done; empty: none was refused.
    """

    organisation: str
    key_name: str
    open_to: str
    token: str
    to_look_at: int
    now: datetime | None
    refused: str = ""


Handler: TypeAlias = Callable[[Visit], Awaitable["Response"]]


class Page(NamedTuple):
    """A page in the table of pages.

    Attributes:
        path: as Starlette writes it, ``/campaigns/{campaign_id}``.
        method: GET or POST; no GET changes anything.
        scope: what it needs, or ``service_runtime.access.OPEN``.
        handler: answers it.
        form_at: for POST, where its form is, with the same names in braces; sign-in and
            error pages lead there.
        if_signed_out: the answer where nobody is signed in; None: sign-in.
    """

    path: str
    method: str
    scope: Scope | str
    handler: Handler
    form_at: str = ""
    if_signed_out: Callable[[], Response] | None = None


def see_other(path: str) -> Response:
    """Return the answer to a form that was done: go there, and reload that."""
    return RedirectResponse(path, 303)
