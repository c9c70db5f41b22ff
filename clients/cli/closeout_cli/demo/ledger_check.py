"""Compare what the status service says with what the provider wrote down."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from closeout.status.v1 import status_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from closeout_cli.demo.ledger import Accepted

#: Differences of one kind that are named.
_NAMED = 5


def differences(results: Iterable[pb.Result], accepted: Sequence[Accepted]) -> list[str]:
    """Return in words what does not agree; empty if all does.

    Every SENT result must be one message of the ledger and the other way round, by
    the provider's number of the message; and no recipient may be in it twice.

    Args:
        results: all results of the campaign.
        accepted: the ledger; its n-th entry is the provider's message number n.
    """
    sent = Counter(
        result.provider_message_id for result in results if result.outcome == pb.Result.SENT
    )
    ledger = {f"{number:08X}": entry for number, entry in enumerate(accepted, 1)}
    found = []
    not_accepted = [number for number in sent if number not in ledger]
    if not_accepted:
        found.append(f"SENT, but not accepted by the provider: {_list(not_accepted)}")
    not_sent = [entry.recipient for number, entry in ledger.items() if number not in sent]
    if not_sent:
        found.append(f"accepted by the provider, but not SENT: {_list(not_sent)}")
    shared = [number for number, count in sent.items() if count > 1]
    if shared:
        found.append(f"one message of the provider's, several results: {_list(shared)}")
    recipients = Counter(entry.recipient for entry in accepted)
    twice = [recipient for recipient, count in recipients.items() if count > 1]
    if twice:
        found.append(f"recipients that got it more than once: {_list(twice)}")
    return found


def _list(items: Sequence[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")
