"""The content of a draft: compiled by its channel, and previewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender_service.campaigns import audience
from sender_service.channels.contract import Message
from sender_service.channels.errors import ChannelError, InvalidContentError, TemplateError
from sender_service.channels.rendering import bounded, threads
from sender_service.channels.rendering.bounded import BoundedTemplate
from sender_service.channels.rendering.worker_process import WorkerUnavailableError
from sender_service.domain import MessageKeys
from sender_service.errors import RenderingUnavailableError, TemplateInvalidError
from service_runtime.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sender_service.campaigns.audience import RecipientInput
    from sender_service.campaigns.drafts import CampaignDraft
    from sender_service.channels.contract import Channel, Template
    from sender_service.channels.rendering.workers import TemplateWorkers


async def compiled(
    workers: TemplateWorkers, channel: Channel, draft: CampaignDraft
) -> BoundedTemplate | Template:
    """Return the content of a draft as its channel compiles it.

    Raises:
        TemplateInvalidError: a template is broken, goes beyond a limit, or uses a variable
            that is no field of the recipients.
        InvalidRequestError: a field of the content is wrong, or the channel does not
            take its kind.
        RenderingUnavailableError: no process can compile it now.
    """
    try:
        template = await bounded.compiled(workers, channel, draft.content)
        if draft.recipient_fields is not None:
            await _check_variables(workers, draft, draft.recipient_fields)
    except ChannelError as error:
        raise _refused(error, draft) from error
    return template


async def preview(
    workers: TemplateWorkers, channel: Channel, draft: CampaignDraft, recipient: RecipientInput
) -> str:
    """Return a message as the recipient would get it.

    Raises:
        TemplateInvalidError: a template is broken, or can't be rendered for them.
        InvalidRequestError: a field of the content, or the recipient, is wrong.
        RenderingUnavailableError: no process can render it now.
    """
    template = await compiled(workers, channel, draft)
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
        if isinstance(template, BoundedTemplate):
            return await template.preview(message)
        return await threads.run(template.preview, message)
    except ChannelError as error:
        raise _refused(error, draft) from error


def _refused(error: ChannelError, draft: CampaignDraft) -> ServiceError:
    """Return the refusal of a request for what is wrong with its content."""
    match error:
        case TemplateError():
            field = _field(error.field, draft)
            return TemplateInvalidError.at(field, str(error), line=error.line, column=error.column)
        case InvalidContentError():
            return InvalidRequestError.of({_field(error.field, draft): error.message})
        case WorkerUnavailableError():
            return RenderingUnavailableError(str(error))
    return InvalidRequestError.of({draft.content.kind: str(error)})


def _field(field: str, draft: CampaignDraft) -> str:
    """Return the path in the request of a field of the content."""
    if not field:
        return draft.content.kind  # which of its templates is not known
    return field if field == "body" else f"{draft.content.kind}.{field}"


async def _check_variables(
    workers: TemplateWorkers, draft: CampaignDraft, fields: Collection[str]
) -> None:
    """Check that the templates use only what recipients have.

    Raises:
        TemplateInvalidError: they do not; it names the first such variables.
        TemplateError: a template is broken that the channel does not compile.
        WorkerUnavailableError: no process can check it now.
    """
    unknown, count = await bounded.unknown(workers, draft.content, fields)
    if not unknown:
        return
    more = [f"and {count - len(unknown)} more"] if count > len(unknown) else []
    first = unknown[0]
    violations: dict[str, str] = {}
    for variable in unknown:
        field = _field(variable.field, draft)
        text = f"{variable.line}:{variable.column}: {variable.problem}"
        violations[field] = f"{violations[field]}; {text}" if field in violations else text
    raise TemplateInvalidError(
        "; ".join([*map(str, unknown), *more]),
        metadata={
            "field": _field(first.field, draft),
            "line": str(first.line),
            "column": str(first.column),
            "variable": first.name,
            "suggestion": first.suggestion,
        },
        fields=violations,
    )
