"""``closeout results``: what became of each message, and which have no result."""

from __future__ import annotations

import contextlib
import csv
import enum
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from clients.cli import screen
from clients.cli.failures import FAILED, OK, CommandError, say
from clients.cli.options import CampaignId, Json, StatusAddress, run, status_client
from clients.cli.words import clock, enum_name
from protos.campaign.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from google.protobuf.message import Message

    from clients.status import StatusClient

_COLUMNS = (
    "sequence",
    "outcome",
    "attempt",
    "code",
    "detail",
    "provider_message_id",
    "finish_time",
)
_RANGE_COLUMNS = ("first", "last")
#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PAGE = 5000


class Outcome(enum.StrEnum):
    """The outcomes as the command line names them."""

    sent = "sent"
    failed = "failed"
    skipped = "skipped"
    unknown = "unknown"


def results(
    *,
    campaign_id: CampaignId,
    outcome: Annotated[
        list[Outcome] | None,
        typer.Option(help="Only this outcome; may be given several times.", show_default=False),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="The ranges of messages without a result instead.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, safe for spreadsheets.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write to a file, which appears when it is whole; CSV if it ends in .csv.",
            show_default=False,
        ),
    ] = None,
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """List the results of a campaign in order of sequence.

    A message is its sequence here: addresses stay with the sender.
    """
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
    if missing and outcome:
        raise typer.BadParameter("--missing and --outcome exclude each other")
    outcomes = [pb.Result.Outcome.Value(name.upper()) for name in outcome or ()]
    as_csv = as_csv or (not as_json and output is not None and output.suffix.lower() == ".csv")
    with _destination(output) as file:
        write = _writer(file, missing=missing, as_csv=as_csv, as_json=as_json)
        written = run(_results(status_address, campaign_id, outcomes, write, missing=missing))
    if output is not None:
        say(f"{output}: {written} {'ranges' if missing else 'results'}")
    elif not written and screen.on_terminal():
        say("no messages without a result" if missing else "no such results")
    return OK


async def _results(
    address: str,
    campaign_id: str,
    outcomes: list[pb.Result.Outcome.ValueType],
    write: Callable[[Message], None],
    *,
    missing: bool,
) -> int:
    written = 0
    async with status_client(address) as status:
        rows = _rows(status, campaign_id, outcomes, missing=missing)
        async for row in rows:
            write(row)
            written += 1
    return written


async def _rows(
    status: StatusClient,
    campaign_id: str,
    outcomes: list[pb.Result.Outcome.ValueType],
    *,
    missing: bool,
) -> AsyncIterator[Message]:
    if missing:
        async for found in status.list_missing_ranges(campaign_id=campaign_id, page_size=1000):
            yield found
        return
    async for result in status.list_results(
        campaign_id=campaign_id, outcomes=outcomes, page_size=_PAGE
    ):
        yield result


@contextlib.contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a file that gets its name only when it is whole."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(output)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}", exit_code=FAILED) from error
    finally:
        part.unlink(missing_ok=True)


def _writer(
    file: TextIO, *, missing: bool, as_csv: bool, as_json: bool
) -> Callable[[Message], None]:
    if as_json:
        return lambda row: _write(file, json.dumps(screen.as_dict(row), ensure_ascii=False))
    if as_csv:
        columns = _RANGE_COLUMNS if missing else _COLUMNS
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        return lambda row: writer.writerow([_cell(row, column) for column in columns])
    if missing:
        return lambda row: _write(file, range_text(row))
    return lambda row: _write(file, _result_line(row))


def _write(file: TextIO, text: str) -> None:
    file.write(f"{text}\n")


def _cell(row: Message, column: str) -> str:
    value = getattr(row, column)
    if column == "outcome":
        return enum_name(pb.Result.Outcome, value)
    if column == "finish_time":
        return value.ToJsonString() if row.HasField(column) else ""
    return safe_cell(value) if isinstance(value, str) else str(value)


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def range_text(found: Message) -> str:
    """Return a range of sequences as people write it."""
    first, last = getattr(found, "first"), getattr(found, "last")  # noqa: B009 - typed as Message
    return str(first) if first == last else f"{first}-{last}"


def _result_line(row: Message) -> str:
    cells = {column: _cell(row, column) for column in _COLUMNS}
    time = clock(row.finish_time) if row.HasField("finish_time") else "-"  # type: ignore[attr-defined]
    detail = " ".join(cells["detail"].split())
    return (
        f"{cells['sequence']:>9}  {cells['outcome']:<7}  attempt={cells['attempt']}"
        f"  {cells['code'] or '-':<5}  {time}  {detail}".rstrip()
    )
