"""The stream of results, as blocking code uses it: frames go in, answers come out.

``closeout/aio/result_stream.py`` is the asyncio counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from closeout.errors import from_rpc_error
from closeout.sync.channel import ChannelOwner
from closeout.sync.stubs import StatusStub

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from closeout.status.v1 import status_pb2 as pb


class ResultReporter(ChannelOwner[StatusStub]):
    """The part of a client of the status service that opens streams of results.

    Its arguments are those of :class:`.channel.ChannelOwner`.
    """

    _make_stub = StatusStub

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
