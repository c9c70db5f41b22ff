"""``closeout results``: what became of each message, which have no result, and whose they are."""

from __future__ import annotations

import contextlib
import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, TypeVar

import typer

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import FAILED, OK, CommandError, say
from closeout_cli.options import (
    CampaignId,
    Json,
    SenderAddress,
    StatusAddress,
    run,
    sender_of,
    status_client,
)
from closeout_cli.recipient_lookup import BATCH, RecipientLookup
from closeout_cli.result_lines import Form, Line, writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from closeout.aio import StatusClient

T = TypeVar("T")

_PAGE = 1000


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
        bool,
        typer.Option(
            "--missing",
            help="The messages without a result instead: their ranges, or with --csv each one.",
        ),
    ] = False,
    recipients: Annotated[
        bool | None,
        typer.Option(
            "--recipients/--no-recipients",
            help="Whether the sender is asked for recipient_key and address of each message."
            " Default: yes, but for ranges.",
            show_default=False,
        ),
    ] = None,
    with_fields: Annotated[
        bool,
        typer.Option(
            "--with-fields",
            help="Add the other columns of the recipients file; with --csv or --json.",
        ),
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
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """List what became of each message, and who it went to.

    Addresses stay with the sender, which is asked for them; results of another
    sender come without.

    In a pipe or a file, each result is one line with tabs between its values: sequence,
    recipient key, address, outcome, attempt, code, detail, provider's message id, finish
    time; with --missing, the first and the last sequence of a range.
    """
    if as_csv and as_json:
        raise typer.BadParameter("use either --csv or --json")
    if missing and outcome:
        raise typer.BadParameter("use either --missing or --outcome")
    outcomes = [pb.Result.Outcome.Value(name.upper()) for name in outcome or ()]
    as_csv = as_csv or (not as_json and output is not None and output.suffix.lower() == ".csv")
    if recipients is None:
        recipients = as_csv or not missing or with_fields
    if with_fields and not (recipients and (as_csv or as_json)):
        raise typer.BadParameter("--with-fields needs --csv or --json, and no --no-recipients")
    form = Form(missing=missing, recipients=recipients, fields=with_fields)
    with _destination(output) as file:
        write = writer(file, form, as_csv=as_csv, as_json=as_json)
        written = run(_list(status_address, sender_address, campaign_id, outcomes, form, write))
    if output is not None:
        say(f"{output}: {written} {form.noun}")
    elif not written and screen.on_terminal():
        say("no messages without a result" if missing else "no such results")
    return OK


async def _list(  # noqa: PLR0917 - the options of the command, in their order
    status_address: str,
    sender_address: str,
    campaign_id: str,
    outcomes: list[pb.Result.Outcome.ValueType],
    form: Form,
    write: Callable[[Sequence[Line]], None],
) -> int:
    """Write the lines batch by batch, so that a campaign of any size takes little memory."""
    written = 0
    async with status_client(status_address) as status, sender_of(sender_address) as sender:
        lookup = RecipientLookup(sender, sender_address, campaign_id, fields=form.fields)
        async for items in _batches(_items(status, campaign_id, outcomes, form)):
            write(
                await _lines(items, lookup) if form.recipients else [Line(item) for item in items]
            )
            written += len(items)
    if not written and form.fields:
        write([])  # the heading, which waits for the first lines
    return written


async def _items(
    status: StatusClient,
    campaign_id: str,
    outcomes: list[pb.Result.Outcome.ValueType],
    form: Form,
) -> AsyncIterator[pb.Result | pb.SequenceRange]:
    if not form.missing:
        async for result in status.list_results(
            campaign_id=campaign_id, outcomes=outcomes, page_size=_PAGE
        ):
            yield result
        return
    async for found in status.list_missing_ranges(campaign_id=campaign_id, page_size=_PAGE):
        if not form.recipients:
            yield found
            continue
        for sequence in range(found.first, found.last + 1):
            yield pb.Result(sequence=sequence)


async def _batches(items: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _lines(items: list[pb.Result | pb.SequenceRange], lookup: RecipientLookup) -> list[Line]:
    messages = [item for item in items if isinstance(item, pb.Result)]
    found = await lookup.find([message.sequence for message in messages])
    return [Line(message, found.get(message.sequence)) for message in messages]


@contextlib.contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a file that gets its name only when it is whole.

    A device, a pipe or a link is written to; taking its name would destroy it.
    """
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    in_place = output.is_symlink() or (output.exists() and not output.is_file())
    try:
        target = output if in_place else part
        with target.open("w", encoding="utf-8", newline="") as file:
            yield file
        if not in_place:
            part.replace(output)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}", exit_code=FAILED) from error
    finally:
        part.unlink(missing_ok=True)
