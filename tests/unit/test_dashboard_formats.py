"""How pages show numbers, times and foreign words, in tables of cases."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from status_service.dashboard import formats

RELATIVE_TIMES = json.loads((Path(__file__).parent / "relative_times.json").read_text())
MOMENT = datetime(2026, 11, 25, 8, 59, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1_000_000, "1,000,000"), (None, "")]
)
def test_a_whole_number_has_commas_and_is_never_shortened(count: int | None, text: str) -> None:
    """A number is shown whole; what is unknown is an empty text."""
    assert formats.whole(count) == text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (4_561, 12_050, "4,561\u202f\u2013\u202f12,050"),
        (7, 7, "7"),
        (1, 2, "1\u202f\u2013\u202f2"),
    ],
)
def test_a_range_does_not_break(first: int, last: int, text: str) -> None:
    """A range has narrow spaces that don't break; of one number it is that number."""
    assert formats.number_range(first, last) == text


@pytest.mark.parametrize(
    ("processed", "total", "text"),
    [
        (0, 48_200, "0%"),
        (18_240, 48_200, "37.8%"),
        (1, 1_000_000, "0%"),
        (999_999, 1_000_000, "99.9%"),
        (1_000_000, 1_000_000, "100%"),
        (0, 0, "100%"),
        (5, None, ""),
        (500, 1_000, "50.0%"),
    ],
)
def test_the_share_of_results_is_rounded_down(processed: int, total: int | None, text: str) -> None:
    """Nothing looks finished that is not."""
    assert formats.share_of_results(processed, total) == text


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [
        (0, 48_200, "0%"),
        (18_097, 48_200, "37.5%"),
        (143, 48_200, "0.3%"),
        (29_960, 48_200, "62.2%"),
        (12, 1_000_000, "<0.1%"),
        (1, 2_000, "0.1%"),
        (1, 2_001, "<0.1%"),
        (999_999, 1_000_000, "99.9%"),
        (7, 7, "100%"),
        (0, 0, ""),
        (0, None, ""),
    ],
)
def test_the_share_of_an_outcome_hides_no_message(count: int, total: int | None, text: str) -> None:
    """A share is rounded, but something is never 0% and less than all never 100%."""
    assert formats.share_of_outcome(count, total) == text


@given(st.integers(1, 2**53).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_says_all_or_nothing_only_where_it_is_so(case: tuple[int, int]) -> None:
    """100% is all and 0% none, for every number there can be."""
    count, total = case
    assert (formats.share_of_outcome(count, total) == "100%") == (count == total)
    assert (formats.share_of_outcome(count, total) == "0%") == (count == 0)
    assert (formats.share_of_results(count, total) == "100%") == (count == total)


@pytest.mark.parametrize("case", RELATIVE_TIMES, ids=lambda case: case["text"])
def test_a_relative_time_is_the_one_of_the_table(case: dict[str, str]) -> None:
    """The table that the script of the pages has to pass as well."""
    moment, now = (datetime.fromisoformat(case[name]) for name in ("moment", "now"))
    assert formats.relative(moment, now) == case["text"]


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(milliseconds=999), "less than 1 s"),
        (timedelta(seconds=-5), "less than 1 s"),
        (timedelta(seconds=1), "1 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(seconds=72), "1 min 12 s"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=1, seconds=59), "1 h"),
        (timedelta(hours=21, minutes=4, seconds=9), "21 h 4 min"),
        (timedelta(days=2, hours=4, minutes=59), "2 d 4 h"),
        (timedelta(days=1_200), "1,200 d"),
    ],
)
def test_a_span_has_its_two_largest_units(length: timedelta, text: str) -> None:
    """A span has two units, and nothing smaller than a second."""
    assert formats.span(length) == text


@pytest.mark.parametrize(
    ("per_minute", "text"),
    [
        (6_940.2, "6,940/min"),
        (1.0, "1/min"),
        (0.2, "12/h"),
        (0.001, "<1/h"),
        (0.0, "0/min"),
        (None, ""),
    ],
)
def test_a_rate_is_of_a_minute_or_an_hour(per_minute: float | None, text: str) -> None:
    """A slow rate is one of an hour, so that it is no fraction."""
    assert formats.rate(per_minute) == text


def test_a_time_is_utc_with_the_month_as_a_word() -> None:
    """Every absolute time is UTC, whatever zone it comes in."""
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))
    for moment in (MOMENT, elsewhere):
        assert formats.when(moment) == "25 Nov 2026, 08:59:12 UTC"
        assert formats.day(moment) == "25 Nov 2026"
        assert formats.clock(moment) == "08:59 UTC"
        assert formats.machine(moment) == "2026-11-25T08:59:12Z"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "no"), (1, "one"), (2, "two"), (12, "twelve"), (1_300, "1,300")]
)
def test_a_number_to_twelve_is_a_word(count: int, text: str) -> None:
    """Headings have small numbers in words."""
    assert formats.in_words(count) == text
    assert formats.in_words(count, capital=True) == text.capitalize()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 messages"), (1, "1 message"), (2_000, "2,000 messages")]
)
def test_a_count_agrees_with_its_noun(count: int, text: str) -> None:
    """One is singular, all else plural."""
    assert formats.counted(count, "message") == text


def test_a_verb_agrees_with_its_count() -> None:
    """The form for many can be given."""
    assert formats.plural(1, "has", "have") == "has"
    assert formats.plural(0, "has", "have") == "have"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Autumn renewal notice", "Autumn renewal notice"),
        ("Überraschung 日本語 مرحبا 👩\u200d🚀", "Überraschung 日本語 مرحبا 👩\u200d🚀"),
        ("two\r\nlines\tand a tab", "two lines and a tab"),
        ("bell\x07, escape\x1b[31m, \x9b", "bell�, escape�[31m, �"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("\u2066a\u2069\u200f\u061c", "�a���"),
        ("line\u2028paragraph\u2029", "line�paragraph�"),
        ('"><img src=x onerror=alert(1)>', '"><img src=x onerror=alert(1)>'),
    ],
)
def test_foreign_words_cant_disturb_what_stands_around_them(text: str, shown: str) -> None:
    """What controls a terminal or a direction is shown as a mark; templates escape the rest."""
    assert formats.clean(text) == shown


@given(st.text())
def test_cleaned_words_control_nothing(text: str) -> None:
    """No text keeps a control character, and a second time changes nothing."""
    cleaned = formats.clean(text)
    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in cleaned)
    assert formats.clean(cleaned) == cleaned
