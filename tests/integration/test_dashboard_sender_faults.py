"""Pages beside a sender that hangs, is old, or answers what nobody can use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from closeout.sender.v1 import sender_pb2
from integration.dashboard_support import Pages, serving_pages
from integration.page_reader import Document
from integration.status_support import FAILED, UNKNOWN, eventually, results
from integration.tls_support import Authority
from service_runtime.caller import Scope
from service_runtime.errors import StartupError

SILENT = "The sender does not answer; its part is missing."


class FakeSender(grpc.GenericRpcHandler):
    """Answers every call with the bytes that a test wants, and keeps what it was asked.

    Attributes:
        answer: gives the bytes of an answer, by method; None: there is none, ever.
        running: calls that are under way, and the most that ever were, by method.
    """

    def __init__(self) -> None:
        self.answer: Callable[[str], bytes | None] = lambda _: b""
        self.code: grpc.StatusCode | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.running = self.most = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Take every method."""
        method = details.method.rpartition("/")[2]

        async def answer(_: bytes, context: Any) -> bytes:
            self.calls.append((method, dict(context.invocation_metadata())))
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                if self.code is not None:
                    await context.abort(self.code, "as the test wants")
                found = self.answer(method)
                if found is None:
                    await asyncio.Event().wait()
                assert found is not None
                return found
            finally:
                self.running -= 1

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def _serving(
    fake: FakeSender, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    server = grpc.aio.server(handlers=[fake])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture
def fake() -> FakeSender:
    """A sender that says what a test wants."""
    return FakeSender()


@pytest.fixture
async def pages(tmp_path: Path, fake: FakeSender) -> AsyncIterator[Pages]:
    """A service whose pages ask it, with a campaign that has ended."""
    async with (
        _serving(fake) as address,
        serving_pages(tmp_path, sender_address=address) as serving,
    ):
        for campaign_id in ("a", "b"):
            await serving.status.start(campaign_id, 3)
            await serving.status.report(
                campaign_id, *results([1]), *results([2], FAILED), *results([3], UNKNOWN)
            )
        yield serving


async def test_a_sender_that_hangs_is_asked_once(pages: Pages, fake: FakeSender) -> None:
    """Twenty pages of one campaign wait for one call, and none of them for long."""
    fake.answer = lambda _: None
    async with pages.browser() as browser:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        found = await asyncio.gather(*(browser.open("/campaigns/a") for _ in range(20)))
        # Far less than the twenty waits that calls one after the other would take.
        assert loop.time() - begin < 20 * 2.0
        assert all(SILENT in document.text for document in found)
        assert fake.most == 1
        answer = await browser.http.get("/healthz")
        assert answer.status_code == 200


async def test_a_sender_that_hangs_is_left_in_peace(pages: Pages, fake: FakeSender) -> None:
    """Once a call has failed, pages do not wait for the next one."""
    fake.answer = lambda _: None
    async with pages.browser() as browser:

        async def is_left() -> bool:
            before = len(fake.calls)
            assert SILENT in (await browser.open("/campaigns/b")).text
            return before > 0 and len(fake.calls) == before

        await eventually(is_left, what="a page that asks nothing")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED])
async def test_a_refusal_is_named(pages: Pages, fake: FakeSender, code: grpc.StatusCode) -> None:
    """An older sender, or one that knows other keys: its part is missing."""
    fake.code = code
    async with pages.browser() as browser:
        document = await browser.open("/campaigns/a")
        assert f"The sender answers {code.name}; its part is missing." in document.text
        document = await browser.open("/campaigns/a/resend?to=unknown&id=c", status=409)
        assert document.alerts == ["As the test wants."]


async def test_a_campaign_of_another_sender(pages: Pages, fake: FakeSender) -> None:
    """The page says so, and the command is there for who reaches that one."""
    fake.code = grpc.StatusCode.NOT_FOUND
    async with pages.browser() as browser:
        document = await browser.open("/campaigns/a")
        assert "The sender does not have this campaign; its part is missing." in document.text


_LARGEST = 2**63 - 1
_ODD = {
    "no message": b"\xff\xff\xff\xff",
    "nothing": b"",
    "another campaign": sender_pb2.GetDeliveryResponse(campaign_id="b").SerializeToString(),
    "odd numbers": sender_pb2.GetDeliveryResponse(
        campaign_id="a", in_doubt=-5, deferred=_LARGEST, unreported=_LARGEST
    ).SerializeToString(),
    "hostile texts": sender_pb2.GetDeliveryResponse(
        campaign_id="a", resend_of="<script>\u202e\x00" * 100
    ).SerializeToString(),
}


@pytest.mark.parametrize("answer", _ODD)
async def test_an_odd_answer_breaks_nothing(pages: Pages, fake: FakeSender, answer: str) -> None:
    """Whatever the bytes are, each page is there, and a resend is refused in words."""
    fake.answer = lambda _: _ODD[answer]
    async with pages.browser() as browser:
        for path in ("", "/results"):
            document = await browser.open(f"/campaigns/a{path}")
            assert "<script>\ufffd" not in document.html
        answered = await browser.http.get("/campaigns/a/resend?to=unknown&id=c")
        assert answered.status_code in {200, 409}
        assert not Document(answered.text).has_form("Resend to 1 person")


async def test_people_are_foreign_text(pages: Pages, fake: FakeSender) -> None:
    """Names and addresses are shown as they read, and nothing of them is markup."""
    one = sender_pb2.RecipientEntry(
        sequence=3, address='"><img src=x onerror=alert(1)>', recipient_key="</td>\u202ekey"
    )
    people = sender_pb2.BatchGetRecipientsResponse(recipients=[one])
    fake.answer = lambda method: people.SerializeToString() if "Batch" in method else b""
    async with pages.browser() as browser:
        document = await browser.open("/campaigns/a/results")
        assert "<img" not in document.html
        assert "</td>\ufffdkey" in document.text


async def test_a_sender_never_sees_a_key(pages: Pages, fake: FakeSender) -> None:
    """It is shown what stands for the key of the session, and a stream asks it nothing."""
    async with pages.browser() as browser:
        await browser.open("/campaigns/a")
        assert {method for method, _ in fake.calls} == {"GetDelivery", "BatchGetRecipients"}
        for _, metadata in fake.calls:
            assert metadata["authorization"].startswith("Bearer closeout_via_")
        asked = len(fake.calls)
        async with browser.http.stream("GET", "/campaigns/a/events") as answer:
            assert answer.status_code in {200, 204}
        await browser.open("/")
        await browser.open("/problems")
        assert len(fake.calls) == asked
    async with pages.browser(name="look", scopes=[Scope.READ]) as browser:
        await browser.open("/campaigns/a/resend?to=unknown&id=c", status=403)
        assert len(fake.calls) == asked


async def test_resends_at_once_have_a_bound(pages: Pages, fake: FakeSender) -> None:
    """Four of an organisation wait for the sender; a fifth is answered to come back."""
    fake.answer = lambda _: None
    async with pages.browser() as browser:
        path = "/campaigns/a/resend?to=unknown&id=c"

        async def is_full() -> bool:
            return fake.running == 4

        waiting = [asyncio.create_task(browser.http.get(path)) for _ in range(4)]
        try:
            await eventually(is_full, what="four calls at the sender")
            document = await browser.open(path, status=409)
            assert document.alerts == ["Other resends are under way. Try again in a moment."]
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_sender_with_tls(tmp_path: Path, fake: FakeSender) -> None:
    """It is asked by TLS, with the authority and the certificate that the settings name."""
    authority = Authority(tmp_path)
    server, client = authority.issue("server", "127.0.0.1"), authority.issue("client", "pages")
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.certificate.read_bytes())],
        authority.ca_file.read_bytes(),
        require_client_auth=True,
    )
    fake.code = grpc.StatusCode.NOT_FOUND
    async with (
        _serving(fake, credentials) as address,
        serving_pages(
            tmp_path,
            sender_address=address,
            sender_tls_ca_file=str(authority.ca_file),
            sender_tls_certificate_file=str(client.certificate),
            sender_tls_key_file=str(client.key),
        ) as serving,
        serving.browser() as browser,
    ):
        await serving.status.start("a", 1)
        assert "The sender does not have this campaign" in (await browser.open("/campaigns/a")).text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sender_address": "10.0.0.1:20052"}, "in plain text, names of people included"),
        (
            {"sender_address": "127.0.0.1:1", "sender_tls_ca_file": "/nowhere/ca.pem"},
            "the sender can't be called: tls: ca_file /nowhere/ca.pem",
        ),
    ],
)
async def test_a_sender_that_must_not_be_called_stops_the_start(
    tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    """Another machine in plain text, and a file that is not there; the text says what to set."""
    with pytest.raises(StartupError, match=said):
        async with serving_pages(tmp_path, **changed):
            pass


async def test_plain_calls_can_be_meant(tmp_path: Path) -> None:
    """With sender_tls = false the service starts, and asks another machine in plain text."""
    async with serving_pages(tmp_path, sender_address="10.0.0.1:20052", sender_tls=False):
        pass
