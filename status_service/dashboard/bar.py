"""The bar of a campaign: what became of its messages, as parts of one line; pure code.

The template ``bar.html`` draws it. Each part is an empty ``<svg>`` whose attribute
``width`` is its share, since the policy of the pages forbids attributes ``style``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from status_service.campaigns.wording import messages, number

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The parts in the order they always have, and how a sentence names them.
_PARTS = (
    ("sent", "sent"),
    ("failed", "failed"),
    ("skipped", "skipped"),
    ("unknown", "in doubt"),
    ("pending", "without a result"),
)
#: The same, as labels name them.
LABELS = {
    "sent": "Sent",
    "failed": "Failed",
    "skipped": "Skipped",
    "unknown": "Unknown",
    "pending": "No result yet",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar.

    Attributes:
        name: the outcome, or ``pending``; its class is ``p-`` and this.
        width: its share of the line, in percent with four decimals.
        count: how many messages it stands for.
    """

    name: str
    width: str
    count: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar.

    Attributes:
        parts: those that are not empty, in their order.
        label: what it shows, in words.
    """

    parts: Sequence[Part]
    label: str


def bar(
    total: int, *, sent: int, failed: int, skipped: int, unknown: int, pending: int | None = None
) -> Bar:
    """Return the bar of a campaign.

    Args:
        total: how many messages it has.
        sent: how many of them were sent; likewise for the other outcomes.
        failed: failed ones.
        skipped: skipped ones.
        unknown: those in doubt.
        pending: those without a result; None: what is left of ``total``.
    """
    left = max(0, total - sent - failed - skipped - unknown) if pending is None else pending
    counts = dict(zip(dict(_PARTS), (sent, failed, skipped, unknown, left), strict=True))
    # Counters that are wrong until they are repaired must not make a line longer than 100 %.
    whole = max(total, sum(counts.values()))
    parts = [
        Part(name, f"{100 * count / whole:.4f}%", count) for name, count in counts.items() if count
    ]
    said = ", ".join(f"{number(part.count)} {dict(_PARTS)[part.name]}" for part in parts)
    return Bar(parts, f"Of {messages(total)}: {said or 'none'}.")
