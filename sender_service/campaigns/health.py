"""CheckSender: what the sender needs, checked without sending anything."""

from __future__ import annotations

import asyncio
import re
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
import structlog

from sender_service.campaigns.provider_problem import problem_of
from sender_service.campaigns.shared_checks import SharedChecks
from sender_service.campaigns.status_problems import KEY_REFUSED, KEY_SETTING
from sender_service.channels.contract import Answer, Reply
from sender_service.domain import MAX_DETAIL, Problem, ProblemKind, clean
from sender_service.errors import (
    ChannelUnconfiguredError,
    ServiceKeyError,
    StatusServiceUnavailableError,
)
from service_runtime.database_time import read_clock
from service_runtime.errors import StoreUnavailableError

if TYPE_CHECKING:
    from sender_service.campaigns.status_account import StatusAccount
    from sender_service.channels.contract import Channel
    from sender_service.channels.registry import ChannelRegistry
    from service_runtime.database import Store

log = structlog.get_logger()

#: A disk with less free space, bytes, counts as nearly full.
LEAST_FREE_BYTES = 500_000_000
#: The longest each check takes, seconds. All run at once; a call takes 30 at most.
_DATABASE_SECONDS = 10.0
_STATUS_SERVICE_SECONDS = 5.0
_PROVIDER_SECONDS = 25.0
#: How the text on a channel that is not configured begins: with the setting.
_SETTING = re.compile(r"(\w+)\.(\w+)\b")


class Check(NamedTuple):
    """One thing that was checked; without a problem, all is well.

    Attributes:
        name: what, as in "channel smtp".
        summary: what was found, for people.
        problem: what to correct.
    """

    name: str
    summary: str
    problem: Problem | None = None


class HealthChecks:
    """What the sender needs: its database, the disk, the status service, its providers.

    Args:
        store: the sender's.
        account: reaches the status service.
        channels: those of this sender.
        status_address: where the status service is, for people.
    """

    def __init__(
        self,
        store: Store,
        account: StatusAccount,
        channels: ChannelRegistry,
        *,
        status_address: str,
    ) -> None:
        self._store = store
        self._account = account
        self._channels = channels
        self._status_address = status_address
        self._shared: SharedChecks[Check] = SharedChecks()

    async def run(self, channel: str = "") -> list[Check]:
        """Check everything at once; raise nothing for what a check finds.

        A check that is running for another caller serves this one as well.

        Args:
            channel: the only channel whose provider is checked; empty: those of all
                channels that are configured.

        Raises:
            ChannelNotFoundError: there is no such channel.
        """
        names = [channel] if channel else self._channels.configured
        providers = [self._channel_check(name) for name in names]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._shared.run(name, check))
                for name, check in (
                    ("database", self._database),
                    ("disk", partial(asyncio.to_thread, _disk, self._store.url)),
                    ("status_service", self._status_service),
                )
            ]
            tasks += [
                group.create_task(self._shared.run(_named(found.name), partial(_provider, found)))
                for found in providers
                if not isinstance(found, Check)
            ]
        done = iter([task.result() for task in tasks])
        checks = [next(done), next(done), next(done)]
        return checks + [found if isinstance(found, Check) else next(done) for found in providers]

    def _channel_check(self, name: str) -> Channel | Check:
        """Return the channel to check, or the check of one that can't be."""
        try:
            return self._channels.get(name)
        except ChannelUnconfiguredError as error:
            why = error.metadata["why"]
            setting = _SETTING.match(why)
            problem = Problem(
                ProblemKind.CHANNEL_UNAVAILABLE,
                f"channel {name} is not configured",
                detail=clean(why, MAX_DETAIL),
                setting=f"[{setting[1]}] {setting[2]}" if setting else f"[{name}]",
                needs_attention=True,
            )
            return Check(_named(name), problem.summary, problem)

    async def _database(self) -> Check:
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                await self._store.read(read_clock)
                await self._store.probe()
        except StoreUnavailableError as error:
            return _store_problem("database", "the database takes no writes", error.message)
        except TimeoutError:
            why = f"no answer within {_DATABASE_SECONDS:g} s"
            return _store_problem("database", "the database does not answer", why)
        return Check("database", f"{self._store.url} answers and takes writes")

    async def _status_service(self) -> Check:
        try:
            async with asyncio.timeout(_STATUS_SERVICE_SECONDS):
                await self._account.check_key()
        except ServiceKeyError as error:
            problem = Problem(
                ProblemKind.STATUS_SERVICE_REFUSES,
                KEY_REFUSED,
                detail=clean(error.message, MAX_DETAIL),
                setting=KEY_SETTING,
                needs_attention=True,
            )
            return Check("status_service", problem.summary, problem)
        except (StatusServiceUnavailableError, TimeoutError) as error:
            why = str(error) or f"no answer within {_STATUS_SERVICE_SECONDS:g} s"
            problem = Problem(
                ProblemKind.STATUS_SERVICE_UNREACHABLE,
                f"the status service at {self._status_address} does not answer",
                detail=clean(why, MAX_DETAIL),
                setting="[sender] status_address",
            )
            return Check("status_service", problem.summary, problem)
        takes = " and takes the sender's key" if self._account.has_key else ""
        return Check("status_service", f"{self._status_address} answers{takes}")


def _disk(database_url: str) -> Check:
    url = sa.make_url(database_url)
    if url.get_backend_name() != "sqlite" or url.database is None:
        return Check("disk", "not applicable: the database is on a server of its own")
    folder = Path(url.database).resolve().parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return _store_problem("disk", f"the folder {folder} can't be read", str(error))
    return disk_check(folder, free_bytes=usage.free)


def disk_check(folder: Path, *, free_bytes: int) -> Check:
    """Return the check of the disk that has a folder."""
    free = f"{free_bytes / 1e9:,.1f} GB"
    if free_bytes >= LEAST_FREE_BYTES:
        return Check("disk", f"{free} are free in {folder}")
    why = f"{free} are free; the sender needs {LEAST_FREE_BYTES / 1e9:.1f} GB: make room"
    return _store_problem("disk", f"the disk of {folder} is nearly full", why)


async def _provider(channel: Channel) -> Check:
    name = _named(channel.name)
    seconds = min(channel.timeout_seconds + 1, _PROVIDER_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            reply = await channel.check()
    except TimeoutError:
        reply = Reply(
            Answer.PROVIDER_FAULT, code="timeout", detail=f"no answer within {seconds:g} s"
        )
    except Exception as error:
        # A channel raises for nothing that a provider does: this is a defect of it.
        log.exception("channel_failed", channel=channel.name)
        problem = Problem(
            ProblemKind.CHANNEL_UNAVAILABLE,
            f"the check of channel {channel.name} failed; the log of the sender says where",
            detail=clean(f"{type(error).__name__}: {error}", MAX_DETAIL),
            provider=channel.provider,
            needs_attention=True,
        )
        return Check(name, problem.summary, problem)
    if reply.answer is Answer.ACCEPTED:
        return Check(name, f"ready: {channel.provider}")
    problem = problem_of(channel, reply)
    return Check(name, problem.summary, problem)


def _named(channel: str) -> str:
    return f"channel {channel}"


def _store_problem(name: str, summary: str, why: str) -> Check:
    problem = Problem(
        ProblemKind.STORE_UNAVAILABLE,
        summary,
        detail=clean(why, MAX_DETAIL),
        setting="[sender] database_url",
        needs_attention=True,
    )
    return Check(name, summary, problem)
