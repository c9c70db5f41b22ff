"""Tables fit the terminal and never break an id; lines for programs keep every value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from closeout_cli.tables import Column, fitted, shortened, tab_separated

COLUMNS = (
    Column("Id"),
    Column("Number", right=True),
    Column("Name", drop=1, shrink=True),
    Column("Time", drop=3),
    Column("Why", drop=2, shrink=True, below=True),
)
ROW = ["an-id", "1,000", "A name of many words", "2030-01-31 09:00:00", "because it is so"]


def lines(width: int, *rows: list[str]) -> list[str]:
    """Return the lines of a table with its heading."""
    layout = fitted(COLUMNS, rows, width)
    parts = [layout.heading(), *(line for row in rows for line in layout.lines(row))]
    return ["  ".join(cells).rstrip() for cells in parts]


def test_what_fits_is_shown_whole() -> None:
    """Numbers stand at the right, texts at the left."""
    assert lines(80, ROW) == [
        "Id     Number  Name                  Time                 Why",
        "an-id   1,000  A name of many words  2030-01-31 09:00:00  because it is so",
    ]


def test_texts_are_shortened_before_columns_go() -> None:
    """First the texts, then the column with the highest number."""
    assert lines(72, ROW)[1] == (
        "an-id   1,000  A name of many wo…  2030-01-31 09:00:00  because it is so"
    )
    assert lines(60, ROW)[1] == "an-id   1,000  A name of many words  because it is so"
    assert lines(40, ROW)[1] == "an-id   1,000  A name of many words"
    assert lines(20, ROW)[1] == "an-id   1,000"


def test_an_empty_column_takes_no_space() -> None:
    """A column that may go is left out where nothing is in it."""
    assert lines(80, [*ROW[:2], "", "", ""])[0] == "Id     Number"


def test_a_long_id_has_a_line_of_its_own() -> None:
    """It is whole, and the other rows keep their columns."""
    long = "x" * 60
    assert lines(40, ["short", *ROW[1:]], [long, *ROW[1:]]) == [
        "Id     Number  Name",
        "short   1,000  A name of many words",
        long,
        "        1,000  A name of many words",
    ]


def test_a_text_that_does_not_fit_goes_below() -> None:
    """A reason is never cut: it stands below its row, also where its column is left out."""
    for width in (70, 30):
        layout = fitted(COLUMNS, [ROW], width)
        row, below = layout.split([*ROW[:4], "because it is so long that nobody can read it"])
        assert row[4] == ""
        assert below == ["because it is so long that nobody can read it"]
    assert fitted(COLUMNS, [ROW], 80).split(ROW) == (ROW, [])


def test_wide_signs_count_twice() -> None:
    """A name in Japanese is cut where the terminal would break it."""
    assert shortened("春のキャンペーン", 16) == "春のキャンペーン"
    assert shortened("春のキャンペーン", 10) == "春のキャ…"
    assert cell_len(shortened("春のキャンペーン", 10)) <= 10


TEXT = st.text(st.characters(exclude_categories=("C", "Z", "M")), max_size=70)


@given(st.lists(st.lists(TEXT, min_size=5, max_size=5), min_size=1), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal_but_for_ids(rows: list[list[str]], width: int) -> None:
    """Whatever users wrote: ids and numbers are whole, all else fits."""
    rows = [[row[0], row[1][:10], *row[2:]] for row in rows]
    layout = fitted(COLUMNS, rows, width)
    for row in rows:
        found = list(layout.lines(layout.split(row)[0]))
        assert any(row[0] in line[0] for line in found)
        for line in found:
            assert cell_len("  ".join(line)) <= width or line == [row[0]]


def test_a_line_for_programs_has_one_place_for_each_value() -> None:
    """A tab or the end of a line in a value is no separator."""
    assert tab_separated(["a", 1, None, "b\tc\nd\re\\f", ""]) == "a\t1\t\tb\\tc\\nd\\re\\\\f\t"
    assert tab_separated(["\x1b[2J\x07"]) == " [2J "


@given(st.lists(st.text()))
def test_a_line_for_programs_is_one_line(values: list[str]) -> None:
    """Always, and with as many tabs as there are gaps."""
    line = tab_separated(values)
    assert line.count("\t") == max(len(values) - 1, 0)
    assert len(line.splitlines()) <= 1
