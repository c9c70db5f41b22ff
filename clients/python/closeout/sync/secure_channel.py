"""The blocking channel with a key or TLS: a key with each call, and new files without a break.

``closeout/aio/secure_channel.py`` is the asyncio counterpart.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc

from closeout.connection import CHANNEL_OPTIONS, grpc_target

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from closeout.credentials import Credentials


class _Line:
    """One connection of a :class:`SecureChannel`, and how many calls go on on it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.calls = 0
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, path: str, codec: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return a method of the channel; it is made once."""
        found = self._methods.get((kind, path))
        if found is None:
            found = self._methods[kind, path] = getattr(self.channel, kind)(path, *codec, **options)
        return found


class SecureChannel(grpc.Channel):
    """A channel that shows a key with every call, and follows the files of TLS.

    When they change, the next call opens a new connection; the old one is closed when
    its calls have ended, however long that is. Threads may share it.

    Args:
        target: as :func:`closeout.sync.channel.open_channel` takes it.
        credentials: the key and TLS.
    """

    def __init__(self, target: str, credentials: Credentials) -> None:
        self._target = grpc_target(target)
        self._credentials = credentials
        self._line = self._connect()
        self._retired: set[_Line] = set()
        self._lock = threading.Lock()
        self._closed = False

    def _connect(self) -> _Line:
        secured = self._credentials.of_channel
        if secured is None:
            return _Line(grpc.insecure_channel(self._target, options=CHANNEL_OPTIONS))
        return _Line(grpc.secure_channel(self._target, secured, options=CHANNEL_OPTIONS))

    def _take(
        self, kind: str, path: str, codec: tuple[Any, ...], extra: dict[str, Any]
    ) -> tuple[_Line, Any]:
        """Return the connection that a new call takes, with the call counted, and its method.

        Raises:
            ValueError: the channel is closed, as gRPC says it.
        """
        with self._lock:
            # A method that is made of a closed channel ends the process: see gRPC.
            if self._closed:
                raise ValueError("Cannot invoke RPC on closed channel!")
            if self._credentials.renew():
                old, self._line = self._line, self._connect()
                self._retired.add(old)
                self._close_if_idle(old)
            method = self._line.method(kind, path, codec, extra)
            self._line.calls += 1
            return self._line, method

    def _give_back(self, line: _Line) -> None:
        with self._lock:
            line.calls -= 1
            self._close_if_idle(line)

    def _close_if_idle(self, line: _Line) -> None:
        """Close a connection without calls that is not the present one."""
        if line.calls or line not in self._retired:
            return
        self._retired.discard(line)
        # This may be a thread of the connection itself, which close() would wait for.
        threading.Thread(target=line.channel.close, name="closeout-close", daemon=True).start()

    def begin(
        self, kind: str, path: str, codec: tuple[Any, ...], extra: dict[str, Any], call: Any
    ) -> Any:
        """Make a call, or begin one.

        Args:
            kind: of method, as gRPC names it.
            path: the method.
            codec: its serializer and deserializer.
            extra: what else the method was made with.
            call: the way to call it, and what its caller gave.
        """
        way, arguments, options = call
        metadata = self._credentials.metadata(options.pop("metadata", None))
        line, method = self._take(kind, path, codec, extra)
        lasting = False
        try:
            begun = getattr(method, way)(*arguments, metadata=metadata, **options)
            lasting = way == "future" or kind.endswith("_stream")
        finally:
            if not lasting:
                self._give_back(line)
        if lasting:
            begun.add_done_callback(lambda _: self._give_back(line))
        return begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; running calls are cancelled."""
        with self._lock:
            self._closed = True
            lines, self._retired = [self._line, *self._retired], set()
        for line in lines:
            line.channel.close()

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,  # noqa: FBT001, FBT002 - as gRPC has it
    ) -> None:
        """Call ``callback`` with the states of the present connection."""
        self._line.channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """End what :meth:`subscribe` began."""
        self._line.channel.unsubscribe(callback)

    def unary_unary(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with one request and one response."""
        return _Method(self, "unary_unary", method, codec, options)

    def unary_stream(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with one request and a stream of responses."""
        return _Method(self, "unary_stream", method, codec, options)

    def stream_unary(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with a stream of requests and one response."""
        return _Method(self, "stream_unary", method, codec, options)

    def stream_stream(self, method: str, *codec: Any, **options: Any) -> Any:
        """Return a method with streams both ways."""
        return _Method(self, "stream_stream", method, codec, options)


class _Method:
    """A method of a :class:`SecureChannel`, in gRPC's three ways to call it."""

    def __init__(
        self,
        channel: SecureChannel,
        kind: str,
        path: str,
        codec: tuple[Any, ...],
        extra: dict[str, Any],
    ) -> None:
        self._channel = channel
        self._what = (kind, path, codec, extra)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._channel.begin(*self._what, ("__call__", arguments, options))

    def with_call(self, *arguments: Any, **options: Any) -> Any:
        """Make a call; return the answer and the call."""
        return self._channel.begin(*self._what, ("with_call", arguments, options))

    def future(self, *arguments: Any, **options: Any) -> Any:
        """Begin a call; return it."""
        return self._channel.begin(*self._what, ("future", arguments, options))
