"""ETag, If-Match and If-None-Match: the revision of a campaign, as HTTP writes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

#: The field of a request that makes it conditional, and that of a campaign.
REVISION = "revision"
_CAMPAIGN = "campaign"
_TAG = re.compile(r'"([1-9][0-9]{0,18})"')
_LARGEST_REVISION = 2**63 - 1
_TAGS = re.compile(r'(?:W/)?("[^"]*")')


def etag_of(response: Message) -> str:
    """Return the ETag of an answer with one campaign; empty for any other."""
    campaign: Any = getattr(response, _CAMPAIGN, None)
    revision = getattr(campaign, REVISION, 0)
    return f'"{revision}"' if revision else ""


def answers_campaign(descriptor: Descriptor) -> bool:
    """Return whether answers of this form have an ETag."""
    field = descriptor.fields_by_name.get(_CAMPAIGN)
    message = None if field is None or field.is_repeated else field.message_type
    return message is not None and REVISION in message.fields_by_name


def expected_revision(if_match: str, descriptor: Descriptor) -> int:
    """Return the revision that a write is to find; 0: any.

    ``*`` is any, since a campaign that does not exist is NOT_FOUND anyway. No answer ever
    had a weak tag, a list or another text, so these are refused as mistakes.

    Raises:
        InvalidRequestError: the header is no tag of a campaign, or the call has no
            condition.
    """
    if not if_match:
        return 0
    if REVISION not in descriptor.fields_by_name:
        raise InvalidRequestError.of({"If-Match": "this call takes no condition; leave it out"})
    if if_match == "*":
        return 0
    found = _TAG.fullmatch(if_match)
    if found is None or int(found[1]) > _LARGEST_REVISION:
        raise InvalidRequestError.of(
            {"If-Match": 'send the one ETag of an answer as it was, as in "12", or *'}
        )
    return int(found[1])


def is_known(if_none_match: str, etag: str) -> bool:
    """Return whether a reader has the answer with this ETag already."""
    if not etag or not if_none_match:
        return False
    return if_none_match.strip() == "*" or etag in _TAGS.findall(if_none_match)
