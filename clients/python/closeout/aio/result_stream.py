"""The stream of results, as asyncio code uses it: write frames, read answers.

``closeout/sync/result_stream.py`` is the blocking counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.aio.channel import Channel, ChannelOwner
from closeout.connection import DEFAULT_TIMEOUT_SECONDS
from closeout.status.v1.status_pb2_grpc import StatusServiceStub

if TYPE_CHECKING:
    import grpc

    from closeout.credentials import ApiKey
    from closeout.status.v1 import status_pb2 as pb
    from closeout.tls import Tls


class ResultReporter(ChannelOwner):
    """The part of a client of the status service that opens streams of results.

    Args:
        target: an address, or a ready channel, which the client never closes.
        timeout_seconds: the deadline of each call that does not name another.
        on_behalf_of: for whom the caller acts, as in ``ops@host``, for the audit trail; at
            most 128 printable ASCII characters, without blanks at either end.
        api_key: the key of the caller, or a function that returns it; empty: none.
        tls: the files of TLS; None: no TLS.
        allow_plaintext: whether the key may go to another machine without TLS.
    """

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
        super().__init__(
            target,
            timeout_seconds=timeout_seconds,
            on_behalf_of=on_behalf_of,
            api_key=api_key,
            tls=tls,
            allow_plaintext=allow_plaintext,
        )
        self._stub = StatusServiceStub(self._channel)

    def report_results(
        self,
    ) -> grpc.aio.StreamStreamCall[pb.ReportResultsRequest, pb.ReportResultsResponse]:
        """Open the stream of results and return the gRPC call.

        It has no deadline and is never retried: after a break, open another one and
        send again what was not acknowledged. Cancel it when done with it. Its
        errors are gRPC's; :func:`closeout.errors.from_rpc_error` translates them.
        Read while writing: a ``write()`` that fails may put INTERNAL in the place
        of the server's status (grpc/grpc#36066).

        Raises:
            CallCancelledError: the client is closed.
        """
        return self._begin(self._stub.ReportResults)
