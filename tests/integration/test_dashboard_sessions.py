"""Who may look at pages: signing in, sessions, and what other sites can't do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from integration.dashboard_support import Browser, Pages, serving_pages
from integration.databases import Database, SqliteDatabase
from integration.key_support import make_key, other_secret
from integration.page_reader import Document
from integration.status_support import eventually, status_settings
from providers.plain_http import NO_TLS
from service_runtime.caller import Scope
from status_service.access.key_access import AccessLimits
from status_service.dashboard import sessions
from status_service.dashboard.routes import PAGES
from status_service.server import running

NAVIGATED = {"sec-fetch-site": "none"}


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    """A service with pages, and a key, so that people sign in."""
    async with serving_pages(tmp_path) as served:
        yield served


async def attempt(browser: Browser, key: str, **typed: str) -> httpx.Response:
    """Send the form of sign-in with a key."""
    form = (await browser.open("/sign-in")).forms[0]
    return await browser.send(form, key=key, **typed)


async def test_a_key_opens_the_pages_for_twelve_hours(pages: Pages) -> None:
    """The cookie is for this site and no script; the database has its digest, and no key."""
    key = make_key(pages.status.database, name="ops", scopes=[Scope.READ])
    async with pages.stranger() as browser:
        answer = await attempt(browser, key.text)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        for flag in ("httponly", "samesite=strict", "path=/", "max-age=43200"):
            assert flag in cookie
        assert key.text not in str(answer.headers)
        token = answer.cookies["closeout-session"]
        text = (await browser.open("/")).text
        assert "key ops" in text
    stored = [str(row) for row in pages.status.execute("SELECT * FROM sessions")]
    assert len(stored) == 1
    assert token not in stored[0]
    assert key.text.rpartition("_")[2] not in stored[0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda key: key.text[:-1], "This is not a whole key. Copy it again."),
        (lambda _: "x" * 300, "This is not a whole key. Copy it again."),
        (lambda _: "schlüssel", "This is not a whole key. Copy it again."),
        (other_secret, "This key is not valid."),
    ],
)
async def test_a_key_that_is_not_taken_is_said(pages: Pages, spoil: object, said: str) -> None:
    """The field stays empty and gets the focus."""
    key = make_key(pages.status.database, name="ops")
    assert callable(spoil)
    async with pages.stranger() as browser:
        answer = await attempt(browser, spoil(key))
        assert answer.status_code == 401
        document = Document(answer.text)
        assert said in document.text
        assert spoil(key) not in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("made", "word"),
    [({"expires_in": -timedelta(days=1)}, "expired"), ({"revoked": True}, "revoked")],
)
async def test_only_who_has_the_secret_learns_why(
    pages: Pages, made: dict[str, timedelta | bool], word: str
) -> None:
    """A wrong secret for the same key hears that it is not valid."""
    key = make_key(pages.status.database, name="old", **made)  # type: ignore[arg-type]
    async with pages.stranger() as browser:
        assert word in Document((await attempt(browser, key.text)).text).text
        other = Document((await attempt(browser, other_secret(key))).text).text
        assert "This key is not valid." in other
        assert word not in other


async def test_too_many_tries_have_to_wait(pages: Pages) -> None:
    """From one address; the page says for how long."""
    key = make_key(pages.status.database, name="ops")
    async with pages.stranger() as browser:
        form = (await browser.open("/sign-in")).forms[0]
        answer = await browser.send(form, key=other_secret(key))
        assert answer.status_code == 401
        # Ten a second are allowed, and a slow machine makes fewer.
        answers = await asyncio.gather(
            *(browser.send(form, key=other_secret(key)) for _ in range(60))
        )
        answer = next(one for one in answers if one.status_code == 429)
        assert int(answer.headers["retry-after"]) >= 1
        assert "Too many tries from this address. Try again in" in Document(answer.text).text


@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        ("/problems", "/problems"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("", "/"),
    ],
)
async def test_sign_in_leads_back_within_this_site(pages: Pages, wanted: str, led: str) -> None:
    """And nowhere else, whatever the address says."""
    key = make_key(pages.status.database, name="ops")
    async with pages.stranger() as browser:
        answer = await attempt(browser, key.text, next=wanted)
        assert answer.headers["location"] == led


async def test_whoever_is_not_signed_in_signs_in(pages: Pages) -> None:
    """Each page but those that are open leads to sign-in, and from there back.

    A stream is no page: it says that nobody is signed in.
    """
    async with pages.stranger() as browser:
        for page in PAGES:
            if page.scope == "open" or page.method == "POST" or page.if_signed_out:
                continue
            path = page.path.format(campaign_id="x")
            answer = await browser.http.get(path, headers=NAVIGATED)
            assert answer.status_code == 303, path
            assert answer.headers["location"] == f"/sign-in?next={path}"


async def test_a_link_from_elsewhere_gets_its_cookie_by_loading_again(pages: Pages) -> None:
    """A browser leaves a strict cookie out of it, and a redirect would not bring it back."""
    async with pages.stranger() as browser:
        answer = await browser.http.get(
            '/campaigns/x?a="><b>', headers={"sec-fetch-site": "cross-site"}
        )
        assert answer.status_code == 200
        assert '<meta http-equiv="refresh" content="0">' in answer.text
        assert "<b>" not in answer.text
        assert "script" not in answer.text


async def test_a_session_ends_at_sign_out(pages: Pages) -> None:
    """Its row is gone, and the cookie is worth nothing."""
    async with pages.browser() as browser:
        token = browser.http.cookies["closeout-session"]
        document = await browser.open("/")
        await browser.click(document, "Sign out")
        assert pages.status.execute("SELECT count(*) FROM sessions")[0][0] == 0
        browser.http.cookies.set("closeout-session", token)
        answer = await browser.http.get("/", headers=NAVIGATED)
        assert answer.headers["location"] == "/sign-in?next=/"
        assert "Your session has ended. Sign in to go on." in (await browser.open("/sign-in")).text


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sessions SET seen_time = seen_time - 3600000000",
        "UPDATE sessions SET expire_time = expire_time - 43200000000",
        "UPDATE keys SET revoke_time = create_time WHERE name = 'ops'",
        "DELETE FROM keys WHERE name = 'ops'",
    ],
)
async def test_a_session_ends_by_itself_and_with_its_key(pages: Pages, change: str) -> None:
    """After an hour without a page, after twelve, and when its key is gone."""
    async with pages.browser() as browser:
        await browser.open("/")
        pages.status.execute(change)

        async def is_over() -> bool:
            return (await browser.http.get("/", headers=NAVIGATED)).status_code == 303

        await eventually(is_over, what="the session is over")


async def test_a_key_has_so_many_sessions_and_no_more(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever signs in again and again fills no table: the one used longest ago ends."""
    monkeypatch.setattr(sessions, "MOST_OF_A_KEY", 3)
    key = make_key(pages.status.database, name="ops")
    tokens = []
    async with pages.browser(name="other") as other:
        for number in range(5):
            async with pages.stranger() as browser:
                answer = await attempt(browser, key.text)
                tokens.append(answer.cookies["closeout-session"])
            pages.status.execute(
                "UPDATE sessions SET seen_time = seen_time - 1000000 WHERE key_id = ?", key.key_id
            )
            rows = pages.status.execute("SELECT 1 FROM sessions WHERE key_id = ?", key.key_id)
            assert len(rows) == min(number + 1, 3)
        await other.open("/")
    for token, status in zip(tokens, (303, 303, 200, 200, 200), strict=True):
        async with pages.stranger() as browser:
            browser.http.cookies.set("closeout-session", token)
            assert (await browser.http.get("/", headers=NAVIGATED)).status_code == status


async def test_every_instance_knows_a_session(database: Database) -> None:
    """A session that begins at one replica goes on at another."""
    async with serving_pages(database) as first, first.browser() as browser:
        token = browser.http.cookies["closeout-session"]
        if not database.url.startswith("postgresql"):
            return
        async with (
            running(status_settings(database)) as second,
            httpx.AsyncClient(
                verify=NO_TLS,
                base_url=f"http://{second.http_address}",
                cookies={"closeout-session": token},
            ) as http,
        ):
            assert "key ops" in Document((await http.get("/")).text).text


async def test_a_page_of_another_organisation_is_one_that_is_not_there(pages: Pages) -> None:
    """The same bytes but for the form token, which is another one in each session."""
    await pages.status.start("secret", 3)
    async with pages.browser(organisation="other") as browser:
        foreign = (await browser.http.get("/campaigns/secret", headers=NAVIGATED)).text
        absent = (await browser.http.get("/campaigns/nobody", headers=NAVIGATED)).text
        assert foreign.replace("secret", "nobody") == absent
        assert "There is no campaign secret here." in Document(foreign).text
        assert "secret" not in (await browser.open("/")).text


async def test_a_scope_that_is_missing_is_named(pages: Pages) -> None:
    """With the name of the key, and what it has."""
    async with pages.browser(name="writer", scopes=[Scope.WRITE]) as browser:
        text = (await browser.open("/", 403)).text
        assert "This needs a key with the scope read; yours, writer, has write." in text


async def test_pages_say_how_they_are_protected(pages: Pages) -> None:
    """Every answer has the policy, the ones of errors and files as well."""
    async with pages.browser() as browser:
        for path in ("/", "/campaigns/nobody", "/sign-in", "/static/x/app.css", "/events?q=%00"):
            async with browser.http.stream("GET", path, headers=NAVIGATED) as answer:
                policy = answer.headers["content-security-policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cross-origin-opener-policy"] == "same-origin"


async def test_before_the_first_key_only_this_machine_is_served(tmp_path: Path) -> None:
    """A name that somebody else owns may lead to this machine; pages don't answer to it."""
    async with (
        running(status_settings(tmp_path)) as service,
        httpx.AsyncClient(verify=NO_TLS, base_url=f"http://{service.http_address}") as http,
    ):
        page = await http.get("/")
        assert "no key yet: open to this machine" in Document(page.text).text
        rebound = await http.get("/", headers={"host": "evil.example:20080"})
        assert rebound.status_code == 421
        for name in ("localhost:1", "[::1]:1", "127.0.0.2"):
            assert (await http.get("/", headers={"host": name})).status_code == 200


async def test_the_first_key_closes_the_door(tmp_path: Path) -> None:
    """From then on people sign in."""
    database = SqliteDatabase(tmp_path / "status.db")
    limits = AccessLimits(kept_seconds=0.0)
    async with (
        running(status_settings(database), limits=limits) as service,
        httpx.AsyncClient(verify=NO_TLS, base_url=f"http://{service.http_address}") as http,
    ):
        assert (await http.get("/", headers=NAVIGATED)).status_code == 200
        make_key(database, name="first")
        assert (await http.get("/", headers=NAVIGATED)).status_code == 303
