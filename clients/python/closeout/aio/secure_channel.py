"""The asyncio channel with a key or TLS: a key with each call, and new files without a break.

``closeout/sync/secure_channel.py`` is the blocking counterpart.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from closeout.connection import CHANNEL_OPTIONS, grpc_target

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from closeout.credentials import Credentials


class _Line:
    """One connection of a :class:`SecureChannel`, and how many calls go on on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls = 0
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, path: str, codec: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return a method of the channel; it is made once."""
        found = self._methods.get((kind, path))
        if found is None:
            found = self._methods[kind, path] = getattr(self.channel, kind)(path, *codec, **options)
        return found


class SecureChannel(grpc.aio.Channel):
    """A channel that shows a key with every call, and follows the files of TLS.

    When they change, the next call opens a new connection; the old one is closed when
    its calls have ended, however long that is.

    Args:
        target: as :func:`closeout.aio.channel.open_channel` takes it.
        credentials: the key and TLS.
    """

    def __init__(self, target: str, credentials: Credentials) -> None:
        self._target = grpc_target(target)
        self._credentials = credentials
        self._line = self._connect()
        self._retired: set[_Line] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def _connect(self) -> _Line:
        secured = self._credentials.of_channel
        if secured is None:
            return _Line(grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS))
        return _Line(grpc.aio.secure_channel(self._target, secured, options=CHANNEL_OPTIONS))

    def _current(self) -> _Line:
        """Return the connection that a new call takes."""
        if not self._closed and self._credentials.renew():
            old, self._line = self._line, self._connect()
            self._retired.add(old)
            self._close_if_idle(old)
        return self._line

    def _close_if_idle(self, line: _Line) -> None:
        if line.calls or line not in self._retired:
            return
        self._retired.discard(line)
        task = asyncio.ensure_future(line.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def begin(
        self, kind: str, path: str, codec: tuple[Any, ...], extra: dict[str, Any], call: Any
    ) -> Any:
        """Begin a call; ``call`` has the arguments and options that its caller gave.

        Raises:
            UsageError: the channel is closed, as gRPC says it.
        """
        # A method that is made of a closed channel ends the process: see gRPC.
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")
        arguments, options = call
        metadata = self._credentials.metadata(options.pop("metadata", None))
        line = self._current()
        begun = line.method(kind, path, codec, extra)(*arguments, metadata=metadata, **options)
        line.calls += 1

        def ended(_: Any) -> None:
            line.calls -= 1
            self._close_if_idle(line)

        begun.add_done_callback(ended)
        return begun

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close every connection; running calls are cancelled, after ``grace`` seconds."""
        self._closed = True
        lines, self._retired = [self._line, *self._retired], set()
        await asyncio.gather(*(line.channel.close(grace) for line in lines), *self._closing)

    def get_state(
        self,
        try_to_connect: bool = False,  # noqa: FBT001, FBT002 - as gRPC has it
    ) -> grpc.ChannelConnectivity:
        """Return the state of the connection that a new call takes."""
        return self._current().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state of the present connection is another one."""
        await self._line.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the present connection is made."""
        await self._line.channel.channel_ready()

    def unary_unary(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with one request and one response."""
        return self._method("unary_unary", method, codec, options)

    def unary_stream(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with one request and a stream of responses."""
        return self._method("unary_stream", method, codec, options)

    def stream_unary(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with a stream of requests and one response."""
        return self._method("stream_unary", method, codec, options)

    def stream_stream(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with streams both ways."""
        return self._method("stream_stream", method, codec, options)

    def _method(self, kind: str, path: str, codec: tuple[Any, ...], extra: dict[str, Any]) -> Any:
        def called(*arguments: Any, **options: Any) -> Any:
            return self.begin(kind, path, codec, extra, (arguments, options))

        return called
