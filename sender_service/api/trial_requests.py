"""The checks of SendTest and CheckSender."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sender_service.api import contents
from sender_service.campaigns.drafts import CampaignDraft
from service_runtime.validation import CHANNEL, Validation

if TYPE_CHECKING:
    from closeout.sender.v1 import sender_pb2 as pb
    from sender_service.campaigns.audience import RecipientInput

#: Recipients of one test.
MAX_RECIPIENTS = 10


class TrialInput(NamedTuple):
    """What SendTest asks for; the recipients are checked by their channel."""

    draft: CampaignDraft
    recipients: tuple[RecipientInput, ...]


def send_test(request: pb.SendTestRequest) -> TrialInput:
    """Return what SendTest asks for.

    Raises:
        InvalidRequestError: it names every field that is wrong.
    """
    with Validation() as check:
        if not 1 <= len(request.recipients) <= MAX_RECIPIENTS:
            check.refuse("recipients", f"{len(request.recipients)} given; 1 to {MAX_RECIPIENTS}")
        draft = CampaignDraft(
            channel=check.text("channel", request.channel, longest=CHANNEL, required=True),
            content=contents.content(check, request),
            recipient_fields=contents.recipient_fields(check, request),
        )
        return TrialInput(draft, tuple(map(contents.recipient_input, request.recipients)))


def check_sender(request: pb.CheckSenderRequest) -> str:
    """Return the channel that CheckSender asks about; empty: all.

    Raises:
        InvalidRequestError: it is no name.
    """
    with Validation() as check:
        return check.text("channel", request.channel, longest=CHANNEL)
