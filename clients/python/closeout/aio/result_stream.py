"""The stream of results, as asyncio code uses it: write frames, read answers.

``closeout/sync/result_stream.py`` is the blocking counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.aio.channel import ChannelOwner
from closeout.aio.stubs import StatusStub

if TYPE_CHECKING:
    import grpc

    from closeout.status.v1 import status_pb2 as pb


class ResultReporter(ChannelOwner[StatusStub]):
    """The part of a client of the status service that opens streams of results.

    Its arguments are those of :class:`.channel.ChannelOwner`.
    """

    _make_stub = StatusStub

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
