"""Every check of a request, and its values: nothing behind this module sees protobuf."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from closeout.sender.v1 import sender_pb2 as pb
from sender_service.api import family_requests
from sender_service.api.contents import content, recipient_fields, recipient_input
from sender_service.campaigns.audience import RecipientBatch, RecipientInput, broken_limit
from sender_service.campaigns.drafts import CampaignDraft, RetryInput
from sender_service.domain import Guarantee
from service_runtime.errors import InvalidRequestError
from service_runtime.pages import PageRequest
from service_runtime.validation import ADDRESS, CHANNEL, DISPLAY_NAME, Validation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable
    from datetime import datetime

    from google.protobuf import duration_pb2

    from sender_service.domain import Repeat

MAX_IN_FLIGHT = 10_000
MAX_ATTEMPTS = 100
MAX_BACKOFF = timedelta(hours=24)
MAX_DEADLINE = timedelta(days=30)
#: Recipients of one message of an upload.
MAX_BATCH = 1_000
MAX_UPLOAD_ID = 128
#: Sequences of one BatchGetRecipients: their recipients fit an answer of 4 MiB.
MAX_SEQUENCES = 400
#: The same with their fields, each recipient's at most 16 KiB as JSON.
MAX_SEQUENCES_WITH_FIELDS = 40
_DEFAULT_SHARDS = 100
#: Shorter waits and deadlines would be none.
_SHORTEST = timedelta(milliseconds=1)
_INT64 = 2**63 - 1

_GUARANTEES: dict[int, Guarantee | None] = {
    pb.DeliveryOptions.GUARANTEE_UNSPECIFIED: None,
    pb.DeliveryOptions.AT_MOST_ONCE: Guarantee.AT_MOST_ONCE,
    pb.DeliveryOptions.AT_LEAST_ONCE: Guarantee.AT_LEAST_ONCE,
}


class StartInput(NamedTuple):
    """What StartCampaign asks for; without a time and ``start_now``, the usual start."""

    campaign_id: str
    start_time: datetime | None
    start_now: bool
    repeat: Repeat


class ShardsInput(NamedTuple):
    """Which shards ListShards asks for."""

    campaign_id: str
    page: PageRequest


class RecipientsInput(NamedTuple):
    """Whom BatchGetRecipients asks for."""

    campaign_id: str
    sequences: frozenset[int]
    include_fields: bool


def create(request: pb.CreateCampaignRequest) -> CampaignDraft:
    """Return the campaign that CreateCampaign asks for; its channel has not seen it yet.

    Raises:
        InvalidRequestError: it names every field that is wrong.
    """
    options = request.options
    with Validation() as check:
        return CampaignDraft(
            campaign_id=check.campaign_id(request.campaign_id, optional=True),
            request_id=check.request_id(request.request_id),
            display_name=check.text("display_name", request.display_name, longest=DISPLAY_NAME),
            channel=check.text("channel", request.channel, longest=CHANNEL, required=True),
            content=content(check, request),
            labels=check.labels(request.labels),
            guarantee=check.enum("options.guarantee", options.guarantee, _GUARANTEES, default=None),
            max_in_flight=check.number(
                "options.max_in_flight", options.max_in_flight, least=0, most=MAX_IN_FLIGHT
            ),
            retry=_retry(check, options.retry) if options.HasField("retry") else None,
            recipient_fields=recipient_fields(check, request),
            family=family_requests.family(check, request),
            repeat_after=family_requests.repeat_after(check, request),
        )


def preview_recipient(request: pb.CreateCampaignRequest) -> RecipientInput:
    """Return the recipient of a preview; without one in the request, an empty recipient.

    Raises:
        InvalidRequestError: the recipient breaks a limit.
    """
    recipient = recipient_input(request.preview_recipient)
    with Validation() as check:
        if broken := broken_limit(recipient):
            check.refuse("preview_recipient", broken)
    return recipient


async def upload(
    messages: AsyncIterable[pb.UploadRecipientsRequest],
) -> AsyncGenerator[RecipientBatch, None]:
    """Yield the batches of UploadRecipients, each checked when it comes.

    Raises:
        InvalidRequestError: a message is wrong, or there is none.
    """
    first: pb.UploadRecipientsRequest | None = None
    async for message in messages:
        first = first or message
        yield _batch(message, first)
    if first is None:
        raise InvalidRequestError.of({"campaign_id": "required; the stream has no message"})


def start(request: pb.StartCampaignRequest) -> StartInput:
    """Return what StartCampaign asks for.

    Raises:
        InvalidRequestError: it names every field that is wrong.
    """
    timed = request.HasField("start_time")
    with Validation() as check:
        check.only_one({"start_time": timed, "start_now": request.start_now})
        return StartInput(
            campaign_id=check.campaign_id(request.campaign_id),
            start_time=check.timestamp("start_time", request.start_time) if timed else None,
            start_now=request.start_now,
            repeat=family_requests.repeat(check, request),
        )


def get_delivery(request: pb.GetDeliveryRequest) -> str:
    """Return the id of the campaign that GetDelivery asks about.

    Raises:
        InvalidRequestError: the id is missing or malformed.
    """
    with Validation() as check:
        return check.campaign_id(request.campaign_id)


def list_shards(request: pb.ListShardsRequest) -> ShardsInput:
    """Return which shards ListShards asks for.

    Raises:
        InvalidRequestError: it names every field that is wrong.
    """
    with Validation() as check:
        return ShardsInput(
            campaign_id=check.campaign_id(request.campaign_id),
            page=check.page(request.page_size, request.page_token, default=_DEFAULT_SHARDS),
        )


def delete_campaign(request: pb.DeleteCampaignRequest) -> str:
    """Return the campaign to delete.

    Raises:
        InvalidRequestError: its id is none.
    """
    with Validation() as check:
        return check.campaign_id(request.campaign_id)


def erasure(request: pb.EraseAddressRequest) -> tuple[str, PageRequest]:
    """Return the address to erase, and where to go on.

    Raises:
        InvalidRequestError: the address is empty or too long.
    """
    with Validation() as check:
        address = check.text("address", request.address.strip(), longest=ADDRESS, required=True)
        return address, PageRequest(1, request.page_token)


def batch_get_recipients(request: pb.BatchGetRecipientsRequest) -> RecipientsInput:
    """Return whom BatchGetRecipients asks for.

    Raises:
        InvalidRequestError: it names every field that is wrong.
    """
    with Validation() as check:
        most = MAX_SEQUENCES_WITH_FIELDS if request.include_fields else MAX_SEQUENCES
        if not 1 <= len(request.sequences) <= most:
            check.refuse("sequences", f"{len(request.sequences)} given; 1 to {most}")
        return RecipientsInput(
            campaign_id=check.campaign_id(request.campaign_id),
            sequences=frozenset(request.sequences),
            include_fields=request.include_fields,
        )


def _retry(check: Validation, retry: pb.RetryPolicy) -> RetryInput:
    place = "options.retry"

    def span(name: str, value: duration_pb2.Duration, most: timedelta) -> timedelta | None:
        if not retry.HasField(name):  # type: ignore[arg-type] # names of fields
            return None
        return check.duration(f"{place}.{name}", value, least=_SHORTEST, most=most)

    initial = span("initial_backoff", retry.initial_backoff, MAX_BACKOFF)
    longest = span("max_backoff", retry.max_backoff, MAX_BACKOFF)
    if initial is not None and longest is not None and longest < initial:
        check.refuse(f"{place}.max_backoff", "below initial_backoff")
    return RetryInput(
        initial_backoff=initial,
        max_backoff=longest,
        max_attempts=check.number(
            f"{place}.max_attempts", retry.max_attempts, least=0, most=MAX_ATTEMPTS
        ),
        deadline=span("deadline", retry.deadline, MAX_DEADLINE),
    )


def _batch(
    message: pb.UploadRecipientsRequest, first: pb.UploadRecipientsRequest
) -> RecipientBatch:
    with Validation() as check:
        check.campaign_id(message.campaign_id)
        check.text("upload_id", message.upload_id, longest=MAX_UPLOAD_ID, required=True)
        check.number("first_row", message.first_row, least=0, most=_INT64)
        check.number("recipients", len(message.recipients), least=0, most=MAX_BATCH)
        if message.campaign_id != first.campaign_id:
            check.refuse("campaign_id", "must be the same throughout the stream")
        if message.upload_id != first.upload_id:
            check.refuse("upload_id", "must be the same throughout the stream")
    return RecipientBatch(
        campaign_id=message.campaign_id,
        upload_id=message.upload_id,
        first_row=message.first_row,
        recipients=[recipient_input(recipient) for recipient in message.recipients],
    )
