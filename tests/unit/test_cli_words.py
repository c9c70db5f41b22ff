"""How the command writes numbers, times, states, JSON and log lines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import duration_pb2, timestamp_pb2

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen, words
from closeout_cli.log_lines import for_terminal, readable
from closeout_cli.result_lines import range_text, safe_cell


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (59, "59s"), (60, "1m 0s"), (3_725, "1h 2m"), (200_000, "2d 7h")],
)
def test_a_span_has_its_two_largest_units(seconds: int, text: str) -> None:
    """Nobody reads seconds beside days; a clock that is behind shows no negative span."""
    assert words.span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 10, "0.0%"), (1, 3, "33.3%"), (1999, 2000, "99.9%"), (10, 10, "100.0%"), (0, 0, "100.0%")],
)
def test_a_percentage_is_never_rounded_up_to_the_whole(part: int, whole: int, text: str) -> None:
    """100% means that nothing is missing."""
    assert words.percent(part, whole) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), (" 2H ", 7200), ("1d", 86400)]
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: int) -> None:
    """What people type is understood."""
    assert words.parse_span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "m", "-5s", "5 weeks", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The message shows what a duration looks like."""
    with pytest.raises(ValueError, match="as in 90s, 5m, 2h or 1d"):
        words.parse_span(text)


@pytest.fixture
def in_kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine be in a zone that is not UTC."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_kathmandu")
def test_a_time_without_a_zone_is_local() -> None:
    """A time with a zone is that moment; one without is of this machine's zone."""
    assert words.parse_time("2030-01-31T09:00+02:00") == datetime(2030, 1, 31, 7, tzinfo=UTC)
    assert words.parse_time("2030-01-31T09:00") == datetime(2030, 1, 31, 3, 15, tzinfo=UTC)
    with pytest.raises(ValueError, match="is not a time, as in"):
        words.parse_time("tomorrow")


def test_a_state_of_a_newer_service_is_a_number() -> None:
    """A client that is older than the service shows what it does not know."""
    assert words.state_name(pb.Campaign(state=pb.Campaign.SENDING)) == "SENDING"
    assert words.enum_name(pb.Campaign.State, 99) == "99"


def test_processed_is_a_dash_before_the_seal() -> None:
    """Nobody knows of how many before the total is sealed."""
    assert words.processed(pb.Campaign()) == "-"
    campaign = pb.Campaign(sealed=True, total=4000, processed=1000)
    assert words.processed(campaign) == "1,000 of 4,000 (25.0%)"


def test_json_has_numbers_and_the_order_of_the_contract() -> None:
    """Counts are numbers at every depth, names and order those of the contract."""
    answer = pb.ExplainCampaignResponse(
        diagnosis=pb.CampaignDiagnosis(
            campaign=pb.Campaign(campaign_id="c", state=pb.Campaign.SENDING, total=2**40),
            idle_duration=duration_pb2.Duration(seconds=2),
        ),
        missing_ranges=[pb.SequenceRange(first=1, last=2)],
    )
    plain = screen.as_dict(answer)
    assert plain["diagnosis"]["campaign"]["total"] == 2**40
    assert plain["diagnosis"]["campaign"]["state"] == "SENDING"
    assert plain["diagnosis"]["campaign"]["sent"] == 0
    assert plain["diagnosis"]["idle_duration"] == "2s"
    assert plain["missing_ranges"] == [{"first": 1, "last": 2}]
    assert list(plain) == ["diagnosis", "missing_ranges", "more_missing_ranges", "explanation"]
    labelled = screen.as_dict(pb.Campaign(labels={"tenant": "a", "list": "news"}))
    assert list(labelled["labels"].items()) == [("list", "news"), ("tenant", "a")]
    assert list(screen.as_dict(pb.Campaign()))[:2] == ["campaign_id", "display_name"]
    assert "create_time" not in screen.as_dict(pb.Campaign())


def test_a_time_in_json_is_text() -> None:
    """Times are RFC 3339, as protobuf writes them."""
    campaign = pb.Campaign(create_time=timestamp_pb2.Timestamp(seconds=0))
    assert screen.as_dict(campaign)["create_time"] == "1970-01-01T00:00:00Z"


def test_a_name_can_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """What users wrote is one line without control codes, and no markup in a table."""
    screen.line("a\x1b[2Jb\nc\td")
    assert capsys.readouterr().out == "a [2Jb c d\n"
    assert screen.plain("[red]x\x07") == "\\[red]x "


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\nx", "'\nx"),
        ("550 no", "550 no"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    """A spreadsheet shows what a provider said, and does not run it."""
    assert safe_cell(text) == cell


def test_a_range_of_one_is_a_number() -> None:
    """Ranges read as people write them."""
    assert range_text(pb.SequenceRange(first=3, last=3)) == "3"
    assert range_text(pb.SequenceRange(first=3, last=5)) == "3-5"


def test_a_json_log_line_becomes_readable() -> None:
    """Time, level, service and event come first, then what belongs to the event."""
    entry = {
        "campaign_id": "c",
        "event": "serving",
        "level": "info",
        "service": "status",
        "timestamp": "2030-01-01T12:34:56.7Z",
    }
    assert readable(json.dumps(entry)) == "12:34:56 info    status serving campaign_id=c"


def test_a_stack_in_a_log_line_is_shown() -> None:
    """The frames and the exception stand below the line."""
    frame = {"filename": "x.py", "lineno": 3, "name": "f"}
    stack = [{"exc_type": "ValueError", "exc_value": "no", "frames": [frame]}]
    lines = readable(json.dumps({"event": "failed", "exception": stack})).splitlines()
    assert lines[1:] == ["  x.py:3 in f", "  ValueError: no"]
    assert readable(json.dumps({"event": "e", "exception": "a\nb"})).splitlines()[1:] == [
        "  a",
        "  b",
    ]


@pytest.mark.parametrize("line", ["plain text", "{broken", "[1]", "3"])
def test_other_log_lines_stay_as_they_are(line: str) -> None:
    """What is not a JSON object is shown as it came."""
    assert readable(line) == line


def test_a_problem_is_one_line() -> None:
    """What it is, the other side's words, the setting, and whether it needs a person."""
    problem = pb.Problem(summary="the mail server refuses the login")
    assert words.problem_text(problem) == "the mail server refuses the login"
    problem.detail, problem.setting = "535 failed", "[smtp] password"
    problem.needs_attention = True
    assert words.problem_text(problem) == (
        "the mail server refuses the login: 535 failed (setting [smtp] password);"
        " it needs attention"
    )


def test_a_label_has_a_key_and_a_value() -> None:
    """The value may be empty, and may have an = in it."""
    assert words.parse_label("list=a=b") == ("list", "a=b")
    assert words.parse_label("list=") == ("list", "")
    for text in ("list", "=a", ""):
        with pytest.raises(ValueError, match="as in list=newsletter"):
            words.parse_label(text)


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"event": "serving", "level": "info"}, False),
        ({"event": "stopped", "level": "info"}, False),
        ({"event": "readiness_changed", "level": "info", "serving": True}, False),
        ({"event": "readiness_changed", "level": "warning", "serving": False}, True),
        ({"event": "database_migrated", "level": "info", "version_before": "empty"}, False),
        ({"event": "database_migrated", "level": "info", "version_before": "0001"}, True),
        ({"event": "batch_sent", "level": "info"}, True),
    ],
)
def test_a_terminal_shows_no_line_that_says_only_that_all_goes_well(
    entry: dict[str, object], *, shown: bool
) -> None:
    """Start and stop are reported by the command; a line that is not JSON stays."""
    assert bool(for_terminal(json.dumps(entry))) is shown
    assert for_terminal("plain words") == "plain words"


def test_a_repair_says_once_what_was_done() -> None:
    """The action of a repaired campaign has the numbers; a dry run says what is to be done."""
    diagnosis = pb.CampaignDiagnosis(
        campaign=pb.Campaign(state=pb.Campaign.COMPLETED),
        repaired=True,
        explanation="Completed now. Every one of 2 messages has a result.",
        action="Completed: all 2 messages have a result.",
    )
    assert words.sentence(diagnosis) == diagnosis.action
    diagnosis.campaign.state = pb.Campaign.SENDING
    diagnosis.action = "Fix completes it."
    assert words.sentence(diagnosis).endswith("has a result. Fix completes it.")
