"""Pages that ask the sender: what it knows, and a resend, with both services."""

from __future__ import annotations

import asyncio
import re
import shlex
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from closeout.aio import SenderClient
from closeout.errors import ClientError, NotFoundError
from closeout.sender.v1 import sender_pb2
from integration import sender_support as support
from integration.cli_support import clean_environment, finished
from integration.dashboard_support import Browser
from integration.databases import PATIENCE_SECONDS, SqliteDatabase
from integration.key_support import delegated
from integration.keyed_pair import KeyedPair
from integration.page_reader import Document
from integration.sender_pair import Pair
from integration.status_support import by_hand
from providers.plain_http import NO_TLS
from sender_service.channels.contract import Message, Reply
from service_runtime.caller import Scope
from status_service.access.keys import NewKey
from status_service.dashboard import sender_link

_OPERATOR = (Scope.READ, Scope.WRITE)
_SAID = "Some of them may get it twice."


def _replies(message: Message) -> Reply:
    return {2: support.LOST, 3: support.REFUSED}.get(message.sequence, support.ACCEPTED)


async def _ended(sender: Any, campaign_id: str = "a", **fields: Any) -> None:
    """Send a campaign to three people: p1 is in doubt, p2 failed, p3 got it.

    The one who gets it is the first: so the provider and the campaign need no second try.
    """
    await sender.create_campaign(
        campaign_id=campaign_id,
        channel="scripted",
        body=sender_pb2.EmailContent(subject="Hello"),
        **fields,
    )
    people = [
        sender_pb2.Recipient(address=f"p{number}@example.com", recipient_key=f"customer-{number}")
        for number in (3, 1, 2)
    ]
    await sender.upload_recipients(campaign_id=campaign_id, upload_id="u", batches=[people])
    await sender.start_campaign(campaign_id=campaign_id)
    await _finished(sender, campaign_id)


async def _finished(sender: Any, campaign_id: str) -> None:
    async def look() -> bool:
        delivery = await sender.get_delivery(campaign_id=campaign_id)
        return bool(delivery.phase == sender_pb2.GetDeliveryResponse.FINISHED)

    await support.eventually(look)


@asynccontextmanager
async def _browser(both: Pair, key: NewKey | None = None) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(
        verify=NO_TLS, base_url=f"http://{both.status_http}", timeout=PATIENCE_SECONDS
    ) as http:
        browser = Browser(http, both.status_http)
        if key is not None:
            await browser.sign_in(key.text)
        yield browser


async def _started(both: Pair) -> None:
    both.asks_sender = True
    both.channel.script = _replies
    await both.start()


@pytest.fixture(autouse=True)
def _patient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender on a busy machine is no silent one."""
    monkeypatch.setattr(sender_link, "PAGE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(sender_link, "_READ_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services without keys; pages ask the sender."""
    pair = Pair(tmp_path)
    try:
        await _started(pair)
        yield pair
    finally:
        await asyncio.shield(pair.close())


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[KeyedPair]:
    """Both services with keys; pages ask the sender."""
    pair = KeyedPair(tmp_path)
    try:
        await _started(pair)
        yield pair
    finally:
        await asyncio.shield(pair.close())


def _trail(both: Pair, campaign_id: str) -> set[tuple[str, str]]:
    """Return the actors of the trail of a campaign, with those they act for."""
    with by_hand(both.folder) as connection:
        return {
            (row[0], row[1])
            for row in connection.execute(
                "SELECT actor, on_behalf_of FROM transitions JOIN campaigns USING (campaign)"
                " WHERE campaign_id = ? AND cause = 'USER'",
                (campaign_id,),
            )
        }


async def _review(browser: Browser, to: str = "unknown", target: str = "a-2") -> Document:
    return await browser.open(f"/campaigns/a/resend?to={to}&id={target}")


async def test_the_page_says_what_the_sender_knows(both: Pair) -> None:
    """Facts, who is in doubt by key, and the form of a resend with nothing ticked."""
    await _ended(both.sender)
    async with _browser(both) as browser:
        document = await browser.open("/campaigns/a")
        assert "Guarantee at most once" in document.text.replace("Guarantee", "Guarantee ")
        assert "customer-1" in document.text
        assert "p1@example.com" not in document.html
        assert "The sender" not in document.text.replace("The sender says", "")
        form = document.form("Review the resend")
        assert form.fields == {"id": "a-resend-1"}
        assert "checked" not in document.html


async def test_messages_at_the_provider_are_counted(both: Pair) -> None:
    """While a campaign goes on, the page says how many may have been handed over."""
    await both.hold_calls()
    await both.begin("a", 5)

    async def flying() -> bool:
        return both.channel.flying > 0

    await support.eventually(flying)
    async with _browser(both) as browser:
        document = await browser.open("/campaigns/a")
    assert "may be in the provider's hands." in document.text
    assert not document.has_form("Review the resend")


async def test_results_show_people(both: Pair) -> None:
    """Keys and addresses stand on the page of results."""
    await _ended(both.sender)
    async with _browser(both) as browser:
        document = await browser.open("/campaigns/a/results")
    for number in (1, 2, 3):
        assert f"customer-{number}" in document.text
        assert f"p{number}@example.com" in document.text


async def test_a_resend_from_the_page(both: Pair) -> None:
    """The review has the numbers and the first message; one button sends, once."""
    await _ended(both.sender)
    both.channel.script = lambda _: support.ACCEPTED
    async with _browser(both) as browser:
        review = await _review(browser, "unknown&to=failed")
        assert f"2 people get it again: 1 unknown, 1 failed. {_SAID}" in review.headings
        assert "Hello to p1@example.com" in review.text
        with pytest.raises(NotFoundError):
            await both.status.get_campaign(campaign_id="a-2")
        form = review.form("Resend to 2 people")
        document = await browser.click(review, "Resend to 2 people")
        assert "The resend goes out." in document.statuses[0]
        assert "Resend ofa" in document.text
        again = await browser.send(form)
        assert again.headers["location"].startswith("/campaigns/a-2")
    assert (await both.ended("a-2")).sent == 2
    assert [call.address for call in both.channel.calls].count("p1@example.com") == 2
    ((_, for_whom),) = _trail(both, "a-2")
    assert for_whom.endswith(" via dashboard")


async def test_the_next_resend_gets_another_id(both: Pair) -> None:
    """An id that is taken is not proposed, and refused beside its field."""
    await _ended(both.sender)
    await both.create("a-resend-1", 1)
    async with _browser(both) as browser:
        document = await browser.open("/campaigns/a/resend")
        assert document.form("Review the resend").fields == {"id": "a-resend-2"}
        document = await _review(browser, target="a-resend-1")
        assert document.alerts == ["There is a campaign with this id already. Take another one."]


async def test_people_who_got_it_lately_are_asked_for(both: Pair) -> None:
    """A second resend to the same people says so, and goes out only if that is chosen."""
    await _ended(both.sender, family="notices")
    both.channel.script = lambda _: support.ACCEPTED
    async with _browser(both) as browser:
        await browser.click(await _review(browser), "Resend to 1 person")
        await both.finished("a-2")
        review = await _review(browser, "unknown&to=failed", target="a-3")
        answer = await browser.send(review.form("Resend to 2 people"))
        assert answer.status_code == 409
        document = Document(answer.text)
        assert document.alerts[0].endswith("Nothing was sent.")
        form = document.form("Leave them out")
        assert "Send to them as well" in form.buttons
        answer = await browser.send(form, repeat="only-new")
        assert answer.status_code == 303
    ended = await both.ended("a-3")
    assert (ended.sent, ended.skipped) == (1, 1)


async def test_a_campaign_of_another_sender_is_resent_by_a_command(both: Pair) -> None:
    """The page says that its sender does not have it, and ends with the command."""
    await both.status.create_campaign(campaign_id="b")
    await both.status.start_campaign(campaign_id="b", total=2)
    await both.status.cancel_campaign(campaign_id="b")
    async with _browser(both) as browser:
        document = await browser.open("/campaigns/b")
        assert "The sender does not have this campaign; its part is missing." in document.text
        document = await browser.open("/campaigns/b/resend?to=unsent&id=b-2", status=409)
    assert "ask the one that sent it." in document.text
    assert "closeout resend b --to unsent --campaign-id b-2" in document.text


async def test_a_resend_is_of_the_key(keyed: KeyedPair) -> None:
    """The audit trail has the sender's key, and for it the key of the session."""
    async with keyed.member("default") as member:
        await _ended(member.sender)
        async with _browser(keyed, keyed.key("default", name="ops", scopes=_OPERATOR)) as browser:
            document = await browser.open("/campaigns/a")
            assert "customer-1" in document.text
            await browser.click(await _review(browser), "Resend to 1 person")
        await _finished(member.sender, "a-2")
    assert _trail(keyed, "a-2") == {("key:sender", "key:ops via dashboard")}


async def test_a_key_that_reads_sees_and_does_not_resend(keyed: KeyedPair) -> None:
    """It sees who is in doubt; the form is not there, and its address is refused."""
    async with keyed.member("default") as member:
        await _ended(member.sender)
    async with _browser(keyed, keyed.key("default", name="look", scopes=[Scope.READ])) as browser:
        document = await browser.open("/campaigns/a")
        assert "customer-1" in document.text
        assert not document.has_form("Review the resend")
        await browser.open("/campaigns/a/resend?to=unknown&id=a-2", status=403)
        answer = await browser.http.post(
            "/campaigns/a/resend",
            data={"token": browser.token, "to": "unknown", "id": "a-2", "people": "1"},
            headers={"origin": browser.origin, "sec-fetch-site": "same-origin"},
        )
        assert answer.status_code == 403


async def test_another_organisation_resends_nothing(keyed: KeyedPair) -> None:
    """Its pages say what they say of a campaign that does not exist."""
    async with keyed.member("default") as member:
        await _ended(member.sender)
        async with _browser(keyed, keyed.key("rival", scopes=_OPERATOR)) as browser:
            await browser.open("/campaigns/a/results", status=404)
            await browser.open("/campaigns/a/resend?to=unknown&id=a-2", status=404)
            answer = await browser.http.post(
                "/campaigns/a/resend",
                data={
                    "token": browser.token,
                    "to": "unknown",
                    "id": "a-2",
                    "people": "1",
                    "request_id": str(uuid.uuid4()),
                },
                headers={"origin": browser.origin, "sec-fetch-site": "same-origin"},
            )
            assert answer.status_code == 404
        with pytest.raises(NotFoundError):
            await member.status.get_campaign(campaign_id="a-2")


async def test_a_key_revoked_after_the_review_sends_nothing(keyed: KeyedPair) -> None:
    """The form leads to the sign-in."""
    async with keyed.member("default") as member:
        await _ended(member.sender)
        key = keyed.key("default", name="ops", scopes=_OPERATOR)
        async with _browser(keyed, key) as browser:
            form = (await _review(browser)).form("Resend to 1 person")
            keyed.revoke(key)
            answer = await browser.send(form)
        assert answer.headers["location"].startswith("/sign-in?")
        with pytest.raises(NotFoundError):
            await member.status.get_campaign(campaign_id="a-2")


async def test_a_credential_of_a_page_has_its_scopes_and_its_end(keyed: KeyedPair) -> None:
    """At the sender one that reads changes nothing, and one that ended does nothing."""
    async with keyed.member("default") as member:
        await _ended(member.sender)
    database = SqliteDatabase(keyed.folder / "status.db")
    key = keyed.key("default", name="ops", scopes=_OPERATOR)
    for changed, reason in (({"scopes": "read"}, "SCOPE_MISSING"), ({"ends": 1}, "KEY_EXPIRED")):
        token = delegated(database, key, **changed)  # type: ignore[arg-type]
        async with SenderClient(keyed.sender_address, api_key=token) as sender:
            with pytest.raises(ClientError) as caught:
                await sender.resend_campaign(
                    source_campaign_id="a", include_unsent=True, campaign_id="a-2"
                )
            assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"token": "x"}, 403),
        ({"people": "7"}, 409),
        ({"people": ""}, 409),
        ({"request_id": "x"}, 409),
        ({"to": "everybody"}, 409),
        ({"id": "../a"}, 409),
    ],
)
async def test_a_forged_form_sends_nothing(
    both: Pair, changed: dict[str, str], status: int
) -> None:
    """Its token, its number and its fields have to be those of the page."""
    await _ended(both.sender)
    async with _browser(both) as browser:
        form = (await _review(browser)).form("Resend to 1 person")
        answer = await browser.send(form, **changed)
        assert answer.status_code == status
        with pytest.raises(NotFoundError):
            await both.status.get_campaign(campaign_id="a-2")
        answer = await browser.send(form, headers={"origin": "https://evil.example"})
        assert answer.status_code == 403


async def test_a_sender_that_is_down_breaks_nothing(both: Pair) -> None:
    """Its part is missing, a form says so, and all works again when it is back."""
    await _ended(both.sender)
    async with _browser(both) as browser:
        form = (await _review(browser)).form("Resend to 1 person")
        await both.stop_sender()
        said = "The sender does not answer; its part is missing."
        assert said in (await browser.open("/campaigns/a")).text
        assert said in (await browser.open("/campaigns/a/results")).text
        answer = await browser.send(form)
        assert answer.status_code == 503
        assert "The sender does not answer." in Document(answer.text).alerts[0]
        assert (
            "The sender does not answer."
            in (await browser.open("/campaigns/a/resend?to=unknown&id=a-2", status=503)).alerts[0]
        )
        await both.start_sender()

        async def answers() -> bool:
            return "customer-1" in (await browser.open("/campaigns/a")).text

        await support.eventually(answers)


async def test_without_an_address_the_command_that_is_printed_runs(tmp_path: Path) -> None:
    """The page names the command, and the command sends what the page said."""
    pair = Pair(tmp_path)
    pair.channel.script = _replies
    try:
        await pair.start()
        await _ended(pair.sender)
        pair.channel.script = lambda _: support.ACCEPTED
        async with _browser(pair) as browser:
            document = await browser.open("/campaigns/a")
            assert "The sender was not asked: no address is configured." in document.text
            assert not document.has_form("Review the resend")
            document = await _review(browser, "unknown&to=failed")
        assert "no address of a sender is configured." in document.text
        (command,) = re.findall("closeout (resend .*?)</pre>", document.html)
        environment = clean_environment() | {
            "CLOSEOUT_SENDER_STATUS_ADDRESS": pair.status_address,
            "CLOSEOUT_SENDER_LISTEN": pair.sender_address,
        }
        code, _, err = await finished(
            *shlex.split(command), "--yes", folder=tmp_path, environment=environment
        )
        assert code == 0, err
        assert (await pair.ended("a-2")).sent == 2
    finally:
        await asyncio.shield(pair.close())
