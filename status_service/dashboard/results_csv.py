"""Results as CSV, page by page, so that a download of millions of rows needs no memory."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from service_runtime.pages import PageRequest
from service_runtime.validation import LARGEST_PAGE
from status_service.domain import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from service_runtime.pages import Page

#: The columns, in the order of ``closeout results --csv``.
COLUMNS = (
    "sequence",
    "outcome",
    "attempt",
    "code",
    "detail",
    "provider_message_id",
    "finish_time",
)
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


async def lines(read: Callable[[PageRequest], Awaitable[Page]]) -> AsyncIterator[str]:
    """Yield the lines of a file, a page at a time; the next is read when this one is taken.

    Args:
        read: returns a page of results.

    Raises:
        ServiceError: a page can't be read. The file then ends in the middle, so whoever
            sends it has to break the connection off.
    """
    yield _written([COLUMNS])
    token = ""
    while True:
        page = await read(PageRequest(LARGEST_PAGE, token))
        if page.rows:
            yield _written(map(_cells, page.rows))
        token = page.next_page_token
        if not token:
            return


def _written(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO(newline="")
    # With both signs as the end of a line, a cell that has either is quoted.
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _cells(row: Any) -> list[str]:
    finished = "" if row.finish_time is None else _rfc3339(row.finish_time)
    values = (
        str(row.sequence),
        Outcome(row.outcome).name,
        str(row.attempt),
        row.code,
        row.detail,
        row.provider_message_id,
        finished,
    )
    return [safe_cell(value) for value in values]


def _rfc3339(moment: Any) -> str:
    """Return a time as JSON of the contract has it: with 0, 3 or 6 digits of a second."""
    text: str = moment.strftime("%Y-%m-%dT%H:%M:%S")
    micros = moment.microsecond
    if not micros:
        return f"{text}Z"
    return f"{text}.{micros // 1000:03}Z" if micros % 1000 == 0 else f"{text}.{micros:06}Z"
