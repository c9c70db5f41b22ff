"""``closeout send --test``: one message to an address of your own, outside any campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.errors import InvalidArgumentError
from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout_cli import screen
from closeout_cli.content_check import refused_content
from closeout_cli.failures import FAILED, OK
from closeout_cli.options import sender_client
from closeout_cli.words import enum_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from closeout_cli.campaign_file import CampaignFile
    from closeout_cli.chosen_recipient import Chosen


async def send_test(
    file: CampaignFile,
    chosen: Chosen,
    addresses: Sequence[str],
    sender_address: str,
    *,
    fields: Sequence[str] | None,
    as_json: bool = False,
) -> int:
    """Send the message of one recipient to other addresses, and print what became of it.

    Nothing is stored, and nothing is tried again.

    Args:
        file: the campaign file.
        chosen: whose id and fields the message is made with.
        addresses: where it goes.
        sender_address: where the sender service is.
        fields: the fields that variables are checked against; None: they are not.
        as_json: whether to print one JSON document.

    Returns:
        The exit code: 0 if the provider took every message.

    Raises:
        CommandError: a template is broken; the text shows the place.
        ClientError: the sender refuses or does not answer.
    """
    recipients = [_to(address, chosen.recipient) for address in addresses]
    async with sender_client(sender_address) as sender:
        try:
            answer = await sender.send_test(
                channel=file.channel, body=file.body, recipients=recipients, recipient_fields=fields
            )
        except InvalidArgumentError as error:
            if error.reason != "TEMPLATE_INVALID":
                raise
            raise refused_content(file, error) from error
    if as_json:
        screen.print_json(answer)
    else:
        screen.line(f"the message to row {chosen.row}, as a test outside the campaign:")
        for attempt in answer.attempts:
            for text in attempt_lines(attempt):
                screen.line(text)
    sent = all(attempt.outcome == status_pb2.Result.SENT for attempt in answer.attempts)
    return OK if sent else FAILED


def attempt_lines(attempt: pb.SendTestResponse.Attempt) -> list[str]:
    """Return what became of one message, the provider's words, and what to correct."""
    outcome = enum_name(status_pb2.Result.Outcome, attempt.outcome)
    words = " ".join(
        text for text in (attempt.code, attempt.detail, attempt.provider_message_id) if text
    )
    lines = [f"{outcome} {attempt.address}{f': {words}' if words else ''}"]
    if attempt.HasField("problem"):
        problem = attempt.problem
        remedy = f"; correct {problem.setting} at the sender" if problem.setting else ""
        lines.append(f"  {problem.summary}{remedy}")
        if problem.detail and problem.detail not in words:
            lines.append(f"  {problem.detail}")
    elif attempt.outcome == status_pb2.Result.UNKNOWN:
        lines.append("  the answer was lost: look whether it arrived, and test again")
    return lines


def _to(address: str, model: pb.Recipient) -> pb.Recipient:
    recipient = pb.Recipient()
    recipient.CopyFrom(model)
    recipient.address = address
    return recipient
