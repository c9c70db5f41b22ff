"""The queue before a writer: streams wait for a place, and take turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from status_service.recording.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

Entry = TypeVar("Entry")


class FrameQueue(Generic[Entry]):
    """Frames that wait for one writer.

    Args:
        batch_results: at most so many results are taken at once, though always one frame.
        places: so many frames wait, beyond that those of each stream that has less than
            an equal share of them, and at least one of each.
        company: see :class:`Turns`.
    """

    def __init__(
        self, *, batch_results: int, places: int, company: list[Turns[Entry]] | None = None
    ) -> None:
        self._turns: Turns[Entry] = Turns(batch_results=batch_results, company=company)
        self._batch_results = batch_results
        self._places = places
        self._waiting: dict[asyncio.Future[None], Hashable] = {}  # for a place; the first first
        self._promised: dict[asyncio.Future[None], Hashable] = {}  # places to those who waited
        self._some = asyncio.Event()
        self._whole = asyncio.Event()
        self._unfinished = 0
        self._finished = asyncio.Event()
        self._finished.set()

    @property
    def waiting(self) -> int:
        """How many frames wait; one of more than 500 results counts as several."""
        return self._turns.places

    async def put(self, stream: Hashable, entry: Entry, results: int) -> None:
        """Add a frame behind the others of its stream, once there is a place.

        Cancelled before that, nothing of it is left.
        """
        if not self._has_room(stream):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[place] = stream
            try:
                await place
            except asyncio.CancelledError:
                del (self._promised if place in self._promised else self._waiting)[place]
                self._offer()  # its place is for the next one
                raise
            del self._promised[place]
        self._turns.put(stream, entry, results)
        self._unfinished += 1
        self._finished.clear()
        self._some.set()
        if self._turns.results >= self._batch_results:
            self._whole.set()

    async def take(self, *, beside_little: int | None = None) -> Sequence[Entry]:
        """Return the frames of the next transaction, once there are any.

        Args:
            beside_little: see :meth:`Turns.take`.
        """
        await self._some.wait()
        batch = self._turns.take(beside_little=beside_little)
        if not self._turns.places:
            self._some.clear()
        if self._turns.results < self._batch_results:
            self._whole.clear()
        self._offer()
        return batch

    async def whole(self) -> None:
        """Return once as many results wait as a transaction may have."""
        await self._whole.wait()

    def done(self, frames: int) -> None:
        """Say that so many of the frames that were taken are settled."""
        self._unfinished -= frames
        if not self._unfinished:
            self._finished.set()

    async def join(self) -> None:
        """Return once all frames are settled."""
        await self._finished.wait()

    def _has_room(self, stream: Hashable) -> bool:
        if self._turns.places + len(self._promised) < self._places:
            return True
        has = self._turns.places_of(stream) + sum(to == stream for to in self._promised.values())
        others = self._turns.streams - (self._turns.places_of(stream) > 0)
        return has < max(1, self._places // (others + 1))

    def _offer(self) -> None:
        """Promise places to those who wait, the first ones first."""
        for place, stream in tuple(self._waiting.items()):
            if self._has_room(stream):
                self._promised[place] = self._waiting.pop(place)
                if not place.done():
                    place.set_result(None)
