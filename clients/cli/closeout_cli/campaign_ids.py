"""The id of a campaign that its files make, so that the same command is the same campaign."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from closeout.sender.v1 import sender_pb2

if TYPE_CHECKING:
    from closeout_cli.campaign_file import CampaignFile
    from closeout_cli.recipients_file import RecipientsFile

_MAX_SLUG = 40


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


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_SLUG].strip("-") or "campaign"
