"""SenderService on gRPC. Each method checks, calls the service, and converts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from closeout.sender.v1 import sender_pb2, sender_pb2_grpc
from closeout.times import to_datetime
from sender_service.api import responses
from service_runtime.caller import caller_of
from service_runtime.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sender_service.campaigns.service import SenderCampaigns

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class SenderServicer(sender_pb2_grpc.SenderServiceServicer):
    """The calls of ``protos/closeout/sender/v1/sender.proto``, which says what each promises.

    Args:
        service: the campaigns.
    """

    def __init__(self, service: SenderCampaigns) -> None:
        self._service = service

    async def CreateCampaign(  # noqa: D102, N802
        self, request: sender_pb2.CreateCampaignRequest, context: _Context
    ) -> sender_pb2.CreateCampaignResponse:
        if request.validate_only:
            preview = await self._service.preview(request)
            return sender_pb2.CreateCampaignResponse(preview=preview)
        created = await self._service.create(caller_of(context).organisation, request)
        return sender_pb2.CreateCampaignResponse(
            campaign_id=created.campaign_id, created=created.created
        )

    async def UploadRecipients(  # noqa: D102, N802
        self,
        request_iterator: AsyncIterator[sender_pb2.UploadRecipientsRequest],
        context: _Context,
    ) -> sender_pb2.UploadRecipientsResponse:
        result = await self._service.upload(caller_of(context).organisation, request_iterator)
        return responses.upload_response(result)

    async def StartCampaign(  # noqa: D102, N802
        self, request: sender_pb2.StartCampaignRequest, context: _Context
    ) -> sender_pb2.StartCampaignResponse:
        started = await self._service.start(
            caller_of(context).organisation,
            _campaign_id(request.campaign_id),
            to_datetime(request.start_time) if request.HasField("start_time") else None,
            start_now=request.start_now,
        )
        return sender_pb2.StartCampaignResponse(
            total=started.total, transitioned=started.transitioned
        )

    async def GetDelivery(  # noqa: D102, N802
        self, request: sender_pb2.GetDeliveryRequest, context: _Context
    ) -> sender_pb2.GetDeliveryResponse:
        delivery = await self._service.delivery(
            caller_of(context).organisation, _campaign_id(request.campaign_id)
        )
        return responses.delivery_response(delivery, self._service.status_problem())

    async def ListShards(  # noqa: D102, N802
        self, request: sender_pb2.ListShardsRequest, context: _Context
    ) -> sender_pb2.ListShardsResponse:
        delivery = await self._service.delivery(
            caller_of(context).organisation, _campaign_id(request.campaign_id)
        )
        return responses.shards_response(delivery)

    async def BatchGetRecipients(  # noqa: D102, N802
        self, request: sender_pb2.BatchGetRecipientsRequest, context: _Context
    ) -> sender_pb2.BatchGetRecipientsResponse:
        found = await self._service.recipients(
            caller_of(context).organisation, _campaign_id(request.campaign_id), request.sequences
        )
        return responses.recipients_response(found)


def _campaign_id(given: str) -> str:
    if not given:
        raise InvalidRequestError.of({"campaign_id": "required"})
    return given
