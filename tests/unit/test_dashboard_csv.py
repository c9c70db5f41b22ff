"""The file of results: its cells, its pages, and how little of it is held at a time."""

import csv
import io
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from closeout_cli import result_lines
from service_runtime.pages import Page, PageRequest
from status_service.dashboard import results_csv


@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n'a1 "), max_size=4))
def test_cells_are_protected_as_the_command_does_it(text: str) -> None:
    """Both ways to the file have the same cells."""
    assert results_csv.safe_cell(text) == result_lines.safe_cell(text)


def test_the_columns_are_those_of_the_command() -> None:
    """A program that reads one file reads the other."""
    form = result_lines.Form(missing=False, recipients=False)
    assert form.columns == results_csv.COLUMNS


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_are_those_of_the_contract(moment: datetime) -> None:
    """A time is written as JSON of the contract has it."""
    message = Timestamp()
    message.FromDatetime(moment)
    assert results_csv._rfc3339(moment) == message.ToJsonString()


def _row(sequence: int, **changed: Any) -> Any:
    values = {
        "sequence": sequence,
        "outcome": 3,
        "attempt": 1,
        "code": "550",
        "detail": "=HYPERLINK(1)",
        "provider_message_id": "",
        "finish_time": None,
    }
    return SimpleNamespace(**(values | changed))


class _Pages:
    """Three pages, and how many of them were read."""

    def __init__(self) -> None:
        self.read = 0

    async def page(self, request: PageRequest) -> Page:
        """Return the page whose number is the token."""
        assert request.token == ("" if not self.read else str(self.read))
        self.read += 1
        rows = [_row(self.read * 10 + number) for number in range(request.size)]
        return Page(rows, str(self.read) if self.read < 3 else "")


async def test_a_page_is_read_when_the_one_before_was_taken() -> None:
    """A reader that is slow, or gone, lets nothing pile up."""
    pages = _Pages()
    lines = results_csv.lines(pages.page)
    assert await anext(lines) == (
        "sequence,outcome,attempt,code,detail,provider_message_id,finish_time\r\n"
    )
    assert pages.read == 0
    text = await anext(lines)
    assert pages.read == 1
    assert text.startswith("10,FAILED,1,550,'=HYPERLINK(1),,\r\n")
    rest = [text async for text in lines]
    assert (len(rest), pages.read) == (2, 3)


@pytest.mark.parametrize("detail", ['a "quoted", one', "two\nlines", "\r", "日本語"])
async def test_a_cell_comes_back_as_it_was(detail: str) -> None:
    """Quotes, commas and line breaks in what others wrote don't break the file."""

    async def one(_request: PageRequest) -> Page:
        return Page([_row(1, detail=detail)], "")

    text = "".join([line async for line in results_csv.lines(one)])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["detail"] == results_csv.safe_cell(detail)
