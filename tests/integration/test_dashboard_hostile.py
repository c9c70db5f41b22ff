"""Browsers that are none: forms without end, wrong heads, and what strangers may cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from integration.dashboard_support import Browser, Pages, serving_pages
from integration.databases import PATIENCE_SECONDS
from integration.page_reader import Document
from integration.status_support import eventually, results
from status_service.dashboard import forms, live, result_pages, results_csv

_MEBIBYTE = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    """A service with pages, and a key, so that people sign in."""
    async with serving_pages(tmp_path) as served:
        yield served


def _head(pages: Pages, path: str = "/sign-in", *more: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {pages.address}",
        f"origin: http://{pages.address}",
        "content-type: application/x-www-form-urlencoded",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def _ask(pages: Pages, *parts: bytes) -> bytes:
    """Send bytes as they are; return all that comes until the service closes the connection."""
    host, _, port = pages.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for part in parts:
                writer.write(part)
                await writer.drain()
            answer = await reader.read()
    except ConnectionError:
        pass  # it was cut while we were sending
    finally:
        writer.close()
    return answer


async def test_a_form_without_end_is_cut(pages: Pages) -> None:
    """Its length is counted, and not believed: in chunks it may be another than was said."""
    head = _head(pages, "/sign-in", "content-length: 10", "transfer-encoding: chunked")
    answer = await _ask(pages, head, _MEBIBYTE, _MEBIBYTE, *[_MEBIBYTE] * 62)
    assert not answer or answer.startswith(b"HTTP/1.1 413 ")
    body = b"key=" + b"a" * 100_000
    answer = await _ask(pages, _head(pages, "/sign-in", f"content-length: {len(body)}"), body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"This form is too large. Nothing was changed." in answer


async def test_a_form_of_whoever_is_not_signed_in_is_not_read(pages: Pages) -> None:
    """The answer comes at once, and the rest of the form does not keep the connection."""
    head = _head(pages, "/campaigns/a/pause", "transfer-encoding: chunked")
    answer = await _ask(pages, head, _MEBIBYTE, *[_MEBIBYTE] * 62)
    assert not answer or answer.startswith(b"HTTP/1.1 303 ")


async def test_a_form_that_does_not_arrive_is_not_waited_for(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is closed after a time, and the answer says so."""
    monkeypatch.setattr(forms, "ARRIVES_SECONDS", 0.2)
    answer = await _ask(pages, _head(pages, "/sign-in", "content-length: 10"), b"key=")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"This form did not arrive in time." in answer


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="', 415),
        ("application/json", b"{}", 415),
        ("text/plain", b"token=x", 415),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 101), 400),
        ("application/x-www-form-urlencoded", b"a=\xff", 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
    ],
    ids=range(6),
)
async def test_what_is_no_form_of_a_page_is_refused(
    pages: Pages, kind: str, body: bytes, status: int
) -> None:
    """Other media types, too many fields, and what is no UTF-8."""
    async with pages.browser() as browser:
        headers = {"origin": browser.origin, "content-type": kind}
        answer = await browser.http.post("/problems/fix", content=body, headers=headers)
        assert answer.status_code == status
        assert "Nothing was changed." in Document(answer.text).text
        assert Document(answer.text).links["Back to the page"] == "/problems"


@pytest.mark.parametrize("path", ["/", "/nothing", "/campaigns/a", "/v1/nothing", "/problems/"])
async def test_a_host_that_is_no_address_breaks_nothing(pages: Pages, path: str) -> None:
    """It is answered, no defect is logged, and the answer does not repeat it."""
    head = f"GET {path} HTTP/1.1\r\nhost: [evil\r\nconnection: close\r\n\r\n"
    with capture_logs() as logs:
        answer = await _ask(pages, head.encode())
    assert answer.startswith((b"HTTP/1.1 303 ", b"HTTP/1.1 404 "))
    assert b"evil" not in answer
    assert [line for line in logs if line["log_level"] == "error"] == []


async def test_an_address_that_no_page_has_is_said_in_the_frame(pages: Pages) -> None:
    """To a browser, with the way back; whoever calls gets an error as of a call."""
    html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "sec-fetch-site": "none"}
    async with pages.browser() as browser:
        for path in ("/nothing", "/problems/", "/campaigns/a/b/c", "/campaign", '/"><img%20src=x>'):
            answer = await browser.http.get(path, headers=html)
            assert answer.status_code == 404, path
            document = Document(answer.text)
            assert document.headings[0] == "There is no page at this address."
            assert document.links["Campaigns"] == "/"
            assert "key ops" in document.text
            assert "<img" not in answer.text
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        for path, headers in (("/nothing", {"accept": "*/*"}), ("/v1/nothing", html)):
            answer = await browser.http.get(path, headers=headers)
            assert answer.status_code == 404
            assert answer.json()["message"].startswith(f"no such path: {path}")
        posted = await browser.http.post("/nothing", headers=html | {"origin": browser.origin})
        assert posted.json()["code"] == 5
    async with pages.stranger() as stranger:
        answer = await stranger.http.get("/nothing", headers=html)
        assert answer.status_code == 404
        assert "Organisation" not in Document(answer.text).text


async def test_the_address_of_the_form_of_sign_out_leads_back(pages: Pages) -> None:
    """Nothing is done by a link, and nobody ends at an error."""
    async with pages.browser() as browser:
        answer = await browser.http.get("/sign-out")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        await browser.open("/")


async def test_a_stream_after_the_session_says_so_as_a_stream(pages: Pages) -> None:
    """A browser would take the page of sign-in for a broken stream, and try for ever."""
    await pages.status.start("a", 3)
    async with pages.stranger() as stranger:
        for path in ("/events", "/campaigns/a/events"):
            answer = await stranger.http.get(path, headers={"sec-fetch-site": "same-origin"})
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.text == "event: signed-out\ndata: {}\n\n"


async def test_no_more_pages_are_followed_than_there_is_room_for(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is refused with a time to come back, and taken when another one left."""
    monkeypatch.setattr(live, "MOST_PAGES", 2)
    async with asyncio.timeout(PATIENCE_SECONDS), pages.browser() as browser:
        async with (
            browser.http.stream("GET", "/events") as first,
            browser.http.stream("GET", "/events") as second,
        ):
            read = [answer.aiter_bytes() for answer in (first, second)]
            assert [await anext(one) for one in read]  # they are followed now
            refused = await browser.http.get("/events")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")

        async def is_taken() -> bool:
            async with browser.http.stream("GET", "/events") as answer:
                return answer.status_code == 200

        await eventually(is_taken, what="there is room again")


async def test_a_download_ends_with_its_session(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take long: it is cut when the session is over, and not finished."""
    monkeypatch.setattr(result_pages, "_ASK_SECONDS", 0.0)
    monkeypatch.setattr(results_csv, "LARGEST_PAGE", 1)
    await pages.status.start("a", 3)
    await pages.status.report("a", *results([1, 2, 3]))
    read = result_pages._read

    async def read_and_end(*asked: Any) -> Any:
        page = await read(*asked)
        if page.rows[0].sequence == 2:
            pages.status.execute("DELETE FROM sessions")
        return page

    monkeypatch.setattr(result_pages, "_read", read_and_end)
    got = bytearray()

    async def load(browser: Browser) -> None:
        async with browser.http.stream("GET", "/campaigns/a/results.csv") as answer:
            async for part in answer.aiter_bytes():
                got.extend(part)

    async with pages.browser() as browser:
        with pytest.raises(httpx.RemoteProtocolError):
            await load(browser)
    assert b"2,SENT" in got
    assert b"3,SENT" not in got
