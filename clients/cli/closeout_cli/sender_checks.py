"""What the services find when ``closeout doctor`` asks them: clocks, keys, providers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import grpc

from closeout.aio.channel import open_channel
from closeout.sender.v1 import sender_pb2, sender_pb2_grpc
from closeout.status.v1 import status_pb2, status_pb2_grpc
from closeout.times import to_datetime
from closeout_cli.health_checks import Check, Clocks

if TYPE_CHECKING:
    from closeout.environment import ClientOptions
    from closeout_cli.health_checks import Service

#: Deadline of an answer, seconds.
_TIMEOUT_SECONDS = 10.0
#: Deadline of a check of the providers, seconds: each may take as long as one message.
_PROVIDERS_TIMEOUT_SECONDS = 120.0
#: What a service answers to a key that does not do.
_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
#: How checks of the sender read beside those of the command.
_OF_SENDER: Final = {
    "database": "sender database",
    "disk": "sender disk",
    "status_service": "sender to status service",
}


async def sender_checks(
    channel: str, sender: Service, status: Service, options: ClientOptions
) -> tuple[list[Check], Clocks]:
    """Let the sender check its database, its peers and its providers; read both clocks.

    Args:
        channel: only the provider of this one; empty: of all.
        sender: the sender service.
        status: the status service.
        options: the key and TLS they are called with.
    """
    clocks = Clocks()
    refusals = await _read_status_clock(status, clocks, options)
    name = f"channel {channel}" if channel else "providers"
    if not sender.answers:
        return [
            *refusals,
            Check(
                name,
                ok=False,
                summary="not checked, as the sender service does not answer",
                remedy="start it with `closeout up` or `closeout serve sender`, and repeat",
            ),
        ], clocks
    request = sender_pb2.CheckSenderRequest(channel=channel)
    async with open_channel(sender.address, **options) as connection:
        before = datetime.now(UTC)
        try:
            answer = await sender_pb2_grpc.SenderServiceStub(connection).CheckSender(
                request, timeout=_PROVIDERS_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            refused = refused_key("sender", error, options)
            return [*refusals, *(refused or [_not_checked(name, error)])], clocks
        after = datetime.now(UTC)
    if answer.HasField("read_time"):
        # The clock is read at the end or at the beginning of the checks.
        clocks.add("sender service", to_datetime(answer.read_time), before, after)
    return [*refusals, *(_of_sender(check) for check in answer.checks)], clocks


async def _read_status_clock(
    status: Service, clocks: Clocks, options: ClientOptions
) -> list[Check]:
    """Read the clock of the status service; return a line if it refuses the key."""
    if not status.answers:
        return []
    request = status_pb2.ListCampaignsRequest(page_size=1)
    async with open_channel(status.address, **options) as connection:
        before = datetime.now(UTC)
        try:
            answer = await status_pb2_grpc.StatusServiceStub(connection).ListCampaigns(
                request, timeout=_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            return refused_key("status", error, options)  # and its clock has no line
        if answer.HasField("read_time"):
            clocks.add("status service", to_datetime(answer.read_time), before, datetime.now(UTC))
    return []


def refused_key(name: str, error: grpc.aio.AioRpcError, options: ClientOptions) -> list[Check]:
    """Return a line if a service refused the key, or the lack of one.

    Args:
        name: the service, as in ``status``.
        error: what a call ended with.
        options: what it was called with.
    """
    if error.code() not in _REFUSALS:
        return []
    remedy = (
        "set another one as CLOSEOUT_API_KEY or CLOSEOUT_API_KEY_FILE"
        if options["api_key"]
        else "set CLOSEOUT_API_KEY or CLOSEOUT_API_KEY_FILE"
    )
    summary = f"the {name} service refuses it: {error.details()}"
    return [Check("key", ok=False, summary=summary, remedy=remedy)]


def _not_checked(name: str, error: grpc.aio.AioRpcError) -> Check:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        summary, remedy = "the sender service can't check them", "install a newer version of it"
    elif error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        summary = f"no answer within {_PROVIDERS_TIMEOUT_SECONDS:.0f} s"
        remedy = "check one after the other with --channel NAME"
    elif error.code() is grpc.StatusCode.INTERNAL:
        summary, remedy = f"{error.details()}", "a defect; please report what the log says"
    else:
        summary, remedy = f"{error.details()}", "correct it, and repeat"
    return Check(name, ok=False, summary=summary, remedy=remedy)


def _of_sender(check: sender_pb2.CheckSenderResponse.Check) -> Check:
    """Return what the sender found; what only it has is named as its own."""
    name = _OF_SENDER.get(check.name, check.name)
    if check.ok:
        return Check(name, ok=True, summary=check.summary)
    problem = check.problem
    summary = check.summary or problem.summary
    if problem.detail and problem.detail not in summary:
        summary += f" ({problem.detail})"
    remedy = f"correct {problem.setting} and restart the sender" if problem.setting else ""
    if not remedy:
        remedy = (
            "correct it; the sender goes on by itself"
            if problem.needs_attention
            else "wait, the sender tries again by itself"
        )
    return Check(name, ok=False, summary=summary, remedy=remedy, setting=problem.setting)
