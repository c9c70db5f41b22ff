"""The literals by which PostgreSQL takes whole columns."""

from __future__ import annotations

from status_service.recording.result_columns import array, integers, texts


def test_integers_and_their_absence() -> None:
    """None becomes NULL, whatever stands beside it."""
    assert array([integers([1, None, -3])]) == "{1,NULL,-3}"
    assert array([integers([7, 7])]) == "{7,7}"
    assert array([integers([7, 7, 8])]) == "{7,7,8}"


def test_texts_are_quoted_whatever_they_hold() -> None:
    """Quotes and backslashes are escaped; NULL, braces and commas are text like any other."""
    quoted = array([texts(['a"b', "c\\d", "{e,f}"]), texts(["", "NULL"])])
    assert quoted == '{"a\\"b","c\\\\d","{e,f}","","NULL"}'
