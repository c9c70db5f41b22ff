"""The forms in which PostgreSQL takes whole columns."""

from __future__ import annotations

from status_service.recording.result_columns import (
    NO_RESULTS,
    ResultColumns,
    array,
    integers,
    texts,
)


def test_integers_and_their_absence() -> None:
    """None becomes NULL, whatever stands beside it."""
    assert array([integers([1, None, -3])]) == "{1,NULL,-3}"
    assert array([integers([7, 7])]) == "{7,7}"
    assert array([integers([7, 7, 8])]) == "{7,7,8}"


def test_texts_are_quoted_whatever_they_hold() -> None:
    """Quotes and backslashes are escaped; NULL, braces and commas are text like any other."""
    quoted = array([texts(['a"b', "c\\d", "{e,f}"]), texts(["", "NULL"])])
    assert quoted == '{"a\\"b","c\\\\d","{e,f}","","NULL"}'


def test_lines_have_a_result_each() -> None:
    """A line ends where a result does; what a text has of line ends and tabs is escaped."""
    rows = [(1, 4, 1, "250", "a\nb\tc", "d\\e\r", None), (2, 4, 1, "250", "", "\\N", -5)]
    assert ResultColumns.of(rows).lines == (
        "1\t4\t1\t250\ta\\nb\\tc\td\\\\e\\r\t\\N\n2\t4\t1\t250\t\t\\\\N\t-5"
    )
    assert ResultColumns.of(rows[:1]).lines.endswith("\t\\N")
    assert not NO_RESULTS.lines
