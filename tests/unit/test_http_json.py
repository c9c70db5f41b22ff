"""Requests of HTTP as messages: JSON, query parameters, ETags; and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from closeout.status.v1 import access_pb2, status_pb2
from service_runtime.errors import InvalidRequestError
from status_service.http_api.conditions import etag_of, expected_revision, is_known
from status_service.http_api.json_form import MOST_VALUES, read_object, to_json, to_message
from status_service.http_api.query import message_of_query

BATCH = status_pb2.BatchReportResultsRequest.DESCRIPTOR
LIST = status_pb2.ListCampaignsRequest.DESCRIPTOR
REPAIR = status_pb2.RepairCampaignsRequest.DESCRIPTOR
START = status_pb2.StartCampaignRequest.DESCRIPTOR


def wrong(body: bytes, descriptor: Any = BATCH) -> dict[str, str]:
    """Return what is wrong with a body, by field."""
    with pytest.raises(InvalidRequestError) as caught:
        to_message(read_object(body), descriptor)
    return caught.value.fields


def wrong_query(query: str, descriptor: Any = LIST) -> dict[str, str]:
    """Return what is wrong with query parameters, by name."""
    with pytest.raises(InvalidRequestError) as caught:
        message_of_query(query.encode(), descriptor)
    return caught.value.fields


def queried(query: str, descriptor: Any = LIST) -> Message:
    """Return the message that query parameters are."""
    return message_of_query(query.encode(), descriptor)


def test_both_names_of_a_field_and_all_forms_of_its_value_are_taken() -> None:
    """Names of the contract and lowerCamelCase; numbers as texts; enums by name and number."""
    expected = status_pb2.BatchReportResultsRequest(
        campaigns=[
            status_pb2.CampaignResults(
                campaign_id="a",
                results=[
                    status_pb2.Result(sequence=1, outcome=status_pb2.Result.SENT),
                    status_pb2.Result(sequence=2, outcome=status_pb2.Result.FAILED),
                ],
            )
        ]
    )
    for campaign_id in ("campaign_id", "campaignId"):
        results = [{"sequence": 1, "outcome": "SENT"}, {"sequence": "2", "outcome": 3}]
        form = {"campaigns": [{campaign_id: "a", "results": results}]}
        assert to_message(read_object(json.dumps(form).encode()), BATCH) == expected


def test_an_empty_body_is_an_empty_request() -> None:
    """A call without anything to say needs no body."""
    assert to_message(read_object(b" \n"), REPAIR) == status_pb2.RepairCampaignsRequest()


def test_an_answer_has_every_field_but_absent_ones() -> None:
    """Zeros, false and empty lists are there; what is absent in the message is absent."""
    answer = json.loads(to_json(status_pb2.Campaign(campaign_id="ä", sent=2**53 + 1)))
    assert answer["campaignId"] == "ä"
    assert answer["sent"] == "9007199254740993"
    assert (answer["failed"], answer["sealed"], answer["problems"]) == ("0", False, [])
    assert answer["state"] == "STATE_UNSPECIFIED"
    assert not {"total", "pending", "createTime"} & set(answer)


def test_an_enum_that_is_not_known_is_shown_as_its_number() -> None:
    """Enums are open."""
    assert b'"state":99' in to_json(status_pb2.Campaign(state=99))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", "line 1, column 2"),
        (b'{\n  "a": 1 "b"}', "line 2, column"),
        (b'{"a": \xff}', "byte 6"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b"[]", "expected a JSON object"),
        (b"1" * 10_000, "no JSON that is taken"),
        (b"[" * 20_000, "no JSON that is taken"),
        (b'{"campaigns":' * 5_000, "no JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(body: bytes, place: str) -> None:
    """Whoever wrote it by hand finds the mistake."""
    fields = wrong(body)
    assert list(fields) == ["body"]
    assert place in fields["body"]


@pytest.mark.parametrize(
    ("form", "field", "problem"),
    [
        ({"x": 1}, "x", "unknown field"),
        ({"campaigns": {}}, "campaigns", "expected an array"),
        ({"campaigns": [1]}, "campaigns[0]", "expected an object"),
        ({"campaigns": [{}, {"a": 1}]}, "campaigns[1].a", "unknown field"),
        (
            {"campaigns": [{"results": [{"sequence": "x"}]}]},
            "campaigns[0].results[0].sequence",
            "x",
        ),
        (
            {"campaigns": [{"results": [{"outcome": "LOST"}]}]},
            "campaigns[0].results[0].outcome",
            "LOST",
        ),
        (
            {"campaigns": [{"results": [{"finishTime": "now"}]}]},
            "campaigns[0].results[0].finish_time",
            "timezone",
        ),
        ({"reporter": 1}, "reporter", "expected string"),
        ({"reporter": "\ud800"}, "reporter", "surrogate"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(form: dict[str, Any], field: str, problem: str) -> None:
    """The path is that of the contract, wherever the field stands."""
    fields = wrong(json.dumps(form).encode())
    assert list(fields) == [field]
    assert problem in fields[field]


def test_all_wrong_fields_are_named_at_once() -> None:
    """One answer says everything, up to twenty fields and the number of the others."""
    assert list(wrong(b'{"total": "x", "revision": 1.5, "later": 1}', START)) == [
        "total",
        "revision",
        "later",
    ]
    many = json.dumps({f"f{number}": 1 for number in range(50)}).encode()
    with pytest.raises(InvalidRequestError, match="and 30 more") as caught:
        to_message(read_object(many), START)
    assert len(caught.value.fields) == 20


_names = st.sampled_from(
    ["campaigns", "campaignId", "results", "sequence", "outcome", "finish_time", "problems", "x"]
) | st.text(max_size=5)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)


@given(form=st.dictionaries(_names, _values, max_size=4))
def test_any_object_is_a_message_or_refused(form: dict[str, Any]) -> None:
    """Nothing that JSON can say is an unexpected failure."""
    try:
        message = to_message(form, BATCH)
    except InvalidRequestError as error:
        assert error.fields  # noqa: PT017 - both are right
    else:
        assert to_message(json.loads(to_json(message)), BATCH) == message


def test_query_parameters_are_fields() -> None:
    """Repeated fields, enums by name and number, entries of maps, escaped texts."""
    query = "states=SENDING&states=4&order=STUCK_FIRST&pageSize=7&labels[team]=a%26b&labels[x.y]="
    assert queried(query) == status_pb2.ListCampaignsRequest(
        states=[status_pb2.Campaign.SENDING, status_pb2.Campaign.PAUSED],
        order=status_pb2.ListCampaignsRequest.STUCK_FIRST,
        page_size=7,
        labels={"team": "a&b", "x.y": ""},
    )
    assert queried("") == status_pb2.ListCampaignsRequest()


def test_query_parameters_have_times_booleans_and_fields_within() -> None:
    """Durations and times are as in JSON; a point leads into a message."""
    asked = queried("stall_threshold=300s&dryRun=true", REPAIR)
    expected = status_pb2.RepairCampaignsRequest(dry_run=True)
    expected.stall_threshold.FromSeconds(300)
    assert asked == expected
    timed = queried("start_time=2030-01-02T03:04:05Z&total=9007199254740993", START)
    assert timed.start_time.ToJsonString() == "2030-01-02T03:04:05Z"  # type: ignore[attr-defined]
    within = queried("campaign.campaign_id=x", status_pb2.GetCampaignResponse.DESCRIPTOR)
    assert within == status_pb2.GetCampaignResponse(campaign=status_pb2.Campaign(campaign_id="x"))


@pytest.mark.parametrize(
    ("query", "name", "problem"),
    [
        ("foo=1", "foo", "unknown parameter"),
        ("page_size.x=1", "page_size.x", "unknown parameter"),
        ("states[0]=SENDING", "states[0]", "unknown parameter"),
        ("labels[a=1", "labels[a", "unknown parameter"),
        ("labels=a", "labels", "expected labels[KEY]=VALUE"),
        ("labels[a]=1&labels[a]=1", "labels[a]", "given twice"),
        ("pageSize=1&page_size=1", "page_size", "given twice"),
        ("pageSize=x", "page_size", "x"),
        ("pageSize=", "page_size", ""),
        ("pageSize=99999999999", "page_size", "99999999999"),
        ("states=GONE", "states[0]", "GONE"),
        ("page_token=%FF", "query", "UTF-8"),
        ("&".join(["states=SENDING"] * 1_001), "query", "1,000 parameters"),
    ],
)
def test_a_wrong_parameter_is_named(query: str, name: str, problem: str) -> None:
    """Nothing that was asked for is ignored."""
    fields = wrong_query(query)
    assert list(fields) == [name]
    assert problem in fields[name]


def test_all_wrong_parameters_are_named_at_once() -> None:
    """Unknown ones and those with a wrong value."""
    assert list(wrong_query("foo=1&page_size=x&states=GONE")) == ["foo", "page_size", "states[0]"]


def test_booleans_and_messages_of_a_query_have_one_form() -> None:
    """Anything but true and false is a mistake, as is a message without a field in it."""
    assert wrong_query("dry_run=1", REPAIR) == {"dry_run": "expected true or false"}
    answer = status_pb2.GetCampaignResponse.DESCRIPTOR
    assert wrong_query("campaign=x", answer) == {
        "campaign": "not for a query: name a field within it"
    }


def test_a_key_in_a_url_is_refused() -> None:
    """URLs stand in logs and histories."""
    caller = access_pb2.GetCallerRequest.DESCRIPTOR
    assert "never stands in a URL" in wrong_query("authorization=Bearer+x", caller)["authorization"]
    for name in ("api_key", "access_token", "KEY"):
        assert "never stands in a URL" in wrong_query(f"{name}=closeout_x", REPAIR)[name]


@pytest.mark.parametrize(
    ("tag", "revision"), [("", 0), ("*", 0), ('"1"', 1), ('"9223372036854775807"', 2**63 - 1)]
)
def test_an_etag_is_a_revision(tag: str, revision: int) -> None:
    """If-Match takes what ETag had; `*` is no condition, since absent campaigns are NOT_FOUND."""
    assert expected_revision(tag, START) == revision


@pytest.mark.parametrize(
    "tag", ["1", 'W/"1"', '"1", "2"', '"x"', '"0"', '"-1"', '""', '"99999999999999999999"']
)
def test_a_tag_that_no_answer_had_is_refused(tag: str) -> None:
    """A weak tag would match nothing, and a list is no revision: both are mistakes."""
    with pytest.raises(InvalidRequestError, match="If-Match"):
        expected_revision(tag, START)


def test_a_condition_of_a_call_that_takes_none_is_refused() -> None:
    """Nobody believes in a condition that is not checked."""
    with pytest.raises(InvalidRequestError, match="takes no condition"):
        expected_revision('"1"', BATCH)


def test_only_answers_with_one_campaign_have_an_etag() -> None:
    """It is the campaign's revision."""
    campaign = status_pb2.Campaign(revision=12)
    assert etag_of(status_pb2.GetCampaignResponse(campaign=campaign)) == '"12"'
    assert etag_of(status_pb2.ListCampaignsResponse(campaigns=[campaign])) == ""
    assert etag_of(access_pb2.GetCallerResponse()) == ""


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("", False),
        ('"12"', True),
        ('W/"12"', True),
        ('"1", W/"12"', True),
        ("*", True),
        ('"1"', False),
        ("12", False),
    ],
)
def test_a_reader_s_tags_are_compared(header: str, known: bool) -> None:  # noqa: FBT001 - a case
    """If-None-Match compares weakly, as HTTP has it."""
    assert is_known(header, '"12"') == known


@pytest.mark.parametrize(
    "form",
    [
        b'{"campaigns":[' + b"{}," * MOST_VALUES + b"{}]}",
        b'{"campaigns":' + b"[" * MOST_VALUES + b"]" * MOST_VALUES + b",1}",
        b'{"a":[' + b'"",' * MOST_VALUES + b'""]}',
        b'{"a"' + b'"\\"","' * 3 * MOST_VALUES + b"}",
        b"{" + b",".join(b'"%d":0' % number for number in range(MOST_VALUES)) + b',"0":0}',
    ],
    ids=["objects", "depth", "texts", "quotes", "names"],
)
def test_more_values_than_a_call_takes_are_refused_before_they_are_read(form: bytes) -> None:
    """4 MiB of small values took many seconds, and of names with one twice minutes."""
    assert wrong(form) == {"body": f"more than {MOST_VALUES:,} values; send fewer results at once"}


def test_a_full_batch_with_texts_full_of_commas_is_taken() -> None:
    """What stands in a text is no value."""
    result = {"sequence": 1, "outcome": "FAILED", "code": "5", "detail": '{["\\,' * 40}
    form = {"campaigns": [{"campaignId": "c", "results": [result] * 1_000}]}
    body = json.dumps(form).encode()
    assert body.count(b",") > MOST_VALUES
    assert to_message(read_object(body), BATCH) == json_format.ParseDict(
        form, status_pb2.BatchReportResultsRequest()
    )


def test_a_revision_of_more_than_64_bits_is_no_tag() -> None:
    """It is the caller's mistake."""
    assert expected_revision('"9223372036854775807"', START) == 2**63 - 1
    for tag in ('"9223372036854775808"', '"9999999999999999999"'):
        with pytest.raises(InvalidRequestError, match="If-Match"):
            expected_revision(tag, START)
