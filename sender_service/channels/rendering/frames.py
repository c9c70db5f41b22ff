"""What the sender and its rendering processes agree on: limits, and frames on their pipes."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from dataclasses import dataclass
from typing import Any, TypeAlias

#: A JSON object, and bytes.
Frame: TypeAlias = tuple[dict[str, Any], bytes]


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the kernel lets a rendering process take.

    Attributes:
        compile_seconds: the longest that a content may take to compile, of computing.
        render_seconds: likewise a message to render. One template is given up in good
            order before that.
        memory_bytes: all memory of the process.
    """

    compile_seconds: float = 5.0
    render_seconds: float = 2.0
    memory_bytes: int = 256 * 1024 * 1024

    def as_arguments(self) -> list[str]:
        """Return them as arguments of a command."""
        return [str(self.compile_seconds), str(self.render_seconds), str(self.memory_bytes)]

    @classmethod
    def from_arguments(cls, given: list[str]) -> WorkerLimits:
        """Return what :meth:`as_arguments` wrote."""
        compile_seconds, render_seconds, memory_bytes = given
        return cls(float(compile_seconds), float(render_seconds), int(memory_bytes))


_LENGTHS = struct.Struct("!II")
_PIECE = 1 << 16


def write_frame(pipe: int, header: dict[str, Any], body: bytes, *, until: float = 0.0) -> None:
    """Write a frame.

    Args:
        pipe: where to.
        header: a JSON object.
        body: bytes.
        until: when to give up, on the monotonic clock; 0: never. The pipe must not block then.

    Raises:
        TimeoutError: nobody reads it.
        OSError: the other end is closed.
    """
    head = json.dumps(header).encode()
    rest = memoryview(b"".join((_LENGTHS.pack(len(head), len(body)), head, body)))
    while rest:
        if until:
            _wait(pipe, until, write=True)
        rest = rest[os.write(pipe, rest) :]


def read_frame(pipe: int, *, until: float = 0.0) -> Frame | None:
    """Return the next frame; None: the other end is closed.

    Args:
        pipe: where from.
        until: when to give up, on the monotonic clock; 0: never.

    Raises:
        TimeoutError: nobody writes it.
    """
    lengths = _read(pipe, _LENGTHS.size, until)
    if lengths is None:
        return None
    of_head, of_body = _LENGTHS.unpack(lengths)
    head = _read(pipe, of_head, until)
    body = _read(pipe, of_body, until)
    if head is None or body is None:
        return None
    return json.loads(head), body


def _read(pipe: int, length: int, until: float) -> bytes | None:
    pieces = []
    while length:
        if until:
            _wait(pipe, until, write=False)
        piece = os.read(pipe, min(length, _PIECE))
        if not piece:
            return None
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _wait(pipe: int, until: float, *, write: bool) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLOUT if write else select.POLLIN)
    left = until - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError
