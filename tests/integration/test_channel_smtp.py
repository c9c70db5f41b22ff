"""The SMTP channel against a server that does what each recipient's address says."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from providers.held_port import HeldPort
from providers.scripts import Script
from providers.smtp_provider import Ledger, SmtpProvider, scripted
from sender_service.channels.contract import Answer, EmailContent, Fault, Handover, Message, Reply
from sender_service.channels.email import faults
from sender_service.channels.email.pool import SmtpPool
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.channels.errors import ChannelNotConfiguredError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = "0123456789abcdef0123456789abcdef"
CONTENT = EmailContent(
    subject="Hi {{ name }}", text="Dear {{ name }}\n.\n..\n", from_="Shop <news@shop.example>"
)
#: Long enough for any answer, for tests that wait for none.
SECONDS = 20.0


@asynccontextmanager
async def channel(provider: SmtpProvider, **settings: Any) -> AsyncIterator[SmtpChannel]:
    """Yield a channel to the provider."""
    values = {"host": provider.host, "port": provider.port, "timeout_seconds": SECONDS} | settings
    smtp = SmtpChannel.from_settings(SmtpSettings(**values))
    try:
        yield smtp
    finally:
        await smtp.close()


async def send(smtp: SmtpChannel, address: str, **fields: object) -> Reply:
    """Send one message of a small campaign."""
    template = smtp.compile(CONTENT)
    return await smtp.send(template, Message("spring", 1, address, "", fields, KEY), Handover())


async def test_accepted_message_arrives_as_rendered() -> None:
    """What the server accepted is what was rendered, dots included, and it is in its queue."""
    async with scripted() as provider, channel(provider) as smtp:
        reply = await send(smtp, "ann@shop.example", name="Zoë")
    assert reply == Reply(
        Answer.ACCEPTED,
        code="250",
        detail="2.0.0 Ok: queued as 00000001",
        provider_message_id="00000001",
    )
    (entry,) = provider.ledger.accepted
    assert (entry.recipient, entry.message_id) == ("ann@shop.example", f"<{KEY}@shop.example>")
    assert provider.messages[0].endswith(b"Dear Zo=C3=AB\r\n=2E\r\n..\r\n")


@pytest.mark.parametrize(
    ("script", "answer", "code"),
    [
        ("refuse550", Answer.REFUSED, "550"),
        ("refuse553", Answer.REFUSED, "553"),
        ("defer451", Answer.DEFERRED, "451"),
        ("reject554", Answer.REFUSED, "554"),
        ("reject452", Answer.DEFERRED, "452"),
        # 421 on two connections: the server wants no mail now, whatever the recipient.
        ("421", Answer.PROVIDER_FAULT, "421"),
        # Hung up on two connections, once it had the address: it is this recipient.
        ("cut", Answer.DEFERRED, "connection_lost"),
        # The whole message was there, and the server answered.
        ("reject421", Answer.PROVIDER_FAULT, "421"),
        # No answer to a message that SMTP knows.
        ("reject354", Answer.LOST, "354"),
        # The server may have taken it, or not: the client can't know.
        ("drop-after-data", Answer.LOST, "connection_lost"),
        ("drop-before-accept", Answer.LOST, "connection_lost"),
        # Nothing of the message went out on the first connection.
        ("421once", Answer.ACCEPTED, "250"),
        ("cutonce", Answer.ACCEPTED, "250"),
    ],
)
async def test_answer_means_what_the_server_did(script: str, answer: Answer, code: str) -> None:
    """Each way to end a message has its meaning, and the next message is not touched by it."""
    async with scripted() as provider, channel(provider, connections=1) as smtp:
        first = await send(smtp, "before@shop.example")
        reply = await send(smtp, f"{script}+x@shop.example")
        after = await send(smtp, "after@shop.example")
        took = [entry.recipient for entry in provider.ledger.accepted]
    assert (reply.answer, reply.code) == (answer, code)
    assert first.answer is after.answer is Answer.ACCEPTED
    assert took.count(f"{script}+x@shop.example") == (
        script in ("421once", "cutonce", "drop-after-data")
    )


class PickyProvider(SmtpProvider):
    """A server that does not take mail from everybody.

    Args:
        answer: what it says to the sender.
    """

    def __init__(self, answer: str) -> None:
        super().__init__(Script())
        self._answer = answer

    async def handle_MAIL(self, *_: Any) -> str:  # noqa: N802 - named by aiosmtpd
        """Refuse the sender."""
        return self._answer


@pytest.mark.parametrize(
    ("line", "fault"),
    [("550 5.7.1 not from you", faults.SENDER_REFUSED), ("451 4.7.1 not now", faults.WAIT)],
)
async def test_a_refused_sender_is_the_fault_of_no_message(line: str, fault: Fault) -> None:
    """MAIL names the sender alone, so nobody's message is tried or failed."""
    async with PickyProvider(line) as provider, channel(provider, connections=1) as smtp:
        for _ in range(2):
            reply = await send(smtp, "ann@shop.example")
            assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, line[:3])
            assert reply.fault == fault


async def test_a_cancelled_connect_leaves_the_pool_whole() -> None:
    """A server that does not greet takes no place in the pool with it."""
    silent, greeted = asyncio.Event(), 0

    async def greet_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted += 1
        if greeted == 1:
            silent.set()
        else:
            writer.write(b"220 hello\r\n")
            await reader.readline()
            writer.write(b"250 hello\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet_the_second, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        pool = SmtpPool(SmtpSettings(host="127.0.0.1", port=port, connections=1, security="none"))
        connecting = asyncio.create_task(pool.take(Handover()))
        await silent.wait()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        async with asyncio.timeout(SECONDS):
            connection = await pool.take(Handover())
        pool.give_back(connection, keep=False)
        pool.close()


async def test_enhanced_code_is_kept() -> None:
    """The server's own words, the enhanced code with them, are the detail."""
    async with scripted() as provider, channel(provider) as smtp:
        reply = await send(smtp, "refuse550+x@shop.example")
    assert reply.detail == "5.1.1 as the address asks"


@pytest.mark.parametrize(("script", "answer"), [("hang", Answer.LOST), ("stall", Answer.DEFERRED)])
async def test_no_answer_in_time(script: str, answer: Answer) -> None:
    """Silence after the message is LOST, silence before it is not."""
    async with scripted() as provider, channel(provider, timeout_seconds=3.0) as smtp:
        reply = await send(smtp, f"{script}+x@shop.example")
    assert (reply.answer, reply.code) == (answer, "timeout")


async def test_deferred_message_is_accepted_at_the_second_try() -> None:
    """A greylisted recipient gets the message once."""
    async with scripted() as provider, channel(provider) as smtp:
        first = await send(smtp, "defer451once+x@shop.example")
        second = await send(smtp, "defer451once+x@shop.example")
    assert (first.answer, second.answer) == (Answer.DEFERRED, Answer.ACCEPTED)
    assert len(provider.ledger.accepted) == 1


async def test_connection_is_used_again() -> None:
    """Messages one after another share a connection, refusals among them."""
    async with scripted() as provider, channel(provider) as smtp:
        for number in range(5):
            await send(smtp, f"ok{number}@shop.example")
            await send(smtp, f"refuse550+{number}@shop.example")
            await send(smtp, f"reject451+{number}@shop.example")
        assert provider.connections == 1
    assert len(provider.ledger.accepted) == 5


async def test_connection_is_retired() -> None:
    """After its number of messages a connection is closed and another opened."""
    async with scripted() as provider, channel(provider, messages_per_connection=2) as smtp:
        for number in range(5):
            await send(smtp, f"ok{number}@shop.example")
        assert provider.connections == 3


async def test_idle_connection_is_not_used_again() -> None:
    """A connection that was idle for too long is replaced."""
    async with scripted() as provider, channel(provider, max_idle_seconds=1e-9) as smtp:
        await send(smtp, "ok1@shop.example")
        await send(smtp, "ok2@shop.example")
        assert provider.connections == 2


async def test_messages_at_once_never_exceed_the_connections() -> None:
    """Many messages at once all arrive, over no more connections than allowed."""
    async with scripted(latency_seconds=0.01) as provider, channel(provider, connections=4) as smtp:
        replies = await asyncio.gather(
            *(send(smtp, f"ok{number}@shop.example", name=number) for number in range(40))
        )
        assert provider.connections <= 4
    assert {reply.answer for reply in replies} == {Answer.ACCEPTED}
    assert len({entry.recipient for entry in provider.ledger.accepted}) == 40


async def test_server_that_is_down_is_unreachable_until_it_returns() -> None:
    """Nothing is lost or refused while the server is away."""
    with HeldPort() as held:
        async with scripted(port=held.port) as provider, channel(provider) as smtp:
            assert (await send(smtp, "one@shop.example")).answer is Answer.ACCEPTED
            await provider.__aexit__(None, None, None)
            down = await send(smtp, "two@shop.example")
            assert (down.answer, down.code) == (Answer.PROVIDER_FAULT, "connect_failed")
            async with scripted(port=held.port) as again:
                assert (await send(smtp, "two@shop.example")).answer is Answer.ACCEPTED
                assert [entry.recipient for entry in again.ledger.accepted] == ["two@shop.example"]


async def test_connection_that_died_unseen_is_replaced() -> None:
    """A server that restarted between two messages costs neither of them."""
    async with scripted() as provider, channel(provider) as smtp:
        await send(smtp, "one@shop.example")
        await provider.cut_connections()
        assert (await send(smtp, "two@shop.example")).answer is Answer.ACCEPTED


async def test_cancelled_send_drops_its_connection() -> None:
    """An answer still under way is never taken for that of the next message."""
    async with scripted() as provider, channel(provider, connections=1) as smtp:
        task = asyncio.create_task(send(smtp, "hang+x@shop.example"))
        async with asyncio.timeout(SECONDS):
            while not provider.messages:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await send(smtp, "after@shop.example")).answer is Answer.ACCEPTED
        assert provider.connections == 2


async def test_cancelled_wait_for_a_connection_leaves_the_pool_whole() -> None:
    """Messages that were cancelled while they waited take no connection with them."""
    async with scripted(latency_seconds=0.05) as provider, channel(provider, connections=1) as smtp:
        tasks = [
            asyncio.create_task(send(smtp, f"ok{number}@shop.example")) for number in range(10)
        ]
        await tasks[0]
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await send(smtp, "after@shop.example")).answer is Answer.ACCEPTED


@pytest.mark.parametrize(
    "address", ["ann@shop.example>\r\nRCPT TO:<bo@shop.example", "ann@shop.example\x00", "ann"]
)
async def test_address_that_is_a_command_never_goes_out(address: str) -> None:
    """An address is checked again when it is sent to."""
    async with scripted() as provider, channel(provider) as smtp:
        reply = await send(smtp, address)
        assert (reply.answer, reply.code) == (Answer.REFUSED, "header_injection")
        assert provider.connections == 0


async def test_message_that_cannot_be_rendered_is_refused() -> None:
    """One recipient's odd field fails one message."""
    async with scripted() as provider, channel(provider) as smtp:
        content = EmailContent(subject="Hi", text="{{ points | sort }}", from_="news@shop.example")
        message = Message("c", 1, "ann@shop.example", "", {"points": [1, "a"]}, KEY)
        reply = await smtp.send(smtp.compile(content), message, Handover())
    assert (reply.answer, reply.code) == (Answer.REFUSED, "render_error")
    assert "line 1, column 1" in reply.detail


async def test_unsafe_unsubscribe_address_is_refused() -> None:
    """A field can't put a line break into a header."""
    async with scripted() as provider, channel(provider) as smtp:
        content = EmailContent(
            subject="Hi",
            text="x",
            from_="news@shop.example",
            list_unsubscribe="https://shop.example/{{ token }}",
        )
        message = Message("c", 1, "ann@shop.example", "", {"token": "a\r\nBcc: b@c.example"}, KEY)
        reply = await smtp.send(smtp.compile(content), message, Handover())
    assert (reply.answer, reply.code) == (Answer.REFUSED, "header_injection")


async def test_local_part_of_any_script_goes_to_a_server_that_takes_it() -> None:
    """With SMTPUTF8 the address is sent as it is."""
    async with scripted(smtputf8=True) as provider, channel(provider) as smtp:
        assert (await send(smtp, "zoë@bücher.example")).answer is Answer.ACCEPTED
    assert provider.ledger.accepted[0].recipient == "zoë@xn--bcher-kva.example"


async def test_local_part_of_any_script_is_refused_where_the_server_cannot_take_it() -> None:
    """Without SMTPUTF8 only the domain can be international."""
    async with scripted() as provider, channel(provider) as smtp:
        reply = await send(smtp, "zoë@shop.example")
        assert (reply.answer, reply.code) == (Answer.REFUSED, "smtputf8_unsupported")
        assert (await send(smtp, "ann@bücher.example")).answer is Answer.ACCEPTED
    assert provider.ledger.accepted[0].recipient == "ann@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("greeting", "code"),
    [(b"421 4.3.2 try later\r\n", "421"), (b"554 5.7.1 you are listed\r\n", "554"), (b"", "")],
)
async def test_server_that_will_not_talk_is_unreachable(greeting: bytes, code: str) -> None:
    """A server that turns us away at the door says nothing about the message."""

    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        smtp = SmtpChannel(SmtpSettings(host="127.0.0.1", port=port, timeout_seconds=SECONDS))
        reply = await send(smtp, "ann@shop.example")
        await smtp.close()
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, code or "connect_failed")


async def test_ledger_is_in_its_file_before_the_answer(tmp_path: Path) -> None:
    """Who reads the provider's ledger after an answer finds the message there."""
    path = tmp_path / "ledger.jsonl"
    async with scripted(ledger=Ledger(path)) as provider, channel(provider) as smtp:
        await send(smtp, "ann@shop.example")
        assert [entry.recipient for entry in Ledger.read(path)] == ["ann@shop.example"]


def test_channel_without_a_host_is_not_configured() -> None:
    """A sender starts without an SMTP server; a campaign is refused with the missing setting."""
    with pytest.raises(ChannelNotConfiguredError, match="CLOSEOUT_SMTP_HOST"):
        SmtpChannel.from_settings(SmtpSettings())
