"""The asyncio channel of a client: connection, calls, pages, streams, errors.

``closeout/sync/channel.py`` is the blocking counterpart: the same names, so that the
clients of this package can be turned into blocking ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import grpc

from closeout.aio.secure_channel import SecureChannel
from closeout.connection import (
    CHANNEL_OPTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    call_options,
    grpc_target,
)
from closeout.credentials import ApiKey, Credentials
from closeout.errors import CallCancelledError, from_rpc_error
from closeout.trace_context import with_trace_context

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from closeout.tls import Tls

C = TypeVar("C")
R = TypeVar("R")
S = TypeVar("S")

#: The channel that a caller can lend to a client.
Channel: TypeAlias = grpc.aio.Channel
#: What a call takes a stream of requests from.
Source: TypeAlias = Iterable[R] | AsyncIterable[R]


def open_channel(
    target: str, *, api_key: ApiKey = "", tls: Tls | None = None, allow_plaintext: bool = False
) -> Channel:
    """Return a channel to ``target``; it connects when it is used.

    Call it inside the event loop that uses the channel.

    Args:
        target: an address, as in ``127.0.0.1:20051``; a name that resolves to several,
            as in ``dns:///status:20051``; or several IPv4 addresses with commas between.
        api_key: goes with every call, as ``authorization: Bearer ...``; a function is
            called for the key of each call; empty: none.
        tls: the files of TLS, which are followed while the channel is open; None: no TLS.
        allow_plaintext: whether the key may go to another machine without TLS.

    Raises:
        ValueError: the key can't be one, a file can't be used, or the key would go in
            plain text to another machine.
    """
    credentials = Credentials.wanted(target, api_key, tls, allow_plaintext=allow_plaintext)
    if credentials is not None:
        return SecureChannel(target, credentials)
    return grpc.aio.insecure_channel(grpc_target(target), options=CHANNEL_OPTIONS)


async def each(source: Source[R]) -> AsyncIterator[R]:
    """Yield what ``source`` has, asynchronous or not."""
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


class ChannelOwner(Generic[S]):
    """Base of the clients: has a channel, its own or one lent by the caller.

    Make it inside the event loop that uses it; close it, or use it as a context manager.

    Args:
        target: an address (see :func:`open_channel`), or a ready channel, which the
            client never closes.
        timeout_seconds: the deadline of each call that does not name another.
        on_behalf_of: for whom the caller acts, as in ``ops@host``, for the audit trail; at
            most 128 printable ASCII characters, without blanks at either end.
        api_key: the key of the caller, or a function that returns it; empty: none.
        tls: the files of TLS; None: no TLS.
        allow_plaintext: whether the key may go to another machine without TLS.

    Raises:
        ValueError: ``on_behalf_of`` is not that, :func:`open_channel` refuses the rest, or
            a ready channel is to get a key or TLS, which are its maker's to give.
    """

    #: The generated calls of the service, which are made of a channel.
    _make_stub: Callable[[Channel], S]

    def __init__(
        self,
        target: str | Channel,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        on_behalf_of: str = "",
        api_key: ApiKey = "",
        tls: Tls | None = None,
        allow_plaintext: bool = False,
    ) -> None:
        self._options = call_options(on_behalf_of)
        self._on_behalf_of = on_behalf_of
        self._owned = isinstance(target, str)
        if isinstance(target, str):
            target = open_channel(target, api_key=api_key, tls=tls, allow_plaintext=allow_plaintext)
        elif api_key or tls is not None:
            raise ValueError("a ready channel has its own key and TLS: give them to open_channel")
        self._channel = target
        # Now: a call made of a channel that is closed would end the process.
        self._stub = self._make_stub(target)
        self._organization = ""
        self._timeout_seconds = timeout_seconds
        self._closed = False

    def acting_for(self, on_behalf_of: str) -> Self:
        """Return a client on the same channel whose calls are made for somebody else.

        It closes nothing, and ends with this one.

        Raises:
            ValueError: ``on_behalf_of`` is not what the constructor takes.
        """
        client = type(self)(
            self._channel, timeout_seconds=self._timeout_seconds, on_behalf_of=on_behalf_of
        )
        client._options = call_options(on_behalf_of, self._organization)  # noqa: SLF001 - our own
        client._organization = self._organization  # noqa: SLF001
        return client

    def in_organization(self, organization: str) -> Self:
        """Return a client on the same channel whose calls are made in ``organization``.

        For keys with scope ``service``, as that of the sender service; of any other key
        the services refuse it. It closes nothing, and ends with this one.
        """
        client = self.acting_for(self._on_behalf_of)
        client._options = call_options(self._on_behalf_of, organization)  # noqa: SLF001 - our own
        client._organization = organization  # noqa: SLF001
        return client

    async def close(self) -> None:
        """Close the channel if it is the client's own; running calls are cancelled.

        Every later call raises CallCancelledError.
        """
        if self._owned:
            self._closed = True
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _begin(self, method: Callable[..., C], *arguments: Any, **options: Any) -> C:
        """Call a method of gRPC, which returns the call that runs.

        Raises:
            CallCancelledError: the client is closed.
        """
        try:
            return method(*arguments, **options, **with_trace_context(self._options))
        except grpc.aio.UsageError as error:
            if self._closed:
                raise CallCancelledError("the client is closed; use another one") from error
            raise

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Any, C],
        request: Any,
        timeout_seconds: float | None,
    ) -> C:
        """Make one call.

        Raises:
            ClientError: it failed.
        """
        try:
            return await self._begin(
                method, request, timeout=timeout_seconds or self._timeout_seconds
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def _pages(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Any, C],
        request: Any,
        timeout_seconds: float | None,
    ) -> AsyncGenerator[C, None]:
        """Yield the pages of a list, each within the deadline.

        Raises:
            ClientError: a call failed.
        """
        while True:
            page: Any = await self._call(method, request, timeout_seconds)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _responses(
        self, method: grpc.aio.UnaryStreamMultiCallable[Any, C], request: Any
    ) -> AsyncGenerator[C, None]:
        """Yield the responses of a stream without a deadline; closing it cancels the call.

        Raises:
            ClientError: the stream failed.
        """
        call = self._begin(method, request)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def _send(
        self,
        method: grpc.aio.StreamUnaryMultiCallable[R, C],
        requests: AsyncIterator[R],
        timeout_seconds: float,
    ) -> C:
        """Send a stream of requests and return its one response.

        An exception of ``requests`` cancels the call and is raised.

        Raises:
            ClientError: the call failed.
        """
        failure: list[Exception] = []

        async def guarded() -> AsyncIterator[R]:
            try:
                async for request in requests:
                    yield request
            except Exception as error:
                failure.append(error)
                raise

        # An iterator, not write(): when the server refuses the stream half way, write()
        # puts INTERNAL in the place of its answer more often (grpc/grpc#36066).
        call = self._begin(method, guarded(), timeout=timeout_seconds)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        except asyncio.CancelledError:
            # gRPC answers an iterator that raises with a cancelled call.
            if failure:
                raise failure[0] from None
            raise
        finally:
            call.cancel()
