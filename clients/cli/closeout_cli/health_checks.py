"""What ``closeout doctor`` checks: each answer is a line for people, and a remedy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from closeout.aio.channel import open_channel
from closeout.connection import grpc_target
from closeout.tls_troubles import remedy as tls_remedy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from closeout.environment import ClientOptions

#: Deadline of an answer, seconds.
_TIMEOUT_SECONDS = 10.0
#: A clock that is further off needs a correction, seconds.
_CLOCK_SECONDS = 5.0
#: Less free space than this needs attention, bytes: a campaign of 100,000 takes about 100 MB.
_DISK_BYTES = 500_000_000
_VERSION_KEY = "closeout-version"
_SETTINGS: Final = {
    "status": "CLOSEOUT_SENDER_STATUS_ADDRESS or --status-address",
    "sender": "CLOSEOUT_SENDER_LISTEN or --sender-address",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what, as in ``status service``.
        ok: whether all is well.
        summary: what was found, for people.
        remedy: what to do; empty where all is well.
        setting: the setting to correct, if it is one.
    """

    name: str
    ok: bool
    summary: str
    remedy: str = ""
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """What is known of a service.

    Attributes:
        name: ``status`` or ``sender``.
        address: where it was looked for.
        check: the line about it.
        version: its version; empty if it does not answer, or is too old to say.
    """

    name: str
    address: str
    check: Check
    version: str = ""

    @property
    def answers(self) -> bool:
        """Whether calls can be made."""
        return self.check.ok


@dataclass(slots=True)
class Clocks:
    """The clocks of services beside ours, by name: how far each is ahead."""

    ahead: dict[str, timedelta] = field(default_factory=dict)

    def add(self, name: str, theirs: datetime, before: datetime, after: datetime) -> None:
        """Add a clock that was read between two moments of ours."""
        if theirs < before:
            self.ahead[name] = theirs - before
        else:
            self.ahead[name] = max(theirs - after, timedelta())


def settings_checks(problems: Mapping[str, Sequence[str]]) -> list[Check]:
    """Return a line for each wrong setting, or one that says that all are right."""
    lines = dict.fromkeys(line for lines in problems.values() for line in lines)
    if not lines:
        return [Check("settings", ok=True, summary="those of both services are right")]
    return [
        Check("settings", ok=False, summary=line, remedy="correct it and restart the services")
        for line in lines
    ]


async def service(name: str, address: str, options: ClientOptions) -> Service:
    """Ask a service for its health and its version.

    Args:
        name: ``status`` or ``sender``.
        address: where it should be.
        options: the key and TLS it is called with.
    """
    label = f"{name} service"
    tls = options["tls"]
    async with open_channel(address, tls=tls) if tls else _single(address) as channel:
        call = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS
        )
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            remedy = (
                f"start it with `closeout up` or `closeout serve {name}`, or correct"
                f" {_SETTINGS[name]}"
            )
            summary = f"does not answer at {address} ({error.code().name})"
            remedy = tls_remedy(error.details() or "") or remedy
            return Service(name, address, Check(label, ok=False, summary=summary, remedy=remedy))
        version = _version(await call.initial_metadata())
    shown = f"version {version or 'unknown'}"
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        check = Check(
            label,
            ok=False,
            summary=f"answers at {address}, {shown}, and can't use its database",
            remedy="its log has the reason, as store_failed: a full disk, or a server that is down",
        )
        return Service(name, address, check, version)
    return Service(
        name, address, Check(label, ok=True, summary=f"serves at {address}, {shown}"), version
    )


def _single(address: str) -> grpc.aio.Channel:
    """Return a channel that does not try again: what is down should be known at once."""
    return grpc.aio.insecure_channel(grpc_target(address))


def _version(metadata: Any) -> str:
    return next((str(value) for key, value in metadata if key == _VERSION_KEY), "")


def versions(services: Iterable[Service], ours: str) -> list[Check]:
    """Return a line if versions differ; none if they do not."""
    others = [found for found in services if found.version != ours]
    if not others:
        return []
    listed = ", ".join(f"the {found.name} service has {found.version}" for found in others)
    return [
        Check(
            "versions",
            ok=False,
            summary=f"this command has {ours}, {listed}",
            remedy="install one version everywhere and restart the services",
        )
    ]


def disk(folder: Path) -> list[Check]:
    """Return how much space the folder of the databases has; nothing if there is none."""
    if not folder.is_dir():
        return []
    free = shutil.disk_usage(folder).free
    summary = f"{free / 1e9:.1f} GB free in {folder}"
    if free >= _DISK_BYTES:
        return [Check("data folder", ok=True, summary=summary)]
    return [
        Check(
            "data folder",
            ok=False,
            summary=summary,
            remedy="free some space, or move the folder and name it with --data-dir",
        )
    ]


def clock(clocks: Clocks) -> list[Check]:
    """Return a line about the clocks that were read; none if none was."""
    if not clocks.ahead:
        return []
    checks = []
    for name, ahead in clocks.ahead.items():
        seconds = ahead.total_seconds()
        if abs(seconds) > _CLOCK_SECONDS:
            way = "ahead of" if seconds > 0 else "behind"
            checks.append(
                Check(
                    "clock",
                    ok=False,
                    summary=f"that of the {name} is {abs(seconds):.0f} s {way} this machine's",
                    remedy="set both by NTP, as campaigns start and expire by them",
                )
            )
    return checks or [
        Check("clock", ok=True, summary=f"agrees with that of the {' and the '.join(clocks.ahead)}")
    ]
