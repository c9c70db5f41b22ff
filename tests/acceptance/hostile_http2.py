"""HTTP/2 by hand, for clients that do what no library would."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0x0,
    0x1,
    0x3,
    0x4,
    0x6,
    0x7,
    0x8,
    0x9,
)
END_STREAM, END_HEADERS = 0x1, 0x4
CANCEL = struct.pack(">I", 8)
_LARGEST_FRAME = 16_384
#: Bytes that may be sent of a stream before anything was said of that (RFC 9113, 6.9.2).
INITIAL_WINDOW = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def headers(path: str) -> bytes:
    """Return the block of headers of a call, without any compression."""
    given = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in given.items())


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()  # at most 126 characters


def message(content: bytes, *, announced: int | None = None) -> bytes:
    """Return a message of gRPC, which may announce more bytes than it has."""
    return b"\0" + struct.pack(">I", len(content) if announced is None else announced) + content


class Connection:
    """One connection; what the server may be sent is kept count of.

    Args:
        reader: of the connection.
        writer: of the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next_stream = 1
        self._initial_window = INITIAL_WINDOW
        self._windows: dict[int, int] = {0: INITIAL_WINDOW}

    def open_stream(self, path: str) -> int:
        """Begin a call; return its number."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._windows[stream] = self._initial_window
        self.write(frame(HEADERS, END_HEADERS, stream, headers(path)))
        return stream

    def write(self, data: bytes) -> None:
        """Send bytes; a server that does not take them is not waited for."""
        if self.is_open:
            self._writer.write(data)

    @property
    def window_of_a_stream(self) -> int:
        """How many bytes the server takes of a new stream, as it said last."""
        return self._initial_window

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return not self._writer.transport.is_closing()

    def send(self, stream: int, data: bytes) -> int:
        """Send as much of the body of a call as the server takes now; return how much."""
        room = min(self._windows[0], self._windows.get(stream, 0), len(data))
        if room <= 0:
            return 0
        for start in range(0, room, _LARGEST_FRAME):
            part = data[start : min(start + _LARGEST_FRAME, room)]
            self.write(frame(DATA, 0, stream, part))
        for window in (0, stream):
            self._windows[window] -= room
        return room

    @property
    def unsent(self) -> int:
        """The bytes that the server did not take."""
        return self._writer.transport.get_write_buffer_size()

    @asynccontextmanager
    async def being_read(self) -> AsyncIterator[asyncio.Task[None]]:
        """Read in a task while the block runs; it ends with the connection."""
        reading = asyncio.create_task(self.read())
        try:
            yield reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def read(self) -> None:
        """Read what the server sends, and throw it away, until the connection ends."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not flags:
                for place in range(0, len(payload), 6):
                    name, value = struct.unpack(">HI", payload[place : place + 6])
                    if name == 0x4:
                        for known in self._windows.keys() - {0}:
                            self._windows[known] += value - self._initial_window
                        self._initial_window = value
                self.write(frame(SETTINGS, 1, 0))
            elif kind == PING and not flags:
                self.write(frame(PING, 1, 0, payload))
            elif kind == WINDOW_UPDATE and (not stream or stream in self._windows):
                self._windows[stream] += int.from_bytes(payload, "big")
            elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self._windows.pop(stream, None)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """Open a connection, and cut it at the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        connection = Connection(reader, writer)
        connection.write(PREFACE + frame(SETTINGS, 0, 0))
        yield connection
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
