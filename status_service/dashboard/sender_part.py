"""What the sender knows of a campaign, as its page shows it; pure code."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from closeout.sender.v1 import sender_pb2 as pb
from status_service.dashboard import formats
from status_service.dashboard.sender_link import NOT_CONFIGURED, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping


_GUARANTEES = {
    pb.DeliveryOptions.AT_MOST_ONCE: "at most once",
    pb.DeliveryOptions.AT_LEAST_ONCE: "at least once",
}
#: What was not asked, and lacks nobody.
_UNASKED = Answer(None)
#: What the provider of a channel is called.
_PROVIDERS = {"smtp": "mail server"}


class SenderPart(NamedTuple):
    """The sender's part of a campaign's page; what is not known is empty.

    Attributes:
        at_provider: how many messages without a result the provider may have.
        guarantee: what happens to a message whose provider's answer was lost.
        in_doubt: how many of those the sender has now.
        unreported: how many outcomes it has that are not acknowledged.
        resend_of: the campaign that this one sends again.
        keys: keys of recipients, by number of the message.
        note: why a part is missing.
    """

    at_provider: str = ""
    guarantee: str = ""
    in_doubt: str = ""
    unreported: str = ""
    resend_of: str = ""
    keys: Mapping[int, str] = MappingProxyType({})
    note: str = ""


#: What a page has without a sender.
NO_PART: Final = SenderPart(note=NOT_CONFIGURED)


def part(campaign: Any, delivery: Answer, people: Answer = _UNASKED) -> SenderPart:
    """Return what the answers of the sender come to.

    Args:
        campaign: the row of the campaign.
        delivery: how its delivery stands.
        people: to whom messages in doubt went.
    """
    keys = keys_of(people)
    found = delivery.message
    if found is None:
        return SenderPart(keys=keys, note=delivery.note)
    return SenderPart(
        at_provider=at_provider(campaign.channel, found),
        guarantee=_GUARANTEES.get(found.guarantee, ""),
        in_doubt=_count(found.in_doubt),
        unreported=_count(found.unreported),
        resend_of=formats.clean(found.resend_of),
        keys=keys,
        note=people.note,
    )


def keys_of(people: Answer) -> dict[int, str]:
    """Return the keys of recipients, by number of the message."""
    if people.message is None:
        return {}
    return {one.sequence: formats.clean(one.recipient_key) for one in people.message.recipients}


def at_provider(channel: str, found: pb.GetDeliveryResponse) -> str:
    """Return in a sentence how many messages without a result the provider may have."""
    provider = _PROVIDERS.get(channel, "provider")
    said = []
    if found.in_doubt > 0:
        said.append(f"{formats.whole(found.in_doubt)} may be in the provider's hands.")
    elif found.deferred <= 0 and found.unreported <= 0:
        said.append(f"None was handed to the {provider}.")
    else:
        said.append("None is in the provider's hands.")
    if found.deferred > 0:
        waits = formats.plural(found.deferred, "waits", "wait")
        said.append(f"{formats.whole(found.deferred)} {waits} for another try.")
    if found.unreported > 0:
        has = formats.plural(found.unreported, "has", "have")
        said.append(f"{formats.whole(found.unreported)} {has} an outcome that is not reported yet.")
    return " ".join(said)


def _count(number: int) -> str:
    """Return a count of the facts; none is no fact, and less than none is no count."""
    return formats.whole(number) if number > 0 else ""
