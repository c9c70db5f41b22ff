"""How far a message has come at each step of a mail server, and what a silent or rude one means."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from integration.status_support import eventually
from providers.smtp_provider import SteppedProvider
from sender_service.channels.contract import Answer, EmailContent, Handover, Message, Reply
from sender_service.channels.email import faults
from sender_service.channels.email.settings import SmtpSettings
from sender_service.channels.email.smtp import SmtpChannel
from sender_service.domain import ProblemKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 20.0
UNREACHABLE = ProblemKind.PROVIDER_UNREACHABLE
AFTER_THE_DATA = "after the message's data was sent, before the server answered"


@asynccontextmanager
async def channel(provider: SteppedProvider, **settings: Any) -> AsyncIterator[SmtpChannel]:
    """Yield a channel to the provider."""
    values = {"host": provider.host, "port": provider.port, "timeout_seconds": SECONDS} | settings
    smtp = SmtpChannel.from_settings(SmtpSettings(**values))
    try:
        yield smtp
    finally:
        await smtp.close()


async def send(
    smtp: SmtpChannel,
    name: str = "ann",
    *,
    handover: Handover | None = None,
    sender: str = "news@shop.example",
) -> Reply:
    """Send one message."""
    template = smtp.compile(EmailContent(subject="Hi", text="x", from_=sender))
    # Each sender has a campaign of its own.
    message = Message(sender, 1, f"{name}@shop.example", "", {}, f"{name:0>32}")
    return await smtp.send(template, message, handover or Handover())


@pytest.mark.parametrize(
    ("step", "stage", "answer"),
    [
        ("greeting", "before the server greeted", Answer.PROVIDER_FAULT),
        ("ehlo", "before the server answered EHLO", Answer.PROVIDER_FAULT),
        ("mail", "before the server answered MAIL", Answer.PROVIDER_FAULT),
        # The server has heard of the recipient: one such recipient holds up no other.
        ("rcpt", "before the server answered RCPT", Answer.DEFERRED),
        ("data", "before the server answered DATA", Answer.DEFERRED),
        ("message", AFTER_THE_DATA, Answer.LOST),
    ],
)
async def test_silence_depends_on_the_step(step: str, stage: str, answer: Answer) -> None:
    """Only after the data is the message in doubt, and the reply says how far it came."""
    async with SteppedProvider({step: "hang"}) as provider:
        async with channel(provider, timeout_seconds=2.0) as smtp:
            handover = Handover()
            reply = await send(smtp, handover=handover)
        assert (reply.answer, reply.code) == (answer, "timeout")
        assert reply.detail == f"no answer within 2 s, {stage}"
        assert (handover.stage, handover.begun) == (stage, answer is Answer.LOST)
        if answer is Answer.PROVIDER_FAULT:
            assert reply.fault is not None
            assert (reply.fault.kind, reply.fault.needs_attention) == (UNREACHABLE, False)
        else:
            assert reply.fault is None
        assert not provider.ledger.accepted


@pytest.mark.parametrize("step", ["greeting", "ehlo", "mail", "rcpt", "data", "message"])
async def test_a_cancelled_call_says_how_far_it_came(step: str) -> None:
    """Who cancels reads from the handover whether the message is in doubt."""
    async with SteppedProvider({step: "hang"}) as provider, channel(provider) as smtp:
        handover = Handover()
        task = asyncio.create_task(send(smtp, handover=handover))
        await provider.wait_for(step)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert handover.begun == (step == "message")
        assert handover.stage.startswith("after" if step == "message" else "before")
        provider.steps.clear()
        assert (await send(smtp)).answer is Answer.ACCEPTED


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("greeting", Answer.PROVIDER_FAULT),
        ("ehlo", Answer.PROVIDER_FAULT),
        ("mail", Answer.PROVIDER_FAULT),
        ("rcpt", Answer.DEFERRED),
        ("data", Answer.DEFERRED),
        ("message", Answer.LOST),
    ],
)
async def test_a_connection_that_breaks_depends_on_the_step(step: str, answer: Answer) -> None:
    """The same holds where the server hangs up."""
    async with SteppedProvider({step: "cut"}) as provider, channel(provider) as smtp:
        reply = await send(smtp)
    assert reply.answer is answer
    if answer is Answer.PROVIDER_FAULT:
        assert reply.fault is not None
        assert reply.fault.kind is UNREACHABLE
        assert "hung up before" in reply.fault.summary


class HangsUpTwice(SteppedProvider):
    """Hangs up once at one step, and on each later connection at MAIL."""

    def rule(self, step: str, argument: str) -> str:
        """Return the rule of the connection before, or that of all later ones."""
        if self.connections > 1:
            self.steps = {"mail": "cut"}
        return super().rule(step, argument)


@pytest.mark.parametrize("step", ["mail", "rcpt"])
async def test_a_recipient_is_not_named_yet_on_a_new_connection(step: str) -> None:
    """What a server heard on a connection that broke is no reason for a break of the next one."""
    async with HangsUpTwice() as provider, channel(provider, connections=1) as smtp:
        assert (await send(smtp, "other")).answer is Answer.ACCEPTED
        provider.steps[step] = "cut"
        reply = await send(smtp)
        assert provider.connections == 2
    assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "connection_lost")
    assert reply.fault is not None
    assert reply.fault.kind is UNREACHABLE


async def test_a_server_that_does_not_greet_may_be_one_for_tls() -> None:
    """The summary names the time, and the setting that a TLS port needs."""
    async with SteppedProvider({"greeting": "hang"}) as provider:
        async with channel(provider, timeout_seconds=2.0) as smtp:
            reply = await send(smtp)
        assert reply.fault is not None
        assert reply.fault.summary == (
            f"127.0.0.1 did not greet within 2 s; if {provider.port} is a TLS port,"
            " set smtp.security to tls"
        )
        assert reply.fault.setting == "[smtp] security"


@pytest.mark.parametrize("step", ["greeting", "ehlo", "mail", "rcpt", "data", "message"])
async def test_421_at_any_step_asks_the_sender_to_wait(step: str) -> None:
    """It is nobody's try, the wait that the server asks for is in the reply, and it passes."""
    said = "421 4.3.2 Not now, try again in 90 seconds"
    async with SteppedProvider({step: said}) as provider, channel(provider) as smtp:
        reply = await send(smtp)
        assert (reply.answer, reply.code, reply.fault) == (
            Answer.PROVIDER_FAULT,
            "421",
            faults.WAIT,
        )
        assert reply.detail == said[4:]
        assert reply.retry_after_seconds == 90
        provider.steps.clear()
        assert (await send(smtp)).answer is Answer.ACCEPTED


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("rcpt", "554 5.7.1 Relay access denied"),
        ("rcpt", "421 4.7.0 Not for this one"),
        ("message", "550 5.7.26 Unauthenticated"),
    ],
)
async def test_one_odd_recipient_holds_up_no_campaign(step: str, said: str) -> None:
    """What is a fault of the sender at first is a try of one message once others are taken."""
    async with SteppedProvider({step: said}) as provider, channel(provider) as smtp:
        for _ in range(3):  # nothing else was taken: it may well be the sender
            assert (await send(smtp, "odd")).answer is Answer.PROVIDER_FAULT
        provider.steps.clear()
        assert (await send(smtp, "other")).answer is Answer.ACCEPTED
        provider.steps[step] = said
        reply = await send(smtp, "odd")
        assert (reply.answer, reply.code, reply.fault) == (Answer.DEFERRED, said[:3], None)
        # Another message is no odd one for that.
        assert (await send(smtp, "new")).answer is Answer.PROVIDER_FAULT
        provider.steps.clear()
        assert (await send(smtp, "odd")).answer is Answer.ACCEPTED
        assert (await send(smtp, "new")).answer is Answer.ACCEPTED
        provider.steps[step] = said
        # The server is known to refuse one alone; that it asks one alone to wait is not.
        known = Answer.PROVIDER_FAULT if said.startswith("421") else Answer.DEFERRED
        assert (await send(smtp, "next")).answer is known
        assert (await send(smtp, "last")).answer is Answer.PROVIDER_FAULT
        assert (await send(smtp, "next")).answer is known


async def test_a_refused_sender_address_holds_up_no_other_campaign() -> None:
    """Its fault stays one, whomever else the server takes: the campaign has its own breaker."""
    refusal = "553 5.7.1 Sender address rejected: not owned by user ann"
    async with SteppedProvider({"mail": refusal}) as provider, channel(provider) as smtp:
        reply = await send(smtp, "one", sender="bad@shop.example")
        assert (reply.answer, reply.fault) == (Answer.PROVIDER_FAULT, faults.SENDER_REFUSED)
        provider.steps.clear()
        assert (await send(smtp, "two")).answer is Answer.ACCEPTED
        provider.steps["mail"] = refusal
        for name in ("one", "three"):
            reply = await send(smtp, name, sender="bad@shop.example")
            assert (reply.answer, reply.fault) == (Answer.PROVIDER_FAULT, faults.SENDER_REFUSED)


async def test_a_checked_connection_takes_the_first_message() -> None:
    """A check connects and logs in once, and says nothing of any message."""
    async with SteppedProvider() as provider, channel(provider) as smtp:
        handover = Handover()
        assert (await smtp.check(handover)).answer is Answer.ACCEPTED
        assert [line.split(" ")[0] for line in provider.seen] == ["greeting", "ehlo"]
        assert not handover.begun
        assert (await send(smtp)).answer is Answer.ACCEPTED
        assert provider.connections == 1


async def test_a_check_looks_at_the_server_of_now() -> None:
    """A connection that is still open says nothing about logins, and is given up for it."""
    async with SteppedProvider() as provider, channel(provider, connections=1) as smtp:
        assert (await send(smtp)).answer is Answer.ACCEPTED
        provider.steps["greeting"] = "450 4.3.2 not now"
        reply = await smtp.check()
        assert (reply.answer, reply.fault) == (Answer.PROVIDER_FAULT, faults.WAIT)


async def test_a_check_opens_no_more_connections_than_allowed() -> None:
    """A server that allows one would refuse the check for the connection that is idle."""
    async with SteppedProvider() as provider, channel(provider, connections=1) as smtp:
        assert (await send(smtp)).answer is Answer.ACCEPTED
        assert (await smtp.check()).answer is Answer.ACCEPTED
        async with asyncio.timeout(SECONDS):
            while provider.open_connections > 1:  # noqa: ASYNC110 - the server has no event
                await asyncio.sleep(0.01)
        assert (await send(smtp)).answer is Answer.ACCEPTED
        assert provider.connections == 2


async def test_a_check_shows_its_stage_while_it_runs_and_ends_in_time() -> None:
    """Who waits for a check can say what it waits for."""
    async with SteppedProvider({"greeting": "hang"}) as provider:
        async with channel(provider, timeout_seconds=3.0) as smtp:
            handover = Handover()
            assert handover.stage == "before there was a connection"
            task = asyncio.create_task(smtp.check(handover))
            await provider.wait_for("greeting")
            async with asyncio.timeout(SECONDS):
                while handover.stage != "before the server greeted":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            reply = await task
        assert (reply.answer, reply.code) == (Answer.PROVIDER_FAULT, "timeout")
        assert reply.detail == "no answer within 3 s, before the server greeted"


async def test_a_cancelled_check_leaves_the_channel_whole() -> None:
    """Its place in the pool is free again."""
    async with (
        SteppedProvider({"ehlo": "hang"}) as provider,
        channel(provider, connections=1) as smtp,
    ):
        task = asyncio.create_task(smtp.check())
        await provider.wait_for("ehlo")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        provider.steps.clear()
        assert (await send(smtp)).answer is Answer.ACCEPTED


async def test_a_connection_that_is_retired_is_ended_in_order() -> None:
    """Its server hears QUIT, so that it counts no client that was cut off."""
    async with SteppedProvider() as provider:
        async with channel(provider, messages_per_connection=2) as smtp:
            for _ in range(5):
                await send(smtp)
            assert provider.connections == 3

        async def heard() -> bool:
            return provider.goodbyes == 3

        await eventually(heard, what="each of them heard it, the last one at the end")
