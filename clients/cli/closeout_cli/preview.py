"""``closeout send --preview``: everything is checked and shown, and no service is needed."""

from __future__ import annotations

import tempfile
import webbrowser
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from closeout_cli import screen
from closeout_cli.audience_summary import AudienceSummary, Rejected, first_reasons, repeated_rows
from closeout_cli.chosen_recipient import Chosen, address_trouble, chosen_recipient
from closeout_cli.content_check import template_error
from closeout_cli.failures import say

if TYPE_CHECKING:
    from closeout_cli.campaign_file import CampaignFile
    from closeout_cli.recipients_file import RecipientsFile
    from sender_service.channels.offline import OfflineContent, Preview


@dataclass(frozen=True)
class AudienceCheck:
    """What would become of the rows of a file.

    Attributes:
        summary: the rows, counted.
        gaps: how many of the accepted recipients have no value for a variable that
            leaves a gap then, by variable.
    """

    summary: AudienceSummary
    gaps: dict[str, int]

    def lines(self) -> list[str]:
        """Return it for people."""
        accepted = self.summary.accepted
        who = "recipient has" if accepted == 1 else "recipients have"
        return [
            *self.summary.lines(),
            *(
                f"{count:,} of {accepted:,} {who} an empty {name}"
                for name, count in self.gaps.items()
            ),
        ]


def check_audience(audience: RecipientsFile, content: OfflineContent) -> AudienceCheck:
    """Check every row as the sender would, without it."""
    from sender_service.channels.offline import InvalidAddressError  # noqa: PLC0415 - slow to import

    seen: set[str] = set()
    rejected: list[Rejected] = []
    gaps: Counter[str] = Counter()
    duplicate = invalid = 0
    for line, recipient in audience.recipients():
        try:
            address = content.check_address(recipient.address)
        except InvalidAddressError as error:
            invalid += 1
            rejected.append(Rejected(line, recipient.address, str(error)))
            continue
        if address in seen:
            duplicate += 1
            rejected.append(Rejected(line, recipient.address, "the address came before"))
            continue
        seen.add(address)
        gaps.update(content.empty_variables(recipient))
    summary = AudienceSummary(
        audience.name,
        audience.rows,
        len(seen),
        duplicate + len(audience.repeated),
        invalid,
        first_reasons([*rejected, *repeated_rows(audience)]),
    )
    return AudienceCheck(summary, dict(gaps.most_common()))


def preview(
    file: CampaignFile,
    audience: RecipientsFile,
    content: OfflineContent,
    *,
    wanted: str = "",
    in_browser: bool = False,
    as_json: bool = False,
) -> None:
    """Print what would become of the recipients, and the message of one of them.

    Args:
        file: the campaign file.
        audience: its recipients.
        content: its compiled content.
        wanted: whose message is shown; see :func:`chosen_recipient`.
        in_browser: whether to show the HTML in a browser.
        as_json: whether to print one JSON document instead.

    Raises:
        CommandError: there is no such recipient, or its message can't be rendered.
    """
    chosen = chosen_recipient(audience, wanted, content)
    message = rendered(file, content, chosen)
    checked = check_audience(audience, content)
    page = _page(message) if in_browser else None
    if as_json:
        screen.print_json(_document(checked, chosen, message, page))
    else:
        _print(checked, content, chosen, message)
    if in_browser:
        _open(page)


def rendered(file: CampaignFile, content: OfflineContent, chosen: Chosen) -> Preview:
    """Return the message of one recipient.

    Raises:
        CommandError: it can't be rendered; the text shows the place.
    """
    from sender_service.channels.offline import TemplateError  # noqa: PLC0415 - slow to import

    try:
        return content.render(chosen.recipient)
    except TemplateError as error:
        failure = template_error(file, error.field, error.line, error.column, str(error))
        raise failure from error


def _print(
    checked: AudienceCheck, content: OfflineContent, chosen: Chosen, message: Preview
) -> None:
    for text in checked.lines():
        screen.line(text)
    address = chosen.recipient.address.strip()
    screen.line("")
    screen.line(f"The message to row {chosen.row} (line {chosen.line}):")
    if trouble := address_trouble(content, address):
        screen.line(f"It would not be sent: {trouble if address else 'no address'}")
    screen.line("")
    for name, value in message.headers:
        screen.line(f"{name}: {value}")
    for part in (message.text, message.document):
        if part:
            screen.line("")
            for text in part.splitlines():
                screen.line(text)
    if message.html:
        screen.line("")
        screen.line(f"HTML: {len(message.html):,} characters (--open shows it in a browser)")


def _document(
    checked: AudienceCheck, chosen: Chosen, message: Preview, page: Path | None
) -> dict[str, Any]:
    return {
        **checked.summary.as_dict(),
        "empty": checked.gaps,
        "recipient": {
            "row": chosen.row,
            "line": chosen.line,
            "address": chosen.recipient.address,
            "recipient_key": chosen.recipient.recipient_key,
        },
        "headers": [{"name": name, "value": value} for name, value in message.headers],
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "document": message.document,
        **({"html_file": str(page)} if page else {}),
    }


def _page(message: Preview) -> Path | None:
    """Write the HTML to a file that stays, as the browser reads it later; None: there is none."""
    if not message.html:
        return None
    folder = Path(tempfile.mkdtemp(prefix="closeout-preview-"))
    page = folder / "message.html"
    page.write_text(message.html, encoding="utf-8")
    return page


def _open(page: Path | None) -> None:
    if page is None:
        say("the message has no HTML; its text is shown above")
    elif not webbrowser.open(page.as_uri()):
        say(f"no browser was found; the HTML is in {page}")
