"""Messages of any type as bytes, made up from their descriptors.

The bytes are written field by field, not by protobuf, so that they can hold what no library
would send: text that is no UTF-8, numbers that no enum has, fields that come twice or that
nobody knows.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

#: What fields are given often, by name, texts or whole numbers: it leads beyond the checks of
#: a request.
Known = Mapping[str, Sequence[bytes] | Sequence[int]]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
#: Types of whole numbers that protobuf writes with as many bytes as they need.
_WHOLE: Final = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}
_TIMES: Final = {"google.protobuf.Timestamp", "google.protobuf.Duration"}
#: Messages within messages get fewer from this depth, and end at the other one.
_BUSY_DEPTH, _DEEPEST = 2, 5
#: A field that no message has.
_UNKNOWN_NUMBER = 99_999


class _Values(NamedTuple):
    """What the fields of messages are made of."""

    whole: st.SearchStrategy[int]
    fractions: st.SearchStrategy[float]
    texts: st.SearchStrategy[bytes]
    seconds: Sequence[int]
    nanos: Sequence[int]
    #: Numbers that enums may not have.
    numbers: Sequence[int]


_YEAR_2100 = 4_102_444_800
_LATER = 60
#: Values that most fields take.
_TAME = _Values(
    st.integers(0, 6),
    st.sampled_from((0.0, 1.5)),
    st.sampled_from((b"", b"a", b"two words", "ünï".encode())),
    (_LATER, _YEAR_2100),
    (0, 1),
    (),
)
#: Values at the bounds of what a field can hold, and beyond.
_WILD = _Values(
    st.sampled_from(
        (
            *(0, 1, 2, -1, 127, 1_000, 1_001, 2**31 - 1, 2**31, -(2**31), 2**53),
            *(2**63 - 1, -(2**63), 2**64 - 1),
        )
    ),
    st.sampled_from((1e300, 5e-324, float("nan"), float("inf"), -0.0)),
    st.one_of(
        st.sampled_from(
            (
                *(b"", b"\0", b"a\r\nb", b" ", b"null", b"{{ x }}", b"{% for", b'{"a": 1}'),
                *(b"..", b"%", b"' OR 1=1 --", b"closeout_x", b"a" * 129, b"9" * 70_000),
                *("\U0001f600".encode(), "\u202e".encode(), "\ufeff".encode()),
                *(b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80"),
            )
        ),
        st.text(max_size=12).map(str.encode),
    ),
    # The first and the last second of a time there is, and one beyond each.
    (
        *(-62_135_596_801, -62_135_596_800, 253_402_300_799, 253_402_300_800),
        *(0, -1, 2**31, 2**63 - 1, -(2**63)),
    ),
    (0, 999_999_999, 10**9, -1, 2**31 - 1, -(2**31)),
    (99, -1, 2**31 - 1),
)


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it; a negative one as 64 bits."""
    number &= 2**64 - 1
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def field(number: int, payload: bytes) -> bytes:
    """Return a field of a text, of bytes or of a message."""
    return varint(number << 3 | _LENGTH) + varint(len(payload)) + payload


def number_field(number: int, value: int) -> bytes:
    """Return a field of a whole number."""
    return varint(number << 3 | _VARINT) + varint(value)


class MadeUp:
    """Makes messages up.

    Args:
        known: what fields are given often, by name.
        wild: whether values are at the bounds of what fields can hold, and beyond.
    """

    def __init__(self, known: Known, *, wild: bool) -> None:
        self._known = known
        self._values = _WILD if wild else _TAME
        self._messages: dict[tuple[str, int], st.SearchStrategy[bytes]] = {}

    def messages(self, descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[bytes]:
        """Return how messages of a type are made up, as bytes.

        Args:
            descriptor: the type.
            depth: how many messages are around it.
        """
        key = descriptor.full_name, depth
        if depth > _DEEPEST:
            return st.just(b"")
        if key not in self._messages:
            self._messages[key] = self._message(descriptor, depth)
        return self._messages[key]

    def _message(self, descriptor: Descriptor, depth: int) -> st.SearchStrategy[bytes]:
        fields = [
            (self._presence(described, depth), self._field(described, depth))
            for described in descriptor.fields
        ]

        @st.composite
        def message(draw: st.DrawFn) -> bytes:
            return b"".join(
                draw(content) for presence, content in fields for _ in range(draw(presence))
            )

        return message()

    def _presence(self, described: FieldDescriptor, depth: int) -> st.SearchStrategy[int]:
        """Return how many elements of a field there are."""
        if described.is_repeated:
            return st.sampled_from((0, 1, 1, 2, 3) if depth < _BUSY_DEPTH else (0, 0, 0, 1, 2))
        if described.name in self._known:
            return st.sampled_from((1,) * 15 + (0,))
        is_message = described.type == FieldDescriptor.TYPE_MESSAGE
        return st.sampled_from((0, 0, 1) if is_message or depth >= _BUSY_DEPTH else (0, 1, 1))

    def _field(self, described: FieldDescriptor, depth: int) -> st.SearchStrategy[bytes]:
        """Return how one element of a field is made up."""
        number = described.number
        if described.type == FieldDescriptor.TYPE_MESSAGE:
            inner = self.messages(described.message_type, depth + 1)
            return inner.map(partial(field, number))
        if described.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            return self._often_known(described.name, self._values.texts).map(partial(field, number))
        if described.type == FieldDescriptor.TYPE_DOUBLE:
            return self._values.fractions.map(partial(double_field, number))
        return self._whole(described).map(partial(number_field, number))

    def _often_known(self, name: str, others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        """Return what is known for a field of this name, and others now and then."""
        if name not in self._known:
            return others
        known = st.sampled_from(self._known[name])
        return known if self._values is _TAME else st.one_of(known, known, others)

    def _whole(self, described: FieldDescriptor) -> st.SearchStrategy[int]:
        """Return whole numbers for a field."""
        if described.type == FieldDescriptor.TYPE_ENUM:
            values = [value.number for value in described.enum_type.values]
            return self._often_known(
                described.name, st.sampled_from((*values, *self._values.numbers))
            )
        if described.type == FieldDescriptor.TYPE_BOOL:
            return st.sampled_from((0, 1))
        if described.type not in _WHOLE:
            raise AssertionError(f"{described.full_name} has a type that nobody makes up yet")
        if described.containing_type.full_name in _TIMES:
            values = self._values
            return st.sampled_from(values.seconds if described.name == "seconds" else values.nanos)
        return self._often_known(described.name, self._values.whole)


def double_field(number: int, value: float) -> bytes:
    """Return a field of a number with a fraction."""
    return varint(number << 3 | _FIXED64) + struct.pack("<d", value)


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """Return bytes that differ a little from those of a message."""
    changed = chance.choice(_CHANGES)(bytearray(data), chance)
    return bytes(changed)


def _flipped(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.randint(1, 3)):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _cut(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.randrange(len(data) + 1)]


def _without_a_part(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.randint(1, 8)]
    return data


def _with_unknown_fields(data: bytearray, chance: random.Random) -> bytearray:
    kind = chance.choice((_VARINT, _FIXED64, _LENGTH, 3, 4, _FIXED32, 6, 7))
    tail = varint(_UNKNOWN_NUMBER << 3 | kind) + chance.randbytes(chance.choice((0, 1, 4, 8, 20)))
    return data + tail


def _repeated(data: bytearray, chance: random.Random) -> bytearray:
    """Repeat the whole message: singular fields come again, and repeated ones grow."""
    times = chance.choice((2, 3, 20, 400))
    return data * min(times, 1 + 200_000 // (len(data) + 1))


def _noise(data: bytearray, chance: random.Random) -> bytearray:
    return bytearray(chance.randbytes(min(len(data) + 1, 40)))


_CHANGES: Sequence[Callable[[bytearray, random.Random], Any]] = (
    _flipped,
    _flipped,
    _cut,
    _without_a_part,
    _with_unknown_fields,
    _repeated,
    _noise,
)
