"""The gRPC channel every client of ours uses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from closeout.errors import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

C = TypeVar("C")

#: Largest message taken or sent, bytes; the servers have the same.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: Deadline of a call that reads or changes one campaign, seconds.
DEFAULT_TIMEOUT_SECONDS = 10.0

# Every call may be repeated, so UNAVAILABLE is tried again. The two streams of
# their caller's making are not: their callers know what was acknowledged. A
# timeout in this configuration fires at random: deadlines go with each call.
_SERVICE_CONFIG: dict[str, Any] = {
    # Of several addresses all are used, and one that does not answer is passed over.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": "closeout.status.v1.StatusService"},
                {"service": "closeout.sender.v1.SenderService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {
            "name": [
                {"service": "closeout.status.v1.StatusService", "method": "ReportResults"},
                {"service": "closeout.sender.v1.SenderService", "method": "UploadRecipients"},
            ],
        },
    ],
}

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished without a word is noticed after 30 s and 10 s more.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A restarted service is found again within seconds, not minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A new channel tries at once, and does not wait for what another one learned.
    ("grpc.use_local_subchannel_pool", 1),
    # The proxy of the environment is for the web, not for services next door.
    ("grpc.enable_http_proxy", 0),
]


def open_channel(target: str) -> grpc.aio.Channel:
    """Return a channel to ``target``; connects when used.

    Call it inside the event loop that is going to use it.

    Args:
        target: an address, as in ``127.0.0.1:50051``; a name that resolves to several,
            as in ``dns:///status:50051``; or several IPv4 addresses with commas between.
    """
    several = "," in target and ":///" not in target
    return grpc.aio.insecure_channel(f"ipv4:{target}" if several else target, options=_OPTIONS)


class ChannelOwner:
    """Base of the clients: a channel of its own, or one lent by the caller.

    Args:
        target: an address, or a ready channel, which the client never closes.
        timeout_seconds: the deadline of each call that does not name another.
    """

    def __init__(
        self,
        target: str | grpc.aio.Channel,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._owned = isinstance(target, str)
        self._channel = open_channel(target) if isinstance(target, str) else target
        self._timeout_seconds = timeout_seconds

    async def close(self) -> None:
        """Close the channel, if it is the client's own; running calls are cancelled."""
        if self._owned:
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
            return await method(request, timeout=timeout_seconds or self._timeout_seconds)
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
