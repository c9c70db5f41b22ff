"""What problems must be before they are stored, how they are stored, and which are news."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from closeout.status.v1 import status_pb2 as pb
from service_runtime.errors import InvalidRequestError
from status_service.domain import Problem, State
from status_service.grpc_api import validation
from status_service.recording import problems
from status_service.recording.result_columns import NO_RESULTS
from status_service.recording.types import CampaignKey, Frame, FrameReceipt, Origin


def checked(*given: pb.Problem) -> str | None:
    """Return the problems of a frame as they are stored."""
    request = pb.ReportResultsRequest(campaign_id="a", problems=pb.CampaignProblems(problems=given))
    return validation.frame(request).campaigns[0].problems


@pytest.mark.parametrize(
    ("field", "longest"),
    [("summary", 300), ("detail", 500), ("setting", 200), ("provider", 300)],
)
def test_a_text_has_a_longest_length(field: str, longest: int) -> None:
    """So many characters are taken, one more is refused, and so is NUL."""
    good: dict[str, Any] = {field: "𝄞" * longest}
    assert checked(pb.Problem(kind=1, **good)) is not None
    for text in ("x" * (longest + 1), "\x00"):
        wrong: dict[str, Any] = {field: text}
        with pytest.raises(InvalidRequestError) as caught:
            checked(pb.Problem(kind=1), pb.Problem(kind=1, **wrong))
        assert set(caught.value.fields) == {f"problems.problems[1].{field}"}


def test_all_that_is_wrong_is_named_at_once() -> None:
    """The campaign, the number of problems, and each field of each problem."""
    with pytest.raises(InvalidRequestError) as caught:
        checked(
            pb.Problem(since_time=Timestamp(seconds=1 << 60), summary="x" * 301),
            pb.Problem(kind=2, deadline_time=Timestamp(nanos=-1), provider="\x00"),
        )
    assert set(caught.value.fields) == {
        "problems.problems[0].kind",
        "problems.problems[0].summary",
        "problems.problems[0].since_time",
        "problems.problems[1].provider",
        "problems.problems[1].deadline_time",
    }


def test_at_most_eight() -> None:
    """Eight are taken, nine are refused."""
    assert checked(*[pb.Problem(kind=1)] * 8) is not None
    with pytest.raises(InvalidRequestError) as caught:
        checked(*[pb.Problem(kind=1)] * 9)
    assert set(caught.value.fields) == {"problems.problems"}


def test_absent_is_not_none_at_all() -> None:
    """Absent problems are None, an empty list is stored as one."""
    assert validation.frame(pb.ReportResultsRequest(campaign_id="a")).campaigns[0].problems is None
    assert checked() == problems.NO_PROBLEMS


def test_a_kind_of_a_later_version_is_kept() -> None:
    """By its number."""
    stored = checked(pb.Problem(kind=99))  # type: ignore[arg-type]
    assert stored is not None
    assert problems.from_json(stored)[0].kind == 99


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
moments = st.none() | st.integers(-(10**15), 10**16)
some = st.lists(
    st.builds(
        Problem,
        kind=st.integers(1, 99),
        summary=texts,
        detail=texts,
        setting=texts,
        provider=texts,
        since_time=moments,
        needs_attention=st.booleans(),
        deadline_time=moments,
    ),
    max_size=8,
)


@given(reported=some)
def test_problems_are_stored_whole_and_counted_by_pages(reported: list[Problem]) -> None:
    """They are read as they were written, in one form, in no fewer bytes than a message has."""
    stored = problems.to_json(reported)
    read = list(problems.from_json(stored))
    assert sorted(map(str, read)) == sorted(map(str, reported))
    assert [problem.needs_attention for problem in read] == sorted(
        (problem.needs_attention for problem in reported), reverse=True
    )
    assert problems.to_json(read) == stored
    message = pb.CampaignProblems(
        problems=[
            pb.Problem(
                kind=problem.kind,  # type: ignore[arg-type]
                summary=problem.summary,
                detail=problem.detail,
                setting=problem.setting,
                provider=problem.provider,
                needs_attention=problem.needs_attention,
                since_time=None if problem.since_time is None else Timestamp(seconds=1 << 37),
                deadline_time=None if problem.deadline_time is None else Timestamp(nanos=1),
            )
            for problem in reported
        ]
    )
    assert message.ByteSize() <= len(stored.encode())


def _frame(reported: str | None, *, is_over: bool = False) -> tuple[Frame, FrameReceipt]:
    frame = Frame(CampaignKey("default", "a"), "one", NO_RESULTS, reported, Origin(is_over=is_over))
    return frame, FrameReceipt()


@pytest.mark.parametrize(
    ("reported", "state", "news"),
    [
        ([], State.SENDING, None),
        ([None], State.SENDING, None),
        (["known"], State.SENDING, None),
        (["new"], State.SENDING, "new"),
        (["new"], State.PAUSED, "new"),
        (["new"], State.COMPLETED, None),
        (["new"], State.CANCELLED, None),
        (["new", None], State.SENDING, "new"),
        (["new", "newer"], State.SENDING, "newer"),
        (["new", "known"], State.SENDING, None),
    ],
)
def test_the_last_problems_are_news_if_they_are_others(
    reported: list[str | None], state: State, news: str | None
) -> None:
    """Not those that are stored already, and none of a campaign that has ended."""
    campaign: Any = SimpleNamespace(problems="known", state=state.value)
    assert problems.news(campaign, list(map(_frame, reported))) == news


def test_what_a_stream_brought_that_has_ended_is_no_news() -> None:
    """Its sender says all again on the next one, and what another stream said counts."""
    campaign: Any = SimpleNamespace(problems="known", state=State.SENDING.value)
    assert problems.news(campaign, [_frame("new", is_over=True)]) is None
    assert problems.news(campaign, [_frame("new"), _frame("old", is_over=True)]) == "new"
