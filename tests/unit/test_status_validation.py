"""What a request must be: what is taken stays as it is, what is not names its field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from closeout.status.v1 import status_pb2 as pb
from service_runtime.errors import InvalidRequestError
from service_runtime.validation import MOST_VIOLATIONS
from status_service.campaigns.types import StartOrder
from status_service.domain import State
from status_service.grpc_api import messages, validation
from status_service.recording.result_columns import ResultColumns

_UUID = "b0a7fa41-6c3f-4ef2-9d9c-0f6b3c3d5e11"


def violations(check: Callable[[], object]) -> dict[str, str]:
    """Return what a check that must fail complains of, by field."""
    with pytest.raises(InvalidRequestError) as caught:
        check()
    return caught.value.fields


def frame(*results: pb.Result, **fields: Any) -> ResultColumns:
    """Return the results of a frame as they are checked."""
    request = pb.ReportResultsRequest(campaign_id="a", results=results, **fields)
    return validation.frame(request).campaigns[0].results


@pytest.mark.parametrize("given_id", ["a", "A-1", "0", "a.b_c-d", "x" * 128])
def test_a_campaign_id_is_taken(given_id: str) -> None:
    """1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or a digit."""
    assert validation.campaign_id(pb.GetCampaignRequest(campaign_id=given_id)) == given_id


@pytest.mark.parametrize(
    "given_id", ["", "-a", ".", "_", "a b", "a/b", "a\n", "\n", "ä", "x" * 129, "a\x00", "\uff41"]
)
def test_a_campaign_id_is_refused(given_id: str) -> None:
    """Anything else, also a line feed at the end and letters of other alphabets."""
    request = pb.GetCampaignRequest(campaign_id=given_id)
    assert set(violations(lambda: validation.campaign_id(request))) == {"campaign_id"}


def test_a_new_campaign_has_an_id_or_a_request_id_that_is_a_uuid() -> None:
    """Everything that is wrong with it is named at once; what is right is taken as it is."""
    new = validation.new_campaign(
        pb.CreateCampaignRequest(request_id=_UUID.upper(), labels={"b": "2", "a": ""})
    )
    assert (new.campaign_id, new.request_id, list(new.labels)) == ("", _UUID, ["a", "b"])
    wrong = pb.CreateCampaignRequest(
        campaign_id="-",
        display_name="x" * 201,
        channel="x" * 65,
        request_id="r-1",
        labels={"": "x", "key": "x" * 64},
    )
    assert set(violations(lambda: validation.new_campaign(wrong))) == {
        "campaign_id",
        "display_name",
        "channel",
        "request_id",
        "labels['']",
        "labels['key']",
    }
    many = pb.CreateCampaignRequest(labels={str(number): "" for number in range(33)})
    assert set(violations(lambda: validation.new_campaign(many))) == {"labels"}


def start(**fields: Any) -> StartOrder:
    """Return how a request wants a campaign to be started."""
    return validation.start_order(pb.StartCampaignRequest(campaign_id="a", **fields))[1]


def test_a_total_is_required_and_bounded() -> None:
    """Absent is refused; 0 is a campaign of nobody; the most is 2**53."""
    assert start(total=0) == StartOrder(0)
    assert start(total=2**53) == StartOrder(2**53)
    for wrong in ({}, {"total": -1}, {"total": 2**53 + 1}):
        assert set(violations(lambda: start(**wrong))) == {"total"}  # noqa: B023
    assert "required" in violations(start)["total"]


def test_an_expected_revision_is_not_negative() -> None:
    """0 is any; the largest is that of its field."""
    assert start(total=1, revision=2**63 - 1).revision == 2**63 - 1
    assert set(violations(lambda: start(total=1, revision=-1))) == {"revision"}
    for kind in (
        pb.PauseCampaignRequest,
        pb.ResumeCampaignRequest,
        pb.CancelCampaignRequest,
        pb.MarkCompleteRequest,
    ):
        request = kind(campaign_id="a", revision=-1)
        assert set(violations(lambda: validation.change(request))) == {"revision"}  # noqa: B023


def test_a_time_and_now_exclude_each_other() -> None:
    """Both fields are named."""
    stamp = Timestamp(seconds=1)
    assert start(total=1, start_time=stamp).start_time == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert start(total=1, start_now=True, revision=7) == StartOrder(1, None, True, 7)  # noqa: FBT003
    both = violations(lambda: start(total=1, start_time=stamp, start_now=True))
    assert set(both) == {"start_time", "start_now"}


def test_pages_have_a_default_and_a_largest_size() -> None:
    """0 is the default, too much is the most, less than nothing is refused."""

    def size(given_size: int) -> int:
        request = pb.ListTransitionsRequest(campaign_id="a", page_size=given_size)
        return validation.page(request, default=50)[1].size

    assert [size(number) for number in (0, 1, 1_000, 1_001)] == [50, 1, 1_000, 1_000]
    assert set(violations(lambda: size(-1))) == {"page_size"}


def test_states_outcomes_and_orders_are_those_of_the_contract() -> None:
    """Each number of the contract is taken for what it names; 0 and others are refused."""
    for state in State:
        number = pb.Campaign.State.Value(state.value)
        requested = validation.campaign_list(pb.ListCampaignsRequest(states=[number]))
        assert requested.states == [state]
        assert messages.to_state(state) == number
    wrong = pb.ListCampaignsRequest(states=[3, 0, 7], order=3)
    assert set(violations(lambda: validation.campaign_list(wrong))) == {
        "states[1]",
        "states[2]",
        "order",
    }
    stuck = [
        validation.campaign_list(pb.ListCampaignsRequest(order=order)).stuck_first
        for order in pb.ListCampaignsRequest.Order.values()
    ]
    assert stuck == [False, False, True]
    taken = validation.result_page(pb.ListResultsRequest(campaign_id="a", outcomes=[1, 4]))
    assert taken[2] == [1, 4]
    wrong_outcomes = pb.ListResultsRequest(outcomes=[0, 5])
    assert set(violations(lambda: validation.result_page(wrong_outcomes))) == {
        "campaign_id",
        "outcomes[0]",
        "outcomes[1]",
    }


def test_a_threshold_is_positive_and_finite() -> None:
    """A duration of more than nothing that a clock can add."""

    def threshold(given_threshold: Duration) -> timedelta | None:
        request = pb.RepairCampaignsRequest(stall_threshold=given_threshold)
        return validation.repair(request).stall_threshold

    assert threshold(Duration(nanos=1_000)) == timedelta(microseconds=1)
    assert validation.repair(pb.RepairCampaignsRequest()) == ("", None)
    for wrong in (Duration(), Duration(seconds=-1), Duration(seconds=2**62)):
        assert set(violations(lambda: threshold(wrong))) == {"stall_threshold"}  # noqa: B023


def test_force_needs_a_reason() -> None:
    """Blanks are none; without force none is needed."""
    request = pb.MarkCompleteRequest(campaign_id="a", reason=" ", revision=3)
    assert validation.change(request, needs_reason=False) == ("a", " ", 3)
    assert set(violations(lambda: validation.change(request, needs_reason=True))) == {"reason"}


@pytest.mark.parametrize(
    "stamp",
    [
        *(
            Timestamp(seconds=seconds)
            for seconds in (253_402_300_800, -62_135_596_801, 2**62, -(2**62))
        ),
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
    ],
    ids=str,
)
def test_a_time_outside_the_calendar_is_refused(stamp: Timestamp) -> None:
    """Both as start_time and as finish_time."""
    assert set(violations(lambda: start(total=1, start_time=stamp))) == {"start_time"}
    wrong = [pb.Result(sequence=1, outcome=4), pb.Result(sequence=2, outcome=4, finish_time=stamp)]
    assert set(violations(lambda: frame(*wrong))) == {"results[1].finish_time"}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 123_456, tzinfo=UTC),
    ],
)
def test_a_time_of_the_calendar_is_taken(moment: datetime) -> None:
    """To the microsecond, at both ends and before 1970."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    assert start(total=1, start_time=stamp).start_time == moment
    (row,) = frame(pb.Result(sequence=1, outcome=4, finish_time=stamp)).rows()
    assert row[-1] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"outcome": 0}, "outcome"),
        ({"outcome": 5}, "outcome"),
        ({"outcome": 4, "attempt": -1}, "attempt"),
        ({"outcome": 4, "code": "x" * 65}, "code"),
        ({"outcome": 4, "detail": "x" * 501}, "detail"),
        ({"outcome": 4, "provider_message_id": "x" * 256}, "provider_message_id"),
        ({"outcome": 4, "code": "\x00"}, "code"),
    ],
)
def test_a_wrong_result_is_named_with_its_place(fields: dict[str, Any], field: str) -> None:
    """The violation says which result it is, of which campaign, and which field."""
    rows = [pb.Result(sequence=1, outcome=4), pb.Result(sequence=2, **fields)]
    assert set(violations(lambda: frame(*rows))) == {f"results[1].{field}"}
    batch = batch_of(("a", rows[:1]), ("b", rows))
    assert set(violations(lambda: validation.batch(batch))) == {f"campaigns[1].results[1].{field}"}


def test_all_that_is_wrong_with_a_frame_is_named_at_once() -> None:
    """Its campaign, its reporter and each field of its results."""
    wrong = pb.ReportResultsRequest(
        campaign_id="-",
        reporter="x" * 129,
        results=[pb.Result(attempt=-1), pb.Result(outcome=4, code="x" * 65, detail="\x00")],
    )
    assert set(violations(lambda: validation.frame(wrong))) == {
        "campaign_id",
        "reporter",
        "results[0].outcome",
        "results[0].attempt",
        "results[1].code",
        "results[1].detail",
    }


def test_an_answer_names_so_many_fields_and_counts_the_others() -> None:
    """It goes into headers, which are bounded."""
    with pytest.raises(InvalidRequestError) as caught:
        frame(*[pb.Result()] * 1_000)
    assert len(caught.value.fields) == MOST_VIOLATIONS
    assert caught.value.message.endswith(f"; and {1_000 - MOST_VIOLATIONS} more")


def test_a_frame_has_at_most_a_thousand_results() -> None:
    """1,000 are taken, 1,001 are refused, and so it is with a call."""
    rows = [pb.Result(sequence=1, outcome=4)] * 1_001
    assert frame(*rows[:1_000]).size == 1_000
    assert set(violations(lambda: frame(*rows))) == {"results"}
    assert len(validation.batch(batch_of(("a", rows[:500]), ("b", rows[:500]))).campaigns) == 2
    too_many = batch_of(("a", rows[:500]), ("b", rows[:501]))
    assert set(violations(lambda: validation.batch(too_many))) == {"campaigns"}


def batch_of(*campaigns: tuple[str, list[pb.Result]]) -> pb.BatchReportResultsRequest:
    """Return a request with results of campaigns."""
    return pb.BatchReportResultsRequest(
        campaigns=[pb.CampaignResults(campaign_id=name, results=rows) for name, rows in campaigns]
    )


def test_a_call_has_one_to_a_hundred_campaigns_each_once() -> None:
    """None and 101 are refused as a whole; an id that comes again, or is none, at its place."""
    assert len(validation.batch(batch_of(*((str(n), []) for n in range(100)))).campaigns) == 100
    for wrong in (batch_of(), batch_of(*((str(n), []) for n in range(101)))):
        assert set(violations(lambda: validation.batch(wrong))) == {"campaigns"}  # noqa: B023
    request = batch_of(("a", []), ("b", []), ("a", []), ("-", []))
    request.reporter = "\x00"
    assert set(violations(lambda: validation.batch(request))) == {
        "campaigns[2]",
        "campaigns[3].campaign_id",
        "reporter",
    }


@given(
    sequence=st.integers(-(2**63), 2**63 - 1),
    outcome=st.integers(1, 4),
    attempt=st.integers(0, 2**31 - 1),
    texts=st.tuples(
        *[st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=64)] * 3
    ),
)
def test_a_result_goes_into_a_row_field_by_field(
    sequence: int, outcome: int, attempt: int, texts: tuple[str, str, str]
) -> None:
    """Nothing of a result is lost or altered on its way to the ledger."""
    code, detail, message_id = texts
    result = pb.Result(
        sequence=sequence,
        outcome=outcome,
        attempt=attempt,
        code=code,
        detail=detail,
        provider_message_id=message_id,
    )
    (row,) = frame(result).rows()
    assert row == (sequence, outcome, attempt, code, detail, message_id, None)
