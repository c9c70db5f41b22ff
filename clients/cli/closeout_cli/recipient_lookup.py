"""The recipients of messages, from the sender: addresses stay with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.errors import ClientError
from closeout_cli.failures import say, sender_trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from closeout.aio import SenderClient
    from closeout.sender.v1.sender_pb2 import RecipientEntry

#: Messages of one call: the service takes no more.
BATCH = 400
_BATCH_WITH_FIELDS = 40


class RecipientLookup:
    """Looks up recipients at the sender until it fails to answer.

    Many campaigns are of other senders, and results are worth reading without their
    recipients: a sender without an answer is reported once, on standard error, and is
    no failure.

    Args:
        sender: the client.
        address: where the sender is, for messages.
        campaign_id: the campaign.
        fields: whether what the templates had of a recipient is asked for too.
    """

    def __init__(
        self, sender: SenderClient, address: str, campaign_id: str, *, fields: bool = False
    ) -> None:
        self._sender = sender
        self._address = address
        self._campaign_id = campaign_id
        self._fields = fields
        self._answered = False
        self._given_up = False

    async def find(self, sequences: Sequence[int]) -> Mapping[int, RecipientEntry]:
        """Return the recipients of at most ``BATCH`` messages, by sequence.

        Those the sender does not know are left out.
        """
        size = _BATCH_WITH_FIELDS if self._fields else BATCH
        found: dict[int, RecipientEntry] = {}
        for start in range(0, len(sequences), size):
            found |= await self._asked(sequences[start : start + size])
        return found

    async def _asked(self, sequences: Sequence[int]) -> dict[int, RecipientEntry]:
        if self._given_up:
            return {}
        try:
            found = await self._sender.batch_get_recipients(
                campaign_id=self._campaign_id, sequences=sequences, include_fields=self._fields
            )
        except ClientError as error:
            self._given_up = True
            since = f" from message {sequences[0]} on" if self._answered else ""
            say(f"recipients are left out{since}: {sender_trouble(error, self._address)}")
            return {}
        self._answered = True
        return {entry.sequence: entry for entry in found}
