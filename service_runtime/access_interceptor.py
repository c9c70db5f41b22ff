"""The check of callers before every handler of a gRPC server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog

from service_runtime.access import BY_REQUEST, OPEN, Access, Credentials, require
from service_runtime.call_limits import CallLimits
from service_runtime.caller import Scope, set_caller
from service_runtime.errors import ServiceError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

log = structlog.get_logger()

#: The scope that each method needs, or OPEN or BY_REQUEST, by full method name.
Scopes: TypeAlias = "Mapping[str, Scope | str]"
#: How often a stream asks whether its caller is still one, seconds.
RECHECK_SECONDS = 5.0


class AccessCheck:
    """Wraps handlers so that nobody unknown reaches them.

    Args:
        access: knows callers.
        scopes: what each method needs; a method that is not there is refused.
        recheck_seconds: how often a stream asks again.
        limits: what callers may have at once; None: limits of its own.
    """

    def __init__(
        self,
        access: Access,
        scopes: Scopes,
        *,
        recheck_seconds: float = RECHECK_SECONDS,
        limits: CallLimits | None = None,
    ) -> None:
        self._limits = limits or CallLimits()
        self._access = access
        self._scopes = scopes
        self._recheck_seconds = recheck_seconds

    def guard(self, behaviour: Any, method: str, *, lasting: bool, sending: bool = False) -> Any:
        """Return ``behaviour`` behind the check.

        Args:
            behaviour: a handler that takes a request, or an iterator of them, and a context.
            method: its full name.
            lasting: whether the call can outlive a key: a stream.
            sending: whether its caller sends a stream.
        """
        scope = self._scopes[method]  # of a method that is not there, nobody is served

        async def checked(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            if scope == OPEN:
                with self._limits.held("", context.peer(), lasting=lasting, sending=sending):
                    return await behaviour(request, context)
            credentials = Credentials.of(context.invocation_metadata() or (), context.peer())
            organisation = await self._admit(credentials, scope)
            with self._limits.held(
                organisation, credentials.peer, lasting=lasting, sending=sending
            ):
                if not lasting:
                    return await behaviour(request, context)
                return await self._while_admitted(
                    behaviour(request, context), credentials, scope, method
                )

        return checked

    async def _admit(self, credentials: Credentials, scope: Scope | str) -> str:
        """Check the caller, make it the one of this call, and return its organisation."""
        caller = await self._access.authenticate(credentials)
        if scope != BY_REQUEST:
            require(caller, Scope(scope))
        set_caller(caller)
        return caller.organisation

    async def _while_admitted(
        self, work: Any, credentials: Credentials, scope: Scope | str, method: str
    ) -> Any:
        """Run a stream; end it with the error of its key when that is gone."""
        stream = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({stream}, timeout=self._recheck_seconds)
                if done:
                    return stream.result()
                try:
                    await self._admit(credentials, scope)
                except StoreUnavailableError:
                    continue  # nobody is refused because the database does not answer
                except ServiceError as error:
                    log.info("stream_ended_by_its_key", method=method, reason=error.reason)
                    raise
        finally:
            stream.cancel()
            # Also where it has failed in the same moment: its caller has gone.
            await asyncio.gather(stream, return_exceptions=True)
