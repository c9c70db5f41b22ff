"""The rules that requests of both services share."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from service_runtime.errors import InvalidRequestError
from service_runtime.pages import Page, PageRequest, _digest
from service_runtime.validation import LABELS, Validation


def violations(failing: Callable[[Validation], object]) -> dict[str, str]:
    """Return what a check finds wrong."""
    with pytest.raises(InvalidRequestError) as refused, Validation() as check:
        failing(check)
    return refused.value.fields


def test_everything_that_is_wrong_is_in_one_answer() -> None:
    """A caller learns of all wrong fields at once, each with its path."""

    def failing(check: Validation) -> None:
        check.campaign_id("")
        check.text("reason", "x" * 501, longest=500)
        check.number("total", -1, least=0, most=10)

    assert violations(failing) == {
        "campaign_id": "required",
        "reason": "longer than 500 characters",
        "total": "-1 is not within 0 to 10",
    }


def test_a_request_that_is_right_passes() -> None:
    """Values come back as the service works with them."""
    with Validation() as check:
        assert check.campaign_id("a.b_c-1") == "a.b_c-1"
        assert check.campaign_id("", optional=True) == ""
        assert check.text("reason", "why", longest=3) == "why"
        assert check.request_id("{B0A7FA41-6C3F-4EF2-9D9C-0F6B3C3D5E11}") == (
            "b0a7fa41-6c3f-4ef2-9d9c-0f6b3c3d5e11"
        )
        assert check.labels({"b": "2", "a": ""}) == {"a": "", "b": "2"}
        assert check.page(0, "", default=50) == PageRequest(50, "")
        assert check.page(5_000, "", default=50) == PageRequest(1_000, "")
        assert check.enum("kind", 2, {1: "one", 2: "two"}, default="none") == "two"
        assert check.enums("kinds", [2, 1], {1: "one", 2: "two"}) == ["two", "one"]
        second = timedelta(seconds=1)
        assert check.duration("d", Duration(seconds=1), least=second, most=second) == second
        check.only_one({"start_time": True, "start_now": False})
        check.unique("campaigns", ["a", "b"])
    assert not check.failed


@pytest.mark.parametrize("wrong", ["-a", "a b", "a" * 129, "ä", "a\n", "a/b"])
def test_an_id_that_is_not_well_formed_is_refused(wrong: str) -> None:
    """An id begins with a letter or digit, and has at most 128 safe characters."""
    assert list(violations(lambda check: check.campaign_id(wrong))) == ["campaign_id"]


def test_a_long_value_is_shown_in_part() -> None:
    """What a caller sent never makes the answer long."""
    (problem,) = violations(lambda check: check.campaign_id("é" * 100_000)).values()
    assert len(problem) < 300


def test_nul_is_refused() -> None:
    """No database of ours keeps a NUL character in a text."""
    found = violations(lambda check: check.text("reason", "a\x00b", longest=9))
    assert found == {"reason": "contains a NUL character"}


@pytest.mark.parametrize(
    "wrong",
    [{str(key): "" for key in range(LABELS + 1)}, {"": "x"}, {"k" * 64: ""}, {"k": "v" * 64}],
)
def test_labels_have_limits(wrong: dict[str, str]) -> None:
    """A campaign has at most 32 labels, keys 1 to 63 characters, values at most 63."""
    assert len(violations(lambda check: check.labels(wrong))) == 1


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(2**62, 0), (253_402_300_800, 0), (-62_135_596_801, 0), (0, -1)]
)
def test_a_time_outside_the_calendar_is_refused(seconds: int, nanos: int) -> None:
    """A Timestamp that no datetime can hold is the caller's error, not a defect."""
    stamp = Timestamp(seconds=seconds, nanos=nanos)
    found = violations(lambda check: check.timestamp("start_time", stamp))
    assert found == {"start_time": "not a time of the years 1 to 9999"}


@pytest.mark.parametrize("span", [Duration(), Duration(seconds=11), Duration(seconds=2**60)])
def test_a_duration_has_bounds(span: Duration) -> None:
    """Both bounds are in the answer."""
    least, most = timedelta(seconds=1), timedelta(seconds=10)
    found = violations(lambda check: check.duration("wait", span, least=least, most=most))
    assert found == {"wait": "not within 1 to 10 seconds"}


def test_an_unknown_number_of_an_enum_is_refused() -> None:
    """The place in a repeated field is named."""
    repeated = violations(lambda check: check.enums("states", [1, 9], {1: "one"}))
    assert list(repeated) == ["states[1]"]
    single = violations(lambda check: check.enum("kind", 9, {1: "one"}, default=""))
    assert list(single) == ["kind"]


def test_fields_that_exclude_each_other_are_both_named() -> None:
    """Whichever was meant, the caller finds it."""
    given = {"start_time": True, "start_now": True}
    found = violations(lambda check: check.only_one(given))
    assert found == {"start_time": "excludes start_now", "start_now": "excludes start_time"}


def test_a_value_given_twice_is_named() -> None:
    """The second place is named."""
    found = violations(lambda check: check.unique("campaigns", ["a", "b", "a"]))
    assert list(found) == ["campaigns[2]"]


def test_an_exception_of_the_block_is_not_hidden() -> None:
    """A defect inside the block stays what it is."""

    def failing() -> None:
        with Validation() as check:
            check.campaign_id("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()


def test_pages_go_by_key() -> None:
    """The extra row makes the token of the next page, which says where to go on."""
    question = ["results", "default", {"a": "b"}]
    page = Page.of([1, 2, 3], PageRequest(2, ""), question, key_of=lambda row: [row])
    assert page.rows == [1, 2]
    assert PageRequest(2, page.next_page_token).after(question) == [2]
    last = Page.of([3], PageRequest(2, page.next_page_token), question, key_of=lambda row: [row])
    assert last.next_page_token == ""
    assert PageRequest(2, "").after(question) is None


def test_a_page_ends_before_it_is_too_large_for_a_message() -> None:
    """Its token says where to go on; a row that is too large by itself is a page."""
    rows = [(number, "𝄞" * 250_000) for number in range(1, 6)]
    page = Page.of(rows, PageRequest(10, ""), ["q"], key_of=lambda row: [row[0]])
    assert page.rows == rows[:3]
    assert PageRequest(10, page.next_page_token).after(["q"]) == [3]
    large = [(1, "x" * 5_000_000), (2, "x")]
    page = Page.of(large, PageRequest(10, ""), ["q"], key_of=lambda row: [row[0]])
    assert (page.rows, bool(page.next_page_token)) == (large[:1], True)
    last = Page.of(large[:1], PageRequest(10, ""), ["q"], key_of=lambda row: [row[0]])
    assert last.next_page_token == ""


@pytest.mark.parametrize("token", ["x", "!!!", "bnVsbA==", "W10=", "é", "W1td" * 1_000])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    """A token is whatever the caller sent."""
    with pytest.raises(InvalidRequestError, match="not a token of this service"):
        PageRequest(1, token).after(["q"])


@pytest.mark.parametrize("key", [-1, 2**63 - 1, 2**63, True, 1.0, "1", None])
def test_a_token_with_a_key_that_no_row_has_is_refused(key: object) -> None:
    """Keys are not negative, and a database can count one further."""
    token = base64.urlsafe_b64encode(json.dumps([_digest(["q"]), [key]]).encode()).decode()
    with pytest.raises(InvalidRequestError, match="not a token of this service"):
        PageRequest(1, token).after(["q"])


def test_a_token_is_bound_to_its_question() -> None:
    """A page of one list is no page of another."""
    page = Page.of([1, 2], PageRequest(1, ""), ["one"], key_of=lambda row: [row])
    with pytest.raises(InvalidRequestError, match="given for another question"):
        PageRequest(1, page.next_page_token).after(["two"])
