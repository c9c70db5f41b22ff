"""SendTest: a message to a few addresses, now, outside any campaign."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from closeout.errors import DeadlineExceededError, FailedPreconditionError, InvalidArgumentError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from integration import sender_support as support
from integration.lone_sender import lone_sender
from integration.sender_pair import Pair, pair
from providers.http_provider import HttpProvider
from providers.smtp_provider import scripted
from sender_service.campaigns import trial as trial_module
from sender_service.channels.contract import Answer, Fault, Message, Reply
from sender_service.channels.errors import TemplateError
from sender_service.domain import ProblemKind
from sender_service.store import schema

Outcome = status_pb2.Result.Outcome
Kind = status_pb2.Problem.Kind
BODY = pb.EmailContent(subject="Hello")


def people(*addresses: str) -> list[pb.Recipient]:
    return [pb.Recipient(address=address) for address in addresses]


async def trial(both: Pair, *addresses: str, **options: Any) -> list[pb.SendTestResponse.Attempt]:
    """Send a test of the scripted channel; return its attempts."""
    answer = await both.sender.send_test(
        channel="scripted", body=BODY, recipients=people(*addresses), **options
    )
    return list(answer.attempts)


def failing_previews(both: Pair, error: Exception) -> None:
    """Let the templates of the scripted channel fail for addresses with ``bad``."""
    compile_ = both.channel.compile

    def compile_failing(content: Any) -> Any:
        template: Any = compile_(content)
        preview = template.preview

        def failing(message: Message) -> str:
            if message.address.startswith("bad"):
                raise error
            return str(preview(message))

        template.preview = failing
        return template

    both.channel.compile = compile_failing  # type: ignore[method-assign]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with the scripted channel."""
    async with pair(tmp_path) as services:
        yield services


async def test_each_recipient_gets_one_message_at_once(both: Pair) -> None:
    """Every attempt is answered in order; ids are the provider's, keys are all different."""
    attempts = await trial(both, " Ann@Shop.example", "bob@shop.example")
    assert [(one.address, one.outcome, one.code, one.provider_message_id) for one in attempts] == [
        ("ann@shop.example", Outcome.SENT, "250", "p-1"),
        ("bob@shop.example", Outcome.SENT, "250", "p-1"),
    ]
    await trial(both, "ann@shop.example")
    calls = both.channel.calls
    assert [call.campaign_id for call in calls] == ["test"] * 3
    assert len({call.idempotency_key for call in calls}) == 3
    assert both.channel.checks == 0


async def test_nothing_is_stored(both: Pair) -> None:
    """No campaign and no recipient comes of a test, here or at the status service."""
    await trial(both, "ann@shop.example")
    engine = sa.create_engine(f"sqlite:///{both.folder}/sender.db")
    with engine.connect() as connection:
        for table in (schema.campaigns, schema.recipients, schema.outcomes):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0
    engine.dispose()
    assert [campaign async for campaign in both.status.list_campaigns()] == []


@pytest.mark.parametrize(
    ("reply", "outcome", "code", "detail"),
    [
        (support.REFUSED, Outcome.FAILED, "550", "no such user"),
        (support.DEFERRED, Outcome.FAILED, "451", "later"),
        (support.LOST, Outcome.UNKNOWN, "timeout", ""),
        (Reply(Answer.LOST), Outcome.UNKNOWN, "in_doubt", ""),
    ],
)
async def test_an_answer_ends_an_attempt(
    both: Pair, reply: Reply, outcome: int, code: str, detail: str
) -> None:
    """Nothing is tried again: what was put off has failed, and a lost answer is UNKNOWN."""
    both.channel.script = lambda _: reply
    (attempt,) = await trial(both, "ann@shop.example")
    assert (attempt.outcome, attempt.code, attempt.detail) == (outcome, code, detail)
    assert not attempt.HasField("problem")
    assert len(both.channel.calls) == 1


async def test_a_fault_of_the_provider_is_a_problem(both: Pair) -> None:
    """What is wrong with the provider as a whole comes with the setting to correct."""
    fault = Fault(
        ProblemKind.PROVIDER_REFUSES,
        "the mail server refuses the sender's login",
        setting="[smtp] password",
        needs_attention=True,
    )
    replies = {
        "ann@shop.example": Reply(
            Answer.PROVIDER_FAULT, code="535", detail="5.7.8 no", fault=fault
        ),
        "bob@shop.example": Reply(Answer.PROVIDER_FAULT, code="535", detail="535 5.7.8 no"),
    }
    both.channel.script = lambda message: replies[message.address]
    named, unnamed = await trial(both, *replies)
    assert (named.outcome, named.code) == (Outcome.FAILED, "535")
    assert named.problem == status_pb2.Problem(
        kind=Kind.PROVIDER_REFUSES,
        summary="the mail server refuses the sender's login",
        detail="535 5.7.8 no",
        setting="[smtp] password",
        provider="scripted",
        needs_attention=True,
    )
    assert unnamed.problem.kind == Kind.PROVIDER_UNREACHABLE
    assert unnamed.problem.detail == "535 5.7.8 no"
    assert "scripted" in unnamed.problem.summary


async def test_a_defect_of_a_channel_is_an_answer(both: Pair) -> None:
    """A channel that raises after it handed over a message leaves it in doubt."""

    def fail(_: Message) -> Reply:
        raise ValueError("a defect")

    both.channel.script = fail
    (attempt,) = await trial(both, "ann@shop.example")
    assert (attempt.outcome, attempt.code) == (Outcome.UNKNOWN, "channel_error")
    assert attempt.detail == "ValueError"


async def test_a_defect_of_a_template_is_an_answer(both: Pair) -> None:
    """It comes before the message is handed over, so nobody has it, and others go on."""
    good, bad = await trial(both, "good@shop.example", "bad@shop.example")
    assert (good.outcome, bad.outcome) == (Outcome.SENT, Outcome.SENT)
    failing_previews(both, ValueError("a defect"))
    good, bad = await trial(both, "good@shop.example", "bad@shop.example")
    assert (good.outcome, bad.outcome) == (Outcome.SENT, Outcome.FAILED)
    assert (bad.code, bad.detail, bad.HasField("problem")) == ("channel_error", "ValueError", False)


async def test_a_channel_that_keeps_no_deadline_is_cut_off(both: Pair) -> None:
    """An attempt ends soon after the channel's timeout, whatever the channel does."""
    both.channel.timeout_seconds = 0.05
    both.channel.hold.clear()
    (attempt,) = await trial(both, "ann@shop.example")
    assert (attempt.outcome, attempt.code) == (Outcome.UNKNOWN, "timeout")
    assert both.channel.flying == 0


async def test_a_caller_who_hangs_up_ends_the_attempts(both: Pair) -> None:
    """What was waiting for the provider is cancelled with the call."""
    both.channel.timeout_seconds = 60.0
    both.channel.hold.clear()
    with pytest.raises(DeadlineExceededError):
        await trial(both, "a@shop.example", "b@shop.example", timeout_seconds=0.5)
    await support.eventually(lambda: len(both.channel.calls) == 2 and both.channel.flying == 0)


async def test_tests_leave_half_of_the_channel_to_campaigns(both: Pair) -> None:
    """Of four calls at once, all tests together take two, and campaigns get the others."""
    await both.hold_calls()
    both.channel.timeout_seconds = 60.0
    addresses = [f"p{number}@shop.example" for number in range(10)]
    running = [asyncio.create_task(trial(both, *addresses)) for _ in range(3)]
    await support.eventually(lambda: both.channel.flying == 2)
    await both.begin("c1", messages=8)
    await support.eventually(lambda: both.channel.flying == both.channel.concurrency == 4)
    assert sum(message.campaign_id == "c1" for message in both.channel.calls) == 2
    both.channel.hold.set()
    for answer in await asyncio.gather(*running):
        assert [attempt.address for attempt in answer] == addresses
    assert both.channel.most_flying == 4


async def test_a_test_does_not_wait_for_ever_behind_campaigns(both: Pair) -> None:
    """Where all connections stay in use for the channel's timeout, the test says so."""
    both.channel.timeout_seconds = 60.0
    await both.hold_calls()
    await both.begin("c1", messages=8)
    await support.eventually(lambda: both.channel.flying == both.channel.concurrency)
    both.channel.timeout_seconds = 0.05
    (attempt,) = await trial(both, "ann@shop.example")
    assert (attempt.outcome, attempt.code) == (Outcome.FAILED, "busy")
    assert "try again" in attempt.detail


async def test_a_message_that_cannot_be_rendered_is_not_sent(both: Pair) -> None:
    """The templates are rendered before anything goes out, and for each recipient."""
    failing_previews(both, TemplateError("text", "can't be rendered", line=1, column=3))
    good, bad = await trial(both, "good@shop.example", "bad@shop.example")
    assert (good.outcome, bad.outcome) == (Outcome.SENT, Outcome.FAILED)
    assert (bad.code, bad.detail) == (
        "render_error",
        "template text at line 1, column 3: can't be rendered",
    )
    assert [call.address for call in both.channel.calls] == ["good@shop.example"]


async def test_wrong_requests_are_refused(both: Pair) -> None:
    """Nobody, too many, unusable addresses, unknown channels and unknown variables."""

    async def refused(**changes: Any) -> InvalidArgumentError:
        values = {"channel": "scripted", "body": BODY, "recipients": people("a@shop.example")}
        with pytest.raises(InvalidArgumentError) as caught:
            await both.sender.send_test(**(values | changes))
        return caught.value

    assert list((await refused(recipients=[])).field_violations) == ["recipients"]
    many = people(*(f"p{number}@shop.example" for number in range(11)))
    assert list((await refused(recipients=many)).field_violations) == ["recipients"]
    bad = await refused(recipients=people("a@shop.example", "nobody"))
    assert bad.field_violations == {"recipients[1]": "no @ in it"}
    assert (await refused(channel="fax")).reason == "CHANNEL_NOT_FOUND"
    body = pb.EmailContent(subject="Hi {{ frist_name }}")
    unknown = await refused(body=body, recipient_fields=["first_name"])
    assert unknown.reason == "TEMPLATE_INVALID"
    assert unknown.metadata["variable"] == "frist_name"
    assert both.channel.calls == []


def mail_body(**changes: Any) -> pb.EmailContent:
    values = {"subject": "Hi {{ first_name }}", "text": "Dear {{ first_name }}"}
    return pb.EmailContent(**(values | {"from": "Shop <news@shop.example>"} | changes))


async def test_a_mail_server_takes_one_and_refuses_another(tmp_path: Path) -> None:
    """Each recipient has the answer of the server, whatever becomes of the others."""
    recipients = people("ann@shop.example", "refuse550+bob@shop.example")
    recipients[0].fields.update({"first_name": "Zoë"})
    async with (
        scripted() as provider,
        lone_sender(tmp_path, host=provider.host, port=provider.port) as client,
    ):
        answer = await client.send_test(
            channel="smtp", body=mail_body(), recipients=recipients, recipient_fields=["first_name"]
        )
    sent, refused = answer.attempts
    assert (sent.outcome, sent.code) == (Outcome.SENT, "250")
    assert sent.provider_message_id == "00000001"
    assert refused.outcome == Outcome.FAILED
    (entry,) = provider.ledger.accepted
    assert entry.recipient == "ann@shop.example"


async def test_a_test_arrives_as_a_message_of_its_campaign_would(tmp_path: Path) -> None:
    """The subject is unchanged, and fields are filled in, for any kind of content."""
    (recipient,) = people("ann")
    recipient.fields.update({"first_name": "Zoë"})
    bodies = (
        mail_body(),
        pb.TextContent(text="Dear {{ first_name }} ({{ campaign_id }})"),
        pb.JsonContent(json='{"address": {{ first_name | json }}}'),
    )
    async with HttpProvider() as provider, lone_sender(tmp_path, url=provider.url) as client:
        for body in bodies:
            answer = await client.send_test(
                channel="webhook",
                body=body,
                recipients=[recipient],
                recipient_fields=["first_name"],
            )
            assert [attempt.outcome for attempt in answer.attempts] == [Outcome.SENT]
    mail, text, document = (json.loads(posted.body) for posted in provider.posted)
    assert (mail["subject"], mail["text"], mail["address"]) == ("Hi Zoë", "Dear Zoë", "ann")
    assert text["text"] == "Dear Zoë (test)"
    assert document == {"address": "Zoë"}


async def test_an_unconfigured_channel_sends_no_test(tmp_path: Path) -> None:
    """The answer names the setting that is missing."""
    async with lone_sender(tmp_path) as client:
        with pytest.raises(FailedPreconditionError) as refused:
            await client.send_test(
                channel="smtp", body=mail_body(), recipients=people("ann@shop.example")
            )
    assert refused.value.reason == "CHANNEL_NOT_CONFIGURED"
    assert "smtp.host is not set" in refused.value.message


async def test_a_template_that_takes_too_long_is_not_sent(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold up all campaigns: the test fails with a code of its own."""
    monkeypatch.setattr(trial_module, "SLOW_SECONDS", -1.0)
    (attempt,) = await trial(both, "ann@shop.example")
    assert (attempt.outcome, attempt.code) == (Outcome.FAILED, "render_limit")
    assert "loops shorter" in attempt.detail
    assert both.channel.calls == []


async def test_other_calls_are_answered_while_a_message_is_rendered(both: Pair) -> None:
    """Templates are compiled and rendered beside the loop that serves everybody."""
    rendering, release = threading.Event(), threading.Event()
    compile_ = both.channel.compile

    def compile_slow(content: Any) -> Any:
        template: Any = compile_(content)

        def slow(_: Message) -> str:
            rendering.set()
            release.wait(60)
            return ""

        template.preview = slow
        return template

    both.channel.compile = compile_slow  # type: ignore[method-assign]
    running = asyncio.create_task(trial(both, "ann@shop.example", timeout_seconds=60))
    try:
        await support.eventually(rendering.is_set)
        checks = await both.sender.check_sender()
        assert not running.done()
    finally:
        release.set()
    assert all(check.ok for check in checks.checks)
    assert [attempt.outcome for attempt in await running] == [Outcome.SENT]


async def test_slow_templates_do_not_hold_up_uploads(both: Pair) -> None:
    """However many messages of tests are being rendered, an upload is taken meanwhile."""
    release = threading.Event()
    compile_ = both.channel.compile
    rendering: list[Message] = []

    def compile_slow(content: Any) -> Any:
        template: Any = compile_(content)

        def slow(message: Message) -> str:
            rendering.append(message)
            release.wait(60)
            return ""

        template.preview = slow
        return template

    await both.sender.create_campaign(
        campaign_id="c1", channel=both.channel.name, body=pb.TextContent(text="x")
    )
    both.channel.compile = compile_slow  # type: ignore[method-assign]
    addresses = [f"p{number}@shop.example" for number in range(10)]
    tests = [asyncio.create_task(trial(both, *addresses, timeout_seconds=60)) for _ in range(10)]
    try:
        await support.eventually(lambda: len(rendering) >= 2)
        taken = await both.sender.upload_recipients(
            campaign_id="c1", upload_id="u", batches=[people("ann@shop.example")]
        )
        assert not any(test.done() for test in tests)
    finally:
        release.set()
    assert taken.total == 1
    await asyncio.gather(*tests)
