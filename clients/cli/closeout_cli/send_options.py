"""The options of ``closeout send``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Kinds of recipients files."""

    CSV = "csv"
    JSONL = "jsonl"


CampaignPath = Annotated[
    Path,
    typer.Argument(
        metavar="CAMPAIGN.toml",
        help="The campaign file: name, channel, content and options.",
        show_default=False,
    ),
]
RecipientsPath = Annotated[
    Path,
    typer.Option(
        "--recipients",
        metavar="FILE",
        help="CSV with a header and a column address or email, or JSON Lines; a column"
        " recipient_key or id is your own id; all others are fields for the templates."
        " - is standard input.",
        show_default=False,
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the campaign until it has ended.")]
NewId = Annotated[
    str,
    typer.Option(
        metavar="ID",
        help="The campaign's id. Default: made of both files, so that the same command again"
        " sends nothing twice.",
        show_default=False,
    ),
]
StartTime = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="When to start, as in 2030-01-31T09:00 (local time). Default: now; a campaign"
        " that is scheduled keeps its time, and another time moves it.",
        show_default=False,
    ),
]
Now = Annotated[
    bool, typer.Option("--now", help="Start at once, also a campaign that is scheduled for later.")
]
OnlyNew = Annotated[
    bool,
    typer.Option(
        "--only-new",
        help="Leave out people who got another campaign with this id or name lately.",
    ),
]
Again = Annotated[
    bool,
    typer.Option(
        "--again",
        help="Send also to people who got another campaign with this id or name lately.",
    ),
]
AddressColumn = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The column with the address, if it is not address, email or the like.",
        show_default=False,
    ),
]
Encoding = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The encoding of the recipients file, as in cp1252. Default: UTF-8, or what its"
        " bytes say.",
        show_default=False,
    ),
]
Kind = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="The kind of the recipients file. Default: jsonl if its name ends with .jsonl or"
        " .ndjson.",
        show_default=False,
    ),
]
KeepCaseDuplicates = Annotated[
    bool,
    typer.Option(
        "--keep-case-duplicates",
        help="Send to Zoe@example.com and to zoe@example.com; otherwise they are one person.",
    ),
]
AllowUnknownVariables = Annotated[
    bool,
    typer.Option(
        "--allow-unknown-variables",
        help="Send with a gap where a template names a column that is not there.",
    ),
]
PreviewOnly = Annotated[
    bool,
    typer.Option(
        "--preview",
        help="Check everything and show the message of one recipient. Needs no service, and"
        " sends nothing.",
    ),
]
Shown = Annotated[
    str,
    typer.Option(
        "--recipient",
        metavar="ROW",
        help="Whose message --preview shows and --test sends: a row of the file, from 1, or an"
        " address. Default: the first that can be sent to.",
        show_default=False,
    ),
]
InBrowser = Annotated[
    bool, typer.Option("--open", help="With --preview: show the HTML in a browser.")
]
TestAddresses = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        metavar="ADDRESS",
        help="Send one message to this address, outside the campaign; can be repeated.",
        show_default=False,
    ),
]


def check_options(
    *, preview_only: bool, test: list[str] | None, watch: bool, in_browser: bool, wanted: str
) -> None:
    """Check that the options of one command go together.

    Raises:
        typer.BadParameter: two do not.
    """
    if preview_only and test:
        raise typer.BadParameter("use either --preview or --test")
    if watch and (preview_only or test):
        raise typer.BadParameter("--watch follows a campaign, and there is none to follow here")
    if in_browser and not preview_only:
        raise typer.BadParameter("--open needs --preview")
    if wanted and not (preview_only or test):
        raise typer.BadParameter("--recipient needs --preview or --test")
