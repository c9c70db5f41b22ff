"""The stream of results, as blocking code uses it: frames go in, answers come out.

``closeout/aio/result_stream.py`` is the asyncio counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from closeout.connection import DEFAULT_TIMEOUT_SECONDS
from closeout.errors import from_rpc_error
from closeout.status.v1.status_pb2_grpc import StatusServiceStub
from closeout.sync.channel import Channel, ChannelOwner

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

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
        self, frames: Iterable[pb.ReportResultsRequest]
    ) -> Generator[pb.ReportResultsResponse, None, None]:
        """Stream frames of results and yield the answers.

        gRPC reads ``frames`` in a thread of its own, ahead of the answers; frames that
        other threads produce go through a queue: ``iter(queue.get, None)``. The stream
        ends after the last answer to the last frame. It has no deadline and is never
        retried: after a break, stream again what was not acknowledged, from a new queue.
        Put None into the old one: gRPC's thread may still wait there, and would take a
        frame of the new stream. Close the generator (``closing``) where it is left
        early; that cancels the call.

        For results that are at hand, :meth:`StatusClient.report` is simpler.

        Raises:
            InvalidArgumentError: a frame is wrong or its number is out of order.
            UnavailableError: the service went away, or its store does not answer.
            Exception: what ``frames`` raised, after the answers to the frames before.
        """
        failure: list[Exception] = []

        def guarded() -> Iterator[pb.ReportResultsRequest]:
            try:
                yield from frames
            except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
                failure.append(error)

        call = self._begin(self._stub.ReportResults, guarded())
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()
        if failure:
            raise failure[0]
