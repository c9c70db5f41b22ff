"""Whose message is shown or tested: the first that can be sent to, a row, or an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from closeout_cli.failures import USAGE, CommandError

if TYPE_CHECKING:
    from closeout.sender.v1 import sender_pb2 as pb
    from closeout_cli.recipients_file import RecipientsFile
    from sender_service.channels.offline import OfflineContent


class Chosen(NamedTuple):
    """A recipient of a file.

    Attributes:
        row: its number among the recipients of the file, from 1.
        line: the line that it ends on.
        recipient: address, id and fields.
    """

    row: int
    line: int
    recipient: pb.Recipient


def chosen_recipient(
    audience: RecipientsFile, wanted: str = "", content: OfflineContent | None = None
) -> Chosen:
    """Return a recipient of a file.

    Args:
        audience: the file.
        wanted: the number of a row from 1, or an address; empty: the first one whose
            address the content's channel takes.
        content: the compiled content; None: any address will do.

    Raises:
        CommandError: there is none.
    """
    number = int(wanted) if wanted.isascii() and wanted.isdecimal() else 0
    first: Chosen | None = None
    for row, (line, recipient) in enumerate(audience.records, 1):
        found = Chosen(row, line, recipient)
        first = first or found
        if number:
            matches = row == number
        elif wanted:
            matches = recipient.address.strip().casefold() == wanted.strip().casefold()
        else:
            matches = content is None or _can_be_sent_to(content, recipient.address)
        if matches:
            return found
    if first is not None and not wanted:
        return first
    what = f"row {wanted}" if number else f"recipient {wanted}"
    raise CommandError(
        f"{audience.name} has no {what}; it has {audience.rows:,} rows, from 1."
        " --recipient takes a row or an address",
        exit_code=USAGE,
    )


def _can_be_sent_to(content: OfflineContent, address: str) -> bool:
    return not address_trouble(content, address)


def address_trouble(content: OfflineContent, address: str) -> str:
    """Return why the channel can't send to an address; empty: it can."""
    from sender_service.channels.offline import InvalidAddressError  # noqa: PLC0415 - slow to import

    try:
        content.check_address(address)
    except InvalidAddressError as error:
        return str(error)
    return ""
