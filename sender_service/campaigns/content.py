"""The content of a draft: compiled by its channel, and previewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.campaigns import audience
from sender_service.channels.contract import Message
from sender_service.channels.errors import InvalidContentError, TemplateError
from sender_service.channels.rendering.content import content_variables
from sender_service.channels.rendering.field_check import unknown_variables
from sender_service.domain import MessageKeys
from sender_service.errors import TemplateInvalidError
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sender_service.campaigns.audience import RecipientInput
    from sender_service.campaigns.drafts import CampaignDraft
    from sender_service.channels.contract import Channel, Template


def compiled(channel: Channel, draft: CampaignDraft) -> Template:
    """Return the content of a draft as its channel compiles it.

    Raises:
        TemplateInvalidError: a template is broken, or uses a variable that is no field of
            the recipients.
        InvalidRequestError: a field of the content is wrong, or the channel does not
            take its kind.
    """
    try:
        template = channel.compile(draft.content)
        if draft.recipient_fields is not None:
            _check_variables(draft, draft.recipient_fields)
    except TemplateError as error:
        raise _template_invalid(error, draft) from error
    except InvalidContentError as error:
        raise InvalidRequestError.of({_field(error.field, draft): error.message}) from error
    return template


def preview(channel: Channel, draft: CampaignDraft, recipient: RecipientInput) -> str:
    """Return a message as the recipient would get it.

    Raises:
        TemplateInvalidError: a template is broken, or can't be rendered for them.
        InvalidRequestError: a field of the content, or the recipient, is wrong.
    """
    template = compiled(channel, draft)
    address = ""
    # Without an address the preview is of the content alone.
    if recipient.address:
        row = audience.check_row(channel, recipient)
        if row.reason:
            raise InvalidRequestError.of({"preview_recipient": row.reason})
        address = row.address
    keys = MessageKeys(organisation="", campaign_id=draft.campaign_id, content_digest="")
    message = Message(
        campaign_id=draft.campaign_id,
        sequence=1,
        address=address,
        recipient_key=recipient.recipient_key,
        fields=recipient.fields,
        idempotency_key=keys.key(1),
    )
    try:
        return template.preview(message)
    except TemplateError as error:
        raise _template_invalid(error, draft) from error


def _field(field: str, draft: CampaignDraft) -> str:
    """Return the path in the request of a field of the content."""
    return field if field == "body" else f"{draft.content.kind}.{field}"


def _template_invalid(error: TemplateError, draft: CampaignDraft) -> TemplateInvalidError:
    return TemplateInvalidError.at(
        _field(error.field, draft), str(error), line=error.line, column=error.column
    )


def _check_variables(draft: CampaignDraft, fields: Collection[str]) -> None:
    """Check that the templates use only what recipients have.

    Raises:
        TemplateInvalidError: they do not; it names every such variable.
        TemplateError: a template is broken that the channel does not compile.
    """
    unknown = unknown_variables(content_variables(draft.content), fields)
    if not unknown:
        return
    first = unknown[0]
    violations: dict[str, str] = {}
    for variable in unknown:
        field = _field(variable.field, draft)
        text = f"{variable.line}:{variable.column}: {variable.problem}"
        violations[field] = f"{violations[field]}; {text}" if field in violations else text
    raise TemplateInvalidError(
        "; ".join(map(str, unknown)),
        metadata={
            "field": _field(first.field, draft),
            "line": str(first.line),
            "column": str(first.column),
            "variable": first.name,
            "suggestion": first.suggestion,
        },
        fields=violations,
    )
