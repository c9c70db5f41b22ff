"""CheckSender: what the sender needs, checked without sending anything."""

from __future__ import annotations

import asyncio
import importlib.metadata
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from closeout.errors import DeadlineExceededError, InvalidArgumentError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout.times import to_datetime
from integration import sender_support as support
from integration.lone_sender import lone_sender
from integration.sender_pair import Pair, pair
from providers.held_port import HeldPort
from providers.smtp_provider import scripted
from sender_service.campaigns import health
from sender_service.campaigns.health import Check, HealthChecks
from sender_service.channels.contract import Answer, Fault, Reply
from sender_service.domain import ProblemKind
from service_runtime.database import Store
from service_runtime.errors import StoreUnavailableError

Kind = status_pb2.Problem.Kind
Usage = namedtuple("Usage", ["total", "used", "free"])  # noqa: PYI024 - as shutil has it


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with the scripted channel."""
    async with pair(tmp_path) as services:
        yield services


def by_name(answer: pb.CheckSenderResponse) -> dict[str, pb.CheckSenderResponse.Check]:
    return {check.name: check for check in answer.checks}


async def test_all_is_well(both: Pair) -> None:
    """Each check says what it found, in order; the answer has clock and version."""
    answer = await both.sender.check_sender()
    assert [(check.name, check.ok) for check in answer.checks] == [
        ("database", True),
        ("disk", True),
        ("status_service", True),
        ("channel scripted", True),
    ]
    assert all(check.summary and not check.HasField("problem") for check in answer.checks)
    assert str(both.folder.resolve()) in answer.checks[1].summary
    assert both.status_address in answer.checks[2].summary
    assert abs(datetime.now(UTC) - to_datetime(answer.read_time)) < timedelta(minutes=5)
    assert answer.version == importlib.metadata.version("closeout-server")
    assert both.channel.checks == 1
    assert both.channel.calls == []


async def test_a_provider_that_refuses_the_sender_is_a_problem(both: Pair) -> None:
    """The check of a channel has the provider's words and the setting to correct."""
    both.channel.check_reply = Reply(
        Answer.PROVIDER_FAULT,
        code="535",
        detail="5.7.8 authentication failed",
        fault=Fault(
            ProblemKind.PROVIDER_REFUSES,
            "the mail server refuses the sender's login",
            setting="[smtp] password",
            needs_attention=True,
        ),
    )
    check = by_name(await both.sender.check_sender())["channel scripted"]
    assert not check.ok
    assert check.summary == check.problem.summary == "the mail server refuses the sender's login"
    assert check.problem.detail == "535 5.7.8 authentication failed"
    assert check.problem.setting == "[smtp] password"
    assert check.problem.provider == "scripted"
    assert check.problem.kind == Kind.PROVIDER_REFUSES
    assert check.problem.needs_attention


@pytest.mark.parametrize("reply", [support.UNREACHABLE, Reply(Answer.PROVIDER_FAULT, code="x")])
async def test_a_provider_that_cannot_be_reached_is_a_problem(both: Pair, reply: Reply) -> None:
    """With or without a named fault, the check fails and the call does not."""
    both.channel.check_reply = reply
    check = by_name(await both.sender.check_sender())["channel scripted"]
    assert (check.ok, check.problem.kind) == (False, Kind.PROVIDER_UNREACHABLE)


async def test_a_check_that_hangs_or_fails_is_a_problem(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that keeps no deadline is cut off; one that raises is a defect."""
    monkeypatch.setattr(health, "_PROVIDER_SECONDS", 0.05)

    async def hang() -> Reply:
        await both.channel.hold.wait()
        return support.ACCEPTED

    both.channel.hold.clear()
    both.channel.check = hang  # type: ignore[method-assign]
    check = by_name(await both.sender.check_sender())["channel scripted"]
    assert not check.ok
    assert "timeout no answer" in check.problem.detail

    async def fail() -> Reply:
        raise ValueError("a defect")

    both.channel.check = fail  # type: ignore[method-assign]
    check = by_name(await both.sender.check_sender())["channel scripted"]
    assert (check.ok, check.problem.kind) == (False, Kind.CHANNEL_UNAVAILABLE)
    assert check.problem.detail == "ValueError: a defect"


async def test_many_callers_share_one_check(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider sees one connection, whoever asks; the caller who began it may hang up."""
    begun = asked = 0
    run = HealthChecks.run

    async def counted(checks: HealthChecks, channel: str = "") -> list[Check]:
        nonlocal asked
        asked += 1
        return await run(checks, channel)

    async def hang() -> Reply:
        nonlocal begun
        begun += 1
        await both.channel.hold.wait()
        return support.ACCEPTED

    both.channel.timeout_seconds = 60.0
    both.channel.hold.clear()
    both.channel.check = hang  # type: ignore[method-assign]
    monkeypatch.setattr(HealthChecks, "run", counted)
    first = asyncio.create_task(both.sender.check_sender())
    await support.eventually(lambda: begun == 1)
    others = [asyncio.create_task(both.sender.check_sender()) for _ in range(20)]
    await support.eventually(lambda: asked == 21)
    with pytest.raises(DeadlineExceededError):
        await both.sender.check_sender(timeout_seconds=0.5)
    first.cancel()
    assert begun == 1
    both.channel.hold.set()
    for answer in await asyncio.gather(*others):
        assert by_name(answer)["channel scripted"].ok
    assert begun == 1
    await both.sender.check_sender()
    assert begun == 2


async def test_a_check_ends_with_the_last_caller(both: Pair) -> None:
    """What nobody waits for any more is cancelled, and the next caller gets a new check."""
    ended = asyncio.Event()

    async def hang() -> Reply:
        try:
            await both.channel.hold.wait()
        finally:
            ended.set()
        return support.ACCEPTED

    both.channel.timeout_seconds = 60.0
    both.channel.hold.clear()
    both.channel.check = hang  # type: ignore[method-assign]
    with pytest.raises(DeadlineExceededError):
        await both.sender.check_sender(timeout_seconds=0.5)
    await support.eventually(ended.is_set)
    both.channel.hold.set()
    assert by_name(await both.sender.check_sender())["channel scripted"].ok


async def test_a_status_service_that_is_down_is_a_problem(both: Pair) -> None:
    """The check names the setting; the other checks are as they were."""
    await both.stop_status()
    checks = by_name(await both.sender.check_sender())
    failed = checks["status_service"]
    assert not failed.ok
    assert failed.problem.kind == Kind.STATUS_SERVICE_UNREACHABLE
    assert failed.problem.setting == "[sender] status_address"
    assert both.status_address in failed.summary
    assert failed.problem.detail
    assert [name for name, check in checks.items() if not check.ok] == ["status_service"]


async def test_a_database_that_takes_no_writes_is_a_problem(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that only reads is not well."""

    async def fail(_: Store) -> None:
        raise StoreUnavailableError("the database does not answer (disk I/O error); try again")

    monkeypatch.setattr(Store, "probe", fail)
    check = by_name(await both.sender.check_sender())["database"]
    assert not check.ok
    assert check.problem.kind == Kind.STORE_UNAVAILABLE
    assert check.problem.setting == "[sender] database_url"
    assert "disk I/O error" in check.problem.detail
    assert check.problem.needs_attention


async def test_a_disk_that_is_nearly_full_is_a_problem(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 500 MB, for the folder of the database."""
    asked: list[Path] = []
    free = health.LEAST_FREE_BYTES

    def usage(folder: Path) -> Usage:
        asked.append(folder)
        return Usage(total=10**12, used=0, free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert by_name(await both.sender.check_sender())["disk"].ok
    free -= 1
    check = by_name(await both.sender.check_sender())["disk"]
    assert (check.ok, check.problem.kind) == (False, Kind.STORE_UNAVAILABLE)
    assert "nearly full" in check.summary
    assert "make room" in check.problem.detail
    assert asked == [both.folder.resolve()] * 2

    def fail(_: Path) -> Usage:
        raise PermissionError("no access")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    check = by_name(await both.sender.check_sender())["disk"]
    assert (check.ok, check.problem.detail) == (False, "no access")


async def test_only_the_channel_that_was_asked_for_is_checked(both: Pair) -> None:
    """One channel is checked as one of all; a channel that is not installed is refused."""
    answer = await both.sender.check_sender(channel="scripted")
    assert [check.name for check in answer.checks][3:] == ["channel scripted"]
    with pytest.raises(InvalidArgumentError) as refused:
        await both.sender.check_sender(channel="fax")
    assert refused.value.reason == "CHANNEL_NOT_FOUND"


async def test_an_unconfigured_channel_is_checked_where_it_is_asked_for(tmp_path: Path) -> None:
    """Without a host, smtp is no problem of a sender that does not use it."""
    async with lone_sender(tmp_path) as sender:
        assert "channel smtp" not in by_name(await sender.check_sender())
        check = by_name(await sender.check_sender(channel="smtp"))["channel smtp"]
    assert not check.ok
    assert check.problem.kind == Kind.CHANNEL_UNAVAILABLE
    assert check.problem.setting == "[smtp] host"
    assert "CLOSEOUT_SMTP_HOST" in check.problem.detail
    assert check.problem.needs_attention


async def test_a_mail_server_is_logged_in_to(tmp_path: Path) -> None:
    """Checking a real server sends nothing; nobody at its port is a problem."""
    async with scripted() as provider:
        where: dict[str, Any] = {"host": provider.host, "port": provider.port}
        async with lone_sender(tmp_path, **where) as sender:
            check = by_name(await sender.check_sender())["channel smtp"]
    assert (check.ok, check.summary) == (True, f"ready: {provider.host}:{provider.port}")
    assert provider.ledger.accepted == []
    with HeldPort() as nobody:
        async with lone_sender(tmp_path, host="127.0.0.1", port=nobody.port) as sender:
            check = by_name(await sender.check_sender())["channel smtp"]
    assert not check.ok
    assert check.problem.provider == nobody.address
    assert check.problem.detail
