"""The id of a campaign that its files make, so that the same command is the same campaign."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from closeout.sender.v1 import sender_pb2

if TYPE_CHECKING:
    from collections.abc import Collection

    from closeout_cli.campaign_file import CampaignFile
    from closeout_cli.recipients_file import RecipientsFile

_MAX_SLUG = 40
#: So many characters the services take.
_MAX_ID = 128


def derived_id(file: CampaignFile, audience: RecipientsFile) -> str:
    """Return an id that the same family, content, options, labels and recipients always have."""
    digest = hashlib.sha256(audience.digest.encode())
    others = sender_pb2.CreateCampaignRequest(
        channel=file.channel, labels=file.labels, display_name=file.name, family=file.family
    )
    # A draft keeps what it was created with, so that another value is another campaign.
    if file.repeat_after is not None:
        others.repeat_after.FromTimedelta(file.repeat_after)
    for part in (file.body, file.options, others):
        if part is not None:
            digest.update(part.DESCRIPTOR.name.encode())
            digest.update(part.SerializeToString(deterministic=True))
    return f"{_slug(file.family)}-{digest.hexdigest()[:8]}"


def resend_id(source: str, kinds: Collection[str]) -> str:
    """Return an id that the same source and the same outcomes, in any order, always have."""
    chosen = "-".join(sorted(kinds))
    found = f"{source}-resend-{chosen}"
    if len(found) <= _MAX_ID:
        return found
    digest = hashlib.sha256(found.encode()).hexdigest()[:8]
    suffix = f"-resend-{chosen}-{digest}"
    return f"{source[: _MAX_ID - len(suffix)]}{suffix}"


def next_id(campaign_id: str) -> str:
    """Return an id for the same once more: with -2 at its end, or the number after it."""
    numbered = re.fullmatch(r"(.+)-([2-9]|[1-9][0-9])", campaign_id)
    stem, count = (numbered[1], int(numbered[2]) + 1) if numbered else (campaign_id, 2)
    return f"{stem[: _MAX_ID - 4]}-{count}"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_SLUG].strip("-") or "campaign"
