"""A sender beside a status service that misbehaves as no real one does."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from closeout.status.v1 import status_pb2, status_pb2_grpc
from integration.sender_pair import Pair, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class FakeStatusService(status_pb2_grpc.StatusServiceServicer):
    """A status service whose stream does what a test says."""

    def __init__(self) -> None:
        self.generation = "g1"
        self.stored: dict[int, int] = {}
        self.streams = 0
        self.break_after: int | None = None
        self.silent = False
        #: Ends every stream, as if nobody was there.
        self.away = False
        #: Takes whatever comes, and answers nothing.
        self.deaf = False
        #: How each campaign stands; SENDING where nothing is said.
        self.states: dict[str, State] = {}
        self.reject: set[str] = set()
        #: Campaigns that it calls a DRAFT, whatever was done to them.
        self.drafts: set[str] = set()
        #: How often each campaign was sealed, which it says it is each time.
        self.seals: Counter[str] = Counter()
        self.frames: list[list[int]] = []
        self.revision = 0

    async def CreateCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Accept any."""
        campaign = status_pb2.Campaign(campaign_id=request.campaign_id, state=State.DRAFT)
        return status_pb2.CreateCampaignResponse(campaign=campaign, created=True)

    async def StartCampaign(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Begin at once."""
        self.seals[request.campaign_id] += 1
        campaign = status_pb2.Campaign(campaign_id=request.campaign_id, state=State.SENDING)
        return status_pb2.StartCampaignResponse(campaign=campaign, transitioned=True)

    async def ReportResults(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Answer, fall silent or break."""
        self.streams += 1
        frames = 0
        # An acknowledgement counts for all frames before it: after one that got none, the
        # stream gives none, whatever the test says by then.
        silent = False
        async for request in request_iterator:
            assert request.frame == frames + 1
            frames += 1
            self.frames.append([request.frame, len(request.results)])
            if self.away:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "away, says the test")
            if self.break_after is not None and request.results and frames > self.break_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken by the test")
            silent = silent or self.deaf or (self.silent and bool(request.results))
            if silent:
                continue
            for answer in self.answers(request):
                yield answer

    def answers(self, request: Any) -> Iterator[status_pb2.ReportResultsResponse]:
        """Store and acknowledge, or reject."""
        if request.campaign_id in self.reject and request.results:
            yield self.rejected(request)
        else:
            yield self.stored_answer(request)

    def stored_answer(self, request: Any) -> status_pb2.ReportResultsResponse:
        """Store the results of a frame and acknowledge it."""
        for result in request.results:
            self.stored[result.sequence] = self.stored.get(result.sequence, 0) + 1
        return self._answer(request)

    def rejected(
        self, request: Any, reason: str = "CAMPAIGN_NOT_SEALED"
    ) -> status_pb2.ReportResultsResponse:
        """Reject a frame."""
        response = self._answer(request)
        response.rejections.add(
            frame=request.frame,
            campaign_id=request.campaign_id,
            rejection=status_pb2.Rejection(
                reason=reason,
                message=f"{reason}, says the test",
                retryable=reason in {"CAMPAIGN_BUSY", "CAMPAIGN_NOT_SEALED"},
            ),
        )
        return response

    def _answer(self, request: Any) -> status_pb2.ReportResultsResponse:
        response = status_pb2.ReportResultsResponse(
            acked_through=request.frame, store_generation=self.generation
        )
        self.revision += 1
        drafted = request.campaign_id in self.drafts
        response.campaign_states.add(
            campaign_id=request.campaign_id,
            state=State.DRAFT if drafted else self.states.get(request.campaign_id, State.SENDING),
            revision=self.revision,
            processed=len(self.stored),
        )
        return response


class Faults(Pair):
    """A sender beside the fake."""

    def __init__(self, folder: Path, fake: FakeStatusService) -> None:
        super().__init__(folder)
        self.fake = fake
        self._server = grpc.aio.server()

    async def start_status(self, database: str = "") -> None:  # noqa: ARG002 - it has none
        """Serve the fake."""
        status_pb2_grpc.add_StatusServiceServicer_to_server(self.fake, self._server)
        self._server.add_insecure_port(self.status_address)
        await self._server.start()

    async def close(self) -> None:
        """Stop everything."""
        await super().close()
        await self._server.stop(None)


@asynccontextmanager
async def beside(fake: FakeStatusService, folder: Path, **settings: Any) -> AsyncIterator[Faults]:
    """Run a sender with ``settings`` beside ``fake`` for the block."""
    both = Faults(folder, fake)
    both.settings |= settings
    await both.start()
    try:
        yield both
    finally:
        await both.close()
