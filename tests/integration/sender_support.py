"""A sender's store with campaigns in it, and a channel whose answers a test scripts."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from integration.migrated import make_file
from providers.pauses import pauses
from sender_service.channels.contract import Answer, Content, EmailContent, Fault, Reply
from sender_service.channels.errors import InvalidAddressError
from sender_service.domain import Guarantee, ProblemKind, RetryPolicy
from sender_service.migrations import MIGRATIONS
from sender_service.store import campaigns, recipients, schema
from sender_service.store.values import NewCampaign
from service_runtime.database import Store
from service_runtime.settings import Section

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from sender_service.channels.contract import Channel, Handover, Message, Template

ORGANISATION = "default"
ACCEPTED = Reply(Answer.ACCEPTED, code="250", provider_message_id="p-1")
REFUSED = Reply(Answer.REFUSED, code="550", detail="no such user")
DEFERRED = Reply(Answer.DEFERRED, code="451", detail="later")
LOST = Reply(Answer.LOST, code="timeout")
UNREACHABLE = Reply(
    Answer.PROVIDER_FAULT,
    code="connect",
    detail="connection refused",
    fault=Fault(ProblemKind.PROVIDER_UNREACHABLE, "the provider can't be reached"),
)


class ScriptedSettings(Section):
    """Nothing to set."""


class ScriptedTemplate:
    """Content that is shown as it is."""

    def __init__(self, content: Content) -> None:
        self.content = content

    def preview(self, message: Message) -> str:
        """Show subject, if there is one, and address."""
        subject = self.content.subject if isinstance(self.content, EmailContent) else ""
        return f"{subject} to {message.address}"


class ScriptedChannel:
    """Answers as ``script`` says; keeps a ledger of what it was handed.

    ``hold``: while not set, no call answers. ``hold_checks``: likewise for checks.
    """

    name: ClassVar[str] = "scripted"
    settings_model: ClassVar[type[Section]] = ScriptedSettings
    at_least_once: ClassVar[bool] = False
    max_in_flight: ClassVar[int] = 8
    retry: ClassVar[RetryPolicy] = RetryPolicy()

    def __init__(self) -> None:
        self.concurrency = 4
        self.timeout_seconds = 1.0
        self.provider = "scripted"
        self.check_reply = ACCEPTED
        self.checks = 0
        self.script: Callable[[Message], Reply] = lambda _: ACCEPTED
        self.calls: list[Message] = []
        self.answers: dict[int, list[Answer]] = defaultdict(list)
        self.flying = 0
        self.most_flying = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.hold_checks = asyncio.Event()
        self.hold_checks.set()
        self.closed = False

    @classmethod
    def from_settings(cls, settings: Any) -> ScriptedChannel:  # noqa: ARG003 - there are none
        """Build it."""
        return cls()

    def check_address(self, address: str) -> str:
        """Refuse an address without @."""
        if "@" not in address:
            raise InvalidAddressError("no @ in it")
        return address.strip().lower()

    def compile(self, content: Content) -> Template:
        """Keep the content."""
        return ScriptedTemplate(content)

    def silence(self, stage: str, seconds: float) -> Fault:
        """Say how long nothing came."""
        summary = f"scripted has not answered for {seconds:g} s"
        return Fault(ProblemKind.PROVIDER_UNREACHABLE, summary, setting=f"silence {stage}")

    async def check(self, handover: Handover | None = None) -> Reply:
        """Answer as the test says."""
        self.checks += 1
        if handover is not None:
            handover.stage = "before it greeted"
        await self.hold_checks.wait()
        return self.check_reply

    async def send(self, template: Template, message: Message, handover: Handover) -> Reply:  # noqa: ARG002
        """Answer as the script says."""
        handover.begin("after it was handed over")
        self.calls.append(message)
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await asyncio.sleep(0)
            await self.hold.wait()
            reply = self.script(message)
        finally:
            self.flying -= 1
        self.answers[message.sequence].append(reply.answer)
        return reply

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def forget(self) -> None:
        """Begin the ledger again."""
        self.calls.clear()
        self.answers.clear()
        self.most_flying = 0

    def accepted(self) -> list[int]:
        """Return the sequence of every message accepted, once for each time."""
        return sorted(
            sequence
            for sequence, answers in self.answers.items()
            for answer in answers
            if answer is Answer.ACCEPTED
        )


def channel_class(instance: ScriptedChannel) -> type[Channel]:
    """Return a class whose only instance is ``instance``, so that a test can reach it."""

    class Given(ScriptedChannel):
        @classmethod
        def from_settings(cls, settings: Any) -> Any:  # noqa: ARG003 - there are none
            return instance

    return Given


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Store]:
    """Open a sender's store in ``folder``."""
    make_file(folder / "sender.db", MIGRATIONS)
    store = Store(f"sqlite:///{folder}/sender.db", MIGRATIONS, holder="test")
    try:
        yield store
    finally:
        store.close()


def new_campaign(campaign_id: str = "c1", **changes: Any) -> NewCampaign:
    """Return a campaign of the scripted channel."""
    values: dict[str, Any] = {
        "organisation": ORGANISATION,
        "campaign_id": campaign_id,
        "request_id": "",
        "display_name": "Test",
        "channel": "scripted",
        "content": '{"kind": "email", "subject": "Hello"}',
        "content_digest": "d1",
        "request_digest": "r1",
        "guarantee": Guarantee.AT_MOST_ONCE,
        "max_in_flight": 8,
        "max_attempts": 3,
        "initial_backoff_ms": 1,
        "max_backoff_ms": 3_600_000,
        "retry_deadline_ms": None,
        "labels": {},
    }
    return NewCampaign(**values | changes)


def rows_of(addresses: Iterable[str]) -> list[recipients.CheckedRow]:
    """Return rows as intake stores them."""
    return [recipients.CheckedRow(address, f"key-{address}", '{"n":1}') for address in addresses]


async def add_campaign(
    store: Store, *, messages: int, shard_size: int = 100, started: bool = True, **changes: Any
) -> sa.Row[Any]:
    """Store a campaign with a frozen audience; return its row."""
    new = new_campaign(**changes)

    def work(connection: sa.Connection) -> sa.Row[Any]:
        campaigns.insert(connection, new)
        recipients.take_batch(
            connection,
            new.organisation,
            new.campaign_id,
            upload_id="u",
            first_row=0,
            rows=rows_of(f"p{number}@example.com" for number in range(messages)),
        )
        row = campaigns.freeze(
            connection, new.organisation, new.campaign_id, shard_size=shard_size, start_time=None
        )
        if started:
            campaigns.mark_started(connection, row.campaign)
        return campaigns.get(connection, new.organisation, new.campaign_id)

    return await store.write(work)


async def rows(store: Store, query: sa.Select[Any]) -> list[Any]:
    """Return what ``query`` finds."""
    return list(await store.read(lambda connection: connection.execute(query).all()))


async def outcomes_of(store: Store, campaign: int) -> dict[int, tuple[int, str, int]]:
    """Return outcome, code and attempt of every message that has one, by sequence."""
    table = schema.outcomes
    found = await rows(store, sa.select(table).where(table.c.campaign == campaign))
    return {row.sequence: (row.outcome, row.code, row.attempt) for row in found}


async def in_doubt(store: Store, campaign: int) -> int:
    """Return how many messages of a campaign are in doubt, counted from single rows."""
    r, o, d, s = schema.recipients, schema.outcomes, schema.deferrals, schema.shards
    query = (
        sa.select(r.c.sequence)
        .join(
            s,
            sa.and_(
                s.c.campaign == r.c.campaign,
                r.c.sequence.between(s.c.first_sequence, s.c.intent_through),
            ),
        )
        .where(
            r.c.campaign == campaign,
            ~sa.exists().where(o.c.campaign == r.c.campaign, o.c.sequence == r.c.sequence),
            ~sa.exists().where(
                d.c.campaign == r.c.campaign,
                d.c.sequence == r.c.sequence,
                d.c.attempting.is_(False),
            ),
        )
    )
    return len(await rows(store, query))


async def eventually(
    check: Callable[[], Awaitable[Any]] | Callable[[], Any], *, seconds: float = 60
) -> Any:
    """Return the first true answer of ``check``, asked until a deadline."""
    deadline = time.monotonic() + seconds
    for pause in pauses():
        answer = check()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            break
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        await asyncio.sleep(pause)
    return answer
