"""How much of a service its callers can have at once, over gRPC and HTTP together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import grpc

from service_runtime.caller_places import Places
from service_runtime.early_resets import EarlyResets
from service_runtime.errors import ServiceError
from service_runtime.sampled_log import SampledLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service_runtime.caller_places import Place

#: Streams and calls at once, of everybody.
MOST_STREAMS: Final = 2_000
MOST_CALLS: Final = 1_000
#: Streams on which one organisation may send; each may be about to send 4 MiB.
MOST_SENDING: Final = 32
#: Of calls that need no key, such as health checks, so many streams and calls.
_MOST_OPEN: Final = 500
#: Requests that are large, or slow to arrive, at once. A message has 4 MiB at most: 64 MiB.
_MOST_REQUESTS: Final = 16
_RETRY_SECONDS: Final = 1.0


class TooManyCallsError(ServiceError):
    """The caller, or everybody together, has as much open as may be."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_CALLS"
    retryable = True

    def __init__(self, kind: str, *, most: int) -> None:
        super().__init__(
            f"too many {kind} are open: one organisation may have {most:,}, one connection a half"
            " of that, and less while others need them; close some, and try again",
            metadata={"kind": kind, "most": str(most)},
            retry_after_seconds=_RETRY_SECONDS,
        )


class CallLimits:
    """What callers of one service may have at once.

    Args:
        most_streams: of everybody.
        most_calls: of everybody, without streams.
        most_sending: streams on which one organisation sends.
    """

    def __init__(
        self,
        most_streams: int = MOST_STREAMS,
        most_calls: int = MOST_CALLS,
        most_sending: int = MOST_SENDING,
    ) -> None:
        self._streams = Places("streams", most_streams)
        self._sending = Places(
            "streams that send",
            most_streams,
            of_organisation=min(most_sending, most_streams // 2),
            takes_silent=True,
        )
        self._calls = Places("calls", most_calls)
        self._open_streams = Places("streams without a key", _MOST_OPEN)
        self._open_sending = Places(
            "streams that send without a key", MOST_SENDING, takes_silent=True
        )
        self._open_calls = Places("calls without a key", _MOST_OPEN)
        self._requests = Places("large requests", _MOST_REQUESTS)
        self._resets = EarlyResets()
        self._log = SampledLog("call_refused")

    @contextlib.contextmanager
    def held(
        self, organisation: str, address: str, *, lasting: bool, sending: bool = False
    ) -> Iterator[None]:
        """Have a place while the block runs in this task.

        A stream, and a call whose request has not arrived, ends with the same error when
        somebody who has fewer needs its place.

        Args:
            organisation: of the caller; empty: it has not said who it is.
            address: where it calls from, with its port.
            lasting: whether the call is a stream.
            sending: whether its caller may send any number of messages.

        Raises:
            TooManyCallsError: the caller has as many as it may.
        """
        if sending:
            places = self._sending if organisation else self._open_sending
        elif lasting:
            places = self._streams if organisation else self._open_streams
        else:
            places = self._calls if organisation else self._open_calls
        place = places.take(organisation, address, yields=True)
        if place is None:
            raise self._refused(places, organisation, address)
        current = _current.set(place)
        try:
            yield
        except asyncio.CancelledError:
            if not place.is_taken_away:
                if not place.is_heard:
                    self._resets.note(address, self._is_used)
                raise
            place.forgive()
            raise self._refused(places, organisation, address) from None
        finally:
            _current.reset(current)
            places.give_back(place)

    @contextlib.contextmanager
    def room_for_request(self, organisation: str, address: str) -> Iterator[None]:
        """Have room for a request that is large, or slow to arrive, while the block runs.

        Raises:
            TooManyCallsError: others, or this caller, have all of it.
        """
        place = self._requests.take(organisation, address)
        if place is None:
            raise self._refused(self._requests, organisation, address)
        try:
            yield
        finally:
            self._requests.give_back(place)

    def _is_used(self, address: str) -> bool:
        kinds = (self._streams, self._sending, self._open_streams, self._open_sending)
        return any(places.is_used(address) for places in kinds)

    def _refused(self, places: Places, organisation: str, address: str) -> TooManyCallsError:
        self._log.add(organisation=organisation, address=address, kind=places.kind)
        return TooManyCallsError(places.kind, most=places.of_organisation)


#: The place of the call that this task answers.
_current: ContextVar[Place | None] = ContextVar("place", default=None)


def message_has_arrived() -> None:
    """Note that the caller of this task's call has sent a message."""
    place = _current.get()
    if place is not None:
        place.is_heard = True
        place.heard_at = time.monotonic()


def request_has_arrived() -> None:
    """Note that the request of this task's call is here: it is answered, whoever else calls."""
    place = _current.get()
    if place is not None:
        place.yields = False
