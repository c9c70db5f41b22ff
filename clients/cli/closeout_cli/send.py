"""``closeout send``: create a campaign, upload its recipients, start it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from closeout.errors import ClientError, InvalidArgumentError
from closeout.sender.v1 import sender_pb2
from closeout_cli import screen
from closeout_cli.audience_summary import AudienceSummary
from closeout_cli.campaign_file import CampaignFile, read_campaign_file
from closeout_cli.failures import OK, USAGE, CommandError, say
from closeout_cli.options import Json, SenderAddress, StatusAddress, run, sender_client
from closeout_cli.recipients_file import RecipientsFile, read_recipients_file
from closeout_cli.start_request import StartRequest, outcome_of
from closeout_cli.watch import followed

if TYPE_CHECKING:
    from closeout.aio import SenderClient

_MAX_SLUG = 40


class Format(StrEnum):
    """Kinds of recipients files."""

    CSV = "csv"
    JSONL = "jsonl"


def send(
    *,
    campaign: Annotated[
        Path,
        typer.Argument(
            metavar="CAMPAIGN.toml",
            help="The campaign file: name, channel, content and options.",
            show_default=False,
        ),
    ],
    recipients: Annotated[
        Path,
        typer.Option(
            "--recipients",
            metavar="FILE",
            help="CSV with a header and a column address or email, or JSON Lines; a column"
            " recipient_key or id is your own id; all others are fields for the templates."
            " - is standard input.",
            show_default=False,
        ),
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the campaign until it has ended.")
    ] = False,
    campaign_id: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="The campaign's id. Default: made of the name and the content of both"
            " files, so that the same command again sends nothing twice.",
            show_default=False,
        ),
    ] = "",
    start_time: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="When to start, as in 2030-01-31T09:00 (local time). Default: now; a campaign"
            " that is scheduled already keeps its time.",
            show_default=False,
        ),
    ] = "",
    now: Annotated[
        bool,
        typer.Option("--now", help="Start at once, also a campaign that is scheduled for later."),
    ] = False,
    address_column: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The column with the address, if it is not address or email.",
            show_default=False,
        ),
    ] = "",
    encoding: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The encoding of the recipients file, as in cp1252. Default: UTF-8, or what"
            " its first bytes say.",
            show_default=False,
        ),
    ] = "",
    kind: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="The kind of the recipients file. Default: by its name, jsonl for .jsonl and"
            " .ndjson.",
            show_default=False,
        ),
    ] = None,
    keep_case_duplicates: Annotated[
        bool,
        typer.Option(
            "--keep-case-duplicates",
            help="Send to Zoe@example.com and zoe@example.com. Default: they are one person.",
        ),
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Check everything, print the message of the first recipient, send nothing.",
        ),
    ] = False,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Send a campaign to the recipients of a file.

    Safe to repeat: the same command again goes on where it stopped.
    """
    file = read_campaign_file(campaign)
    audience = read_recipients_file(
        recipients,
        address_column=address_column,
        encoding=encoding,
        kind=kind.value if kind else "",
        keep_case_duplicates=keep_case_duplicates,
    )
    for notice in audience.notices:
        say(notice)
    if not audience.rows:
        raise CommandError(f"{audience.name}: no recipients below its header", exit_code=USAGE)
    when = StartRequest.of(start_time, now=now)
    identity = campaign_id or file.campaign_id or derived_id(file, audience)
    if preview:
        return run(_preview(file, audience, identity, sender_address))
    code = run(
        _send(file, audience, identity, when, (status_address, sender_address), as_json=as_json)
    )
    if watch and code == OK:
        return followed(identity, status_address, sender_address, as_json=as_json)
    if not as_json:
        screen.line(f"follow it with: closeout watch {identity}")
    return code


def derived_id(file: CampaignFile, audience: RecipientsFile) -> str:
    """Return an id that the same name, content, options, labels and recipients always have."""
    digest = hashlib.sha256(audience.digest.encode())
    others = sender_pb2.CreateCampaignRequest(channel=file.channel, labels=file.labels)
    for part in (file.body, file.options, others):
        if part is not None:
            digest.update(part.DESCRIPTOR.name.encode())
            digest.update(part.SerializeToString(deterministic=True))
    plain = unicodedata.normalize("NFKD", file.name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_SLUG].strip("-") or "campaign"
    return f"{slug}-{digest.hexdigest()[:8]}"


async def _preview(
    file: CampaignFile, audience: RecipientsFile, campaign_id: str, sender_address: str
) -> int:
    first = next(audience.batches())[0]
    async with sender_client(sender_address) as sender:
        answer = await _create(sender, file, campaign_id, preview_recipient=first)
    for line in answer.preview.splitlines():
        screen.line(line)
    return OK


async def _send(
    file: CampaignFile,
    audience: RecipientsFile,
    campaign_id: str,
    when: StartRequest,
    addresses: tuple[str, str],
    *,
    as_json: bool,
) -> int:
    status_address, sender_address = addresses
    async with sender_client(sender_address) as sender:
        created = await _create(sender, file, campaign_id)
        if not as_json:
            known = "created" if created.created else "was created before; going on with it"
            screen.line(f"campaign {campaign_id}: {known}")
        uploaded = await _upload(sender, audience, campaign_id)
        if not as_json:
            AudienceSummary.of_upload(audience, uploaded).show()
        if not uploaded.total:
            raise CommandError(
                f"none of the {audience.rows} rows of {audience.name} can be sent to;"
                f" the campaign stays a draft (closeout cancel {campaign_id} ends it)"
            )
        started = await sender.start_campaign(
            campaign_id=campaign_id, start_time=when.time, start_now=when.now
        )
    if as_json:
        screen.print_json(
            {
                "campaign_id": campaign_id,
                "created": created.created,
                **screen.as_dict(uploaded),
                "total": started.total,
                "transitioned": started.transitioned,
            }
        )
    else:
        how = await outcome_of(when, started, campaign_id, status_address)
        screen.line(f"{how}: {started.total} message{'' if started.total == 1 else 's'}")
    return OK


async def _create(
    sender: SenderClient,
    file: CampaignFile,
    campaign_id: str,
    *,
    preview_recipient: sender_pb2.Recipient | None = None,
) -> sender_pb2.CreateCampaignResponse:
    try:
        return await sender.create_campaign(
            campaign_id=campaign_id,
            display_name=file.name,
            channel=file.channel,
            body=file.body,
            options=file.options,
            labels=file.labels,
            validate_only=preview_recipient is not None,
            preview_recipient=preview_recipient,
        )
    except InvalidArgumentError as error:
        if error.reason != "TEMPLATE_INVALID":
            raise
        raise _template_error(file, error) from error


def _template_error(file: CampaignFile, error: ClientError) -> CommandError:
    """Show the place of a template's error: file, line, column, and the line itself."""
    template = file.templates.get(error.metadata.get("field", "").rpartition(".")[2])
    line, column = (int(error.metadata.get(key) or 0) for key in ("line", "column"))
    lines = template.text.splitlines() if template else []
    if template is None or not 1 <= line <= len(lines):
        return CommandError(error.message, exit_code=USAGE)
    # The service's text begins with a place within the field; here the file is known.
    problem = re.sub(r"^template \S+ at line \d+, column \d+: ", "", error.message)
    return CommandError(
        f"{template.place}:{line}:{column}: {problem}",
        exit_code=USAGE,
        more=(f"  {lines[line - 1].expandtabs(1)}", f"  {' ' * (max(column, 1) - 1)}^"),
    )


async def _upload(
    sender: SenderClient, audience: RecipientsFile, campaign_id: str
) -> sender_pb2.UploadRecipientsResponse:
    progress = Progress(
        TextColumn("uploading"),
        BarColumn(),
        MofNCompleteColumn(),
        console=screen.console(),
        transient=True,
        disable=not screen.on_terminal(),
    )
    with progress:
        task = progress.add_task("", total=audience.rows)
        return await sender.upload_recipients(
            campaign_id=campaign_id,
            upload_id=audience.digest,
            batches=audience.batches(lambda rows: progress.advance(task, rows)),
        )
