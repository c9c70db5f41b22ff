"""Errors of any size: what reaches the caller always fits into the trailers of a call."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from service_runtime.errors import InvalidRequestError, ServiceError

#: Trailers have 8 KiB; some of it is for what gRPC itself adds.
_MOST_BYTES = 6 * 1024
_LONG = 20_000
#: One letter, one that is escaped in a header, and others of two to four bytes.
_LETTERS = st.sampled_from(["x", "%", "\n", "é", "中", "🎉"])
_TEXTS = st.one_of(
    st.text(max_size=50),
    st.builds(lambda letter, count: letter * count, _LETTERS, st.integers(0, _LONG)),
)
#: The names are ours, and few: these are longer and more than any error has.
_METADATA = st.dictionaries(st.sampled_from([f"name_of_a_value_{n:02}" for n in range(12)]), _TEXTS)
_FIELDS = st.one_of(
    st.dictionaries(_TEXTS, _TEXTS, max_size=30),
    st.builds(
        lambda count, text: {f"results[{n}].sequence": text for n in range(count)},
        st.integers(0, 1_000),
        _TEXTS,
    ),
)


def wire_bytes(error: ServiceError) -> int:
    """Return the bytes of an error in the trailers: escaped text, and details as base64."""
    status = error.to_status()
    printable = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
    return len(quote(status.message, safe=printable)) + (status.ByteSize() + 2) // 3 * 4


def info_of(error: ServiceError) -> dict[str, str]:
    """Return the metadata that a caller gets."""
    info = error_details_pb2.ErrorInfo()
    assert error.to_status().details[0].Unpack(info)
    return dict(info.metadata)


def violations_of(error: ServiceError) -> list[tuple[str, str]]:
    """Return the field violations that a caller gets."""
    request = error_details_pb2.BadRequest()
    assert error.to_status().details[1].Unpack(request)
    return [(violation.field, violation.description) for violation in request.field_violations]


@given(message=_TEXTS, metadata=_METADATA, fields=_FIELDS)
@example(
    message="x" * _LONG,
    metadata={f"name_of_a_value_{n:02}": "x" * _LONG for n in range(12)},
    fields={f"{n}": "x" * 35 for n in range(1_000)},
)
def test_every_error_fits_into_trailers(
    message: str, metadata: dict[str, str], fields: dict[str, str]
) -> None:
    """Whatever a caller sent and an error repeats, its status stays well below 8 KiB."""
    error = InvalidRequestError(message, metadata=metadata, fields=fields, retry_after_seconds=1)
    assert wire_bytes(error) <= _MOST_BYTES


@given(text=_TEXTS)
def test_a_text_that_was_cut_is_its_beginning_and_a_mark(text: str) -> None:
    """A short text stays as it is; a long one loses its end only, which is visible."""
    error = ServiceError(text, metadata={"name": text})
    for given_back, least in ((error.to_status().message, 80), (info_of(error)["name"], 120)):
        if given_back != text:
            assert given_back.endswith("…")
            assert text.startswith(given_back[:-1])
            assert len(given_back) > least


@pytest.mark.parametrize(("limit", "read"), [(1_000, "message"), (500, "metadata")])
def test_what_just_fits_stays_whole(limit: int, read: str) -> None:
    """The last byte that has room is not cut off; one more is cut."""

    def given_back(text: str) -> str:
        error = ServiceError(text, metadata={"name": text})
        return error.to_status().message if read == "message" else info_of(error)["name"]

    assert given_back("x" * limit) == "x" * limit
    cut = given_back("x" * (limit + 1))
    assert cut.endswith("x…")
    assert len(cut) < limit


def test_short_values_stay_whole_beside_long_ones() -> None:
    """Where all metadata is too long, the long values are cut and the short ones are not."""
    metadata = {"a": "x" * 400, "b": "y" * 400, "c": "z" * 400, "total": "17"}
    shown = info_of(ServiceError("no", metadata=metadata))
    assert shown["total"] == "17"
    assert all(shown[name].endswith("…") for name in "abc")


def test_of_many_violations_the_first_are_listed_and_the_others_counted() -> None:
    """A caller that made the same mistake a thousand times reads some, and how many more."""
    fields = {f"results[{n}].code": "too long" for n in range(1_000)}
    shown = violations_of(InvalidRequestError.of(fields))
    assert shown[:-1] == list(fields.items())[:20]
    assert shown[-1] == ("", "and 980 more")


def test_long_violations_are_fewer() -> None:
    """Not only their number is bounded: what does not fit is counted."""
    fields = {f"results[{n}].code": "x" * 1_000 for n in range(20)}
    *shown, (field, more) = violations_of(InvalidRequestError.of(fields))
    assert shown
    assert all(description.endswith("x…") for _, description in shown)
    assert (field, more) == ("", f"and {20 - len(shown)} more")


def test_twenty_violations_are_all_listed() -> None:
    """No line says that there are no more."""
    fields = {f"results[{n}].code": "too long" for n in range(20)}
    assert violations_of(InvalidRequestError.of(fields)) == list(fields.items())
