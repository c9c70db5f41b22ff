"""Calls of every rpc with messages that are made up, and what is wrong with their answers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from closeout.status.v1.error_reason_pb2 import ErrorReason
from integration.key_support import Metadata
from integration.wire_messages import Known, MadeUp, field, number_field, spoilt
from service_runtime.errors import DOMAIN
from service_runtime.reflection import methods_of

#: Makes the campaigns of a generation, and whatever else calls name; returns their ids by the
#: name of the field that takes them. Those of two generations have the same lengths.
Generation = Callable[[int], Awaitable[Known]]
#: Calls of each method that Hypothesis makes up for one generation.
_EXAMPLES = 5
#: Calls that are made beside each of them: as often the same, and as many that differ a little.
_AGAIN, _SPOILT = 1, 2
#: A page token that shows that a request asks for the page after another; the next one counts.
_TURNED = b"turned"
#: A call that takes longer hangs, also on a machine with much else to do, seconds.
_PATIENCE_SECONDS = 60.0
#: Codes that no caller may ever see.
_DEFECTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
#: grpcio's asyncio client forgets the status of a stream that ends while it writes (grpc/grpc
#: issue 36066), and says this.
_FORGOTTEN = "Internal error from Core"


class Call(NamedTuple):
    """A call to make.

    Attributes:
        frames: the messages to send, one unless the request streams.
        hangs_up: whether its caller cancels it when all are sent.
        chance: decides how the calls differ that are made beside it.
    """

    frames: Sequence[bytes]
    hangs_up: bool
    chance: int


def calls_of(rpc: MethodDescriptor, tame: MadeUp, wild: MadeUp) -> st.SearchStrategy[Call]:
    """Return how calls of a method are made up.

    Args:
        rpc: the method.
        tame: makes up two messages of three.
        wild: makes up the third.
    """

    @st.composite
    def call(draw: st.DrawFn) -> Call:
        message = draw(st.sampled_from((tame, tame, wild))).messages(rpc.input_type)
        number = draw(st.integers(1, 4)) if rpc.client_streaming else 1
        frames = [draw(message) for _ in range(number)]
        if rpc.client_streaming and draw(st.sampled_from((True, True, True, False))):
            frames = list(_in_order(rpc, draw(message), frames))
        hangs_up = draw(st.sampled_from((False,) * 7 + (True,)))
        return Call(frames, hangs_up, draw(st.integers(0, 2**32)))

    return call()


def _in_order(rpc: MethodDescriptor, first: bytes, frames: Iterable[bytes]) -> Iterable[bytes]:
    """Return frames that belong together: what comes last in a message counts."""
    fields = rpc.input_type.fields_by_name
    message = _parsed(rpc.input_type, first)
    rows = 0
    for number, frame in enumerate(frames, start=1):
        same = frame
        for name in ("campaign_id", "upload_id"):
            if message is not None and name in fields:
                same += field(fields[name].number, getattr(message, name).encode())
        for name, value in (("frame", number), ("first_row", rows)):
            if name in fields:
                same += number_field(fields[name].number, value)
        yield same
        if "first_row" in fields and (parsed := _parsed(rpc.input_type, frame)) is not None:
            rows += len(getattr(parsed, "recipients", ()))


def rpc_of(method: str) -> MethodDescriptor:
    """Return the descriptor of a method by its full name, as in ``/package.Service/Method``."""
    return descriptor_pool.Default().FindMethodByName(method[1:].replace("/", "."))


def _parsed(descriptor: Any, data: bytes) -> Any:
    """Return the message in bytes; None: there is none."""
    kind: type[Message] = message_factory.GetMessageClass(descriptor)
    with contextlib.suppress(DecodeError, UnicodeDecodeError):
        return kind.FromString(data)
    return None


class Fuzz:
    """Makes calls, and keeps what is wrong with their answers.

    Args:
        channel: to the service.
        services: those whose rpcs are called.
        generation: makes what the calls are about.
        metadata: of each call.

    Attributes:
        messages: how many were sent.
        wrong: what no answer may be, with the call that led to it.
        answers: how often each method was answered with each reason; "": it succeeded.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        services: Sequence[str],
        generation: Generation,
        metadata: Metadata = (),
    ) -> None:
        self._channel = channel
        self._services = services
        self._generation = generation
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._renamed: dict[bytes, bytes] = {}
        self.messages = 0
        self.wrong: list[str] = []
        self.answers: Counter[tuple[str, str]] = Counter()

    async def run(self, messages: int, begin: int) -> AsyncIterator[int]:
        """Make calls until so many messages were sent, or something was wrong.

        Yields the number of messages so far, after each generation.

        Args:
            messages: how many.
            begin: the seed of the first generation; the next ones count up.
        """
        first = await self._generation(0)
        made_up = [MadeUp(first, wild=False), MadeUp(first, wild=True)]
        calls = {
            method: calls_of(rpc_of(method), *made_up) for method in methods_of(self._services)
        }
        for number in itertools.count(1):
            known = await self._generation(number)
            self._renamed = {
                old: new
                for name, olds in first.items()
                for old, new in zip(olds, known[name], strict=True)
                if isinstance(old, bytes) and isinstance(new, bytes) and old != new
            }
            for method, strategy in calls.items():
                await asyncio.to_thread(self._make_up, method, strategy, begin + number)
            yield self.messages
            if self.messages >= messages or self.wrong:
                return

    def _make_up(self, method: str, calls: st.SearchStrategy[Call], number: int) -> None:
        """Let Hypothesis make calls up, in this thread; they are made in the loop."""

        @seed(number)
        @settings(
            max_examples=_EXAMPLES,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(calls)
        def make(call: Call) -> None:
            if not self.wrong:
                asyncio.run_coroutine_threadsafe(self._make(method, call), self._loop).result()

        make()

    async def _make(self, method: str, call: Call) -> None:
        """Make a call, and some beside it that differ a little."""
        chance = random.Random(call.chance)  # noqa: S311 - the same for the same seed
        frames = [self._current(frame) for frame in call.frames]
        variants = [frames] * (1 + _AGAIN)
        for _ in range(_SPOILT):
            place = chance.randrange(len(frames))
            other = spoilt(frames[place], chance)
            variants.append([*frames[:place], other, *frames[place + 1 :]])
        await asyncio.gather(
            *(self._judged(method, one, hangs_up=call.hangs_up) for one in variants)
        )

    def _current(self, frame: bytes) -> bytes:
        """Return a message with the ids of this generation."""
        olds = sorted(self._renamed, key=len, reverse=True)
        return re.sub(b"|".join(map(re.escape, olds)), lambda found: self._renamed[found[0]], frame)

    async def _judged(self, method: str, frames: Sequence[bytes], *, hangs_up: bool) -> None:
        """Make one call, and judge its answer; of a list, ask for the next page too."""
        self.messages += len(frames)
        rpc = rpc_of(method)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                data = await self._answer(rpc, method, frames, hangs_up=hangs_up)
        except grpc.aio.AioRpcError as error:
            reason, fault = _reason(error, hangs_up=hangs_up)
        except TimeoutError:
            reason, fault = "", f"no answer within {_PATIENCE_SECONDS:g} s"
        else:
            reason = fault = ""
            await self._turn_the_page(rpc, method, frames[0], data)
        self.answers[method, reason] += 1
        if fault:
            shown = [frame[:2_000] for frame in frames]
            self.wrong.append(f"{method}: {fault}: {shown}{' hung up' if hangs_up else ''}")

    async def _turn_the_page(
        self, rpc: MethodDescriptor, method: str, request: bytes, data: bytes
    ) -> None:
        """Ask for the page after an answer, if it has one, by its token and by a wrong one."""
        wanted = rpc.input_type.fields_by_name.get("page_token")
        token: str = getattr(_parsed(rpc.output_type, data), "next_page_token", "")
        if wanted is None or not token or request.count(_TURNED):
            return
        chance = random.Random(token)  # noqa: S311 - not for secrets
        for text in (token.encode(), spoilt(token.encode(), chance)):
            turned = request + field(wanted.number, _TURNED) + field(wanted.number, text)
            await self._judged(method, [turned], hangs_up=False)

    async def _answer(
        self, rpc: MethodDescriptor, method: str, frames: Sequence[bytes], *, hangs_up: bool
    ) -> bytes:
        """Make a call; return what came first.

        Raises:
            grpc.aio.AioRpcError: it failed.
        """
        async with self._open(rpc, method, frames) as call:
            if rpc.client_streaming:
                await _write(call, frames)
            if hangs_up:
                call.cancel()
            elif rpc.client_streaming:
                with contextlib.suppress(asyncio.InvalidStateError):
                    await call.done_writing()
            if not rpc.server_streaming:
                return bytes(await call)
            first = await call.read()
            if rpc.client_streaming:
                while first is not grpc.aio.EOF and await call.read() is not grpc.aio.EOF:
                    pass
            return b"" if first is grpc.aio.EOF else bytes(first)

    @contextlib.asynccontextmanager
    async def _open(
        self, rpc: MethodDescriptor, method: str, frames: Sequence[bytes]
    ) -> AsyncIterator[Any]:
        kind = f"{'stream' if rpc.client_streaming else 'unary'}_" + (
            "stream" if rpc.server_streaming else "unary"
        )
        multicallable: Any = getattr(self._channel, kind)(method)
        given = () if rpc.client_streaming else (frames[0],)
        call = multicallable(*given, metadata=self._metadata, timeout=_PATIENCE_SECONDS)
        try:
            yield call
        except asyncio.CancelledError:
            # How grpcio says that the call was cancelled, here or there.
            if asyncio.current_task().cancelling():  # type: ignore[union-attr] # it is one
                raise
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata()
            ) from None
        finally:
            call.cancel()


async def _write(call: Any, frames: Iterable[bytes]) -> None:
    """Send frames, as many as the service takes."""
    with contextlib.suppress(asyncio.InvalidStateError):
        for frame in frames:
            await call.write(frame)


def _reason(error: grpc.aio.AioRpcError, *, hangs_up: bool) -> tuple[str, str]:
    """Return the reason of a failed call, and what is wrong with it; empty: nothing."""
    code = error.code()
    if _FORGOTTEN in (error.details() or ""):
        return "forgotten", ""
    if code is grpc.StatusCode.CANCELLED and hangs_up:
        return "cancelled", ""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    if status is None or not any(detail.Unpack(info) for detail in status.details):
        return "none", f"{code} has no ErrorInfo: {error.details()}"
    if code in _DEFECTS:
        return info.reason, f"{code}: {error.details()}"
    if info.domain != DOMAIN or info.reason not in ErrorReason.keys():  # noqa: SIM118 - no mapping
        return info.reason, f"{info.domain} {info.reason} is no reason"
    return info.reason, ""
