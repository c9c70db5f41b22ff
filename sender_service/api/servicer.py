"""SenderService on gRPC. Each method checks, calls the service, and converts."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from closeout.sender.v1 import sender_pb2, sender_pb2_grpc
from sender_service.api import family_requests, requests, responses, trial_requests
from service_runtime.caller import caller_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sender_service.campaigns.health import HealthChecks
    from sender_service.campaigns.retention import Retention
    from sender_service.campaigns.service import SenderCampaigns
    from sender_service.campaigns.trial import Trials

#: Campaigns that have not ended that an answer names, at most.
_OPEN_NAMED = 100
_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class SenderServicer(sender_pb2_grpc.SenderServiceServicer):
    """The calls of ``protos/closeout/sender/v1/sender.proto``, which says what each promises.

    Args:
        service: the campaigns.
        trials: messages outside of them.
        health: what the sender needs.
        retention: deletes campaigns and erases addresses.
    """

    def __init__(
        self,
        service: SenderCampaigns,
        trials: Trials,
        health: HealthChecks,
        retention: Retention,
    ) -> None:
        self._retention = retention
        self._service = service
        self._trials = trials
        self._health = health

    async def CreateCampaign(  # noqa: D102, N802
        self, request: sender_pb2.CreateCampaignRequest, context: _Context
    ) -> sender_pb2.CreateCampaignResponse:
        draft = requests.create(request)
        if request.validate_only:
            recipient = requests.preview_recipient(request)
            preview = await self._service.preview(draft, recipient)
            return sender_pb2.CreateCampaignResponse(preview=preview)
        created = await self._service.create(caller_of(context), draft)
        return responses.create_response(created)

    async def UploadRecipients(  # noqa: D102, N802
        self,
        request_iterator: AsyncIterator[sender_pb2.UploadRecipientsRequest],
        context: _Context,
    ) -> sender_pb2.UploadRecipientsResponse:
        organisation = caller_of(context).organisation
        async with aclosing(requests.upload(request_iterator)) as batches:
            result = await self._service.upload(organisation, batches)
        return responses.upload_response(result)

    async def StartCampaign(  # noqa: D102, N802
        self, request: sender_pb2.StartCampaignRequest, context: _Context
    ) -> sender_pb2.StartCampaignResponse:
        campaign_id, start_time, start_now, repeat = requests.start(request)
        started = await self._service.start(
            caller_of(context),
            campaign_id,
            start_time,
            start_now=start_now,
            repeat=repeat,
        )
        return responses.start_response(started)

    async def SendTest(  # noqa: D102, N802
        self,
        request: sender_pb2.SendTestRequest,
        context: _Context,  # noqa: ARG002 - every caller may
    ) -> sender_pb2.SendTestResponse:
        draft, recipients = trial_requests.send_test(request)
        return responses.test_response(await self._trials.send(draft, recipients))

    async def CheckSender(  # noqa: D102, N802
        self,
        request: sender_pb2.CheckSenderRequest,
        context: _Context,  # noqa: ARG002 - every caller may
    ) -> sender_pb2.CheckSenderResponse:
        channel = trial_requests.check_sender(request)
        return responses.checks_response(await self._health.run(channel))

    async def ResendCampaign(  # noqa: D102, N802
        self, request: sender_pb2.ResendCampaignRequest, context: _Context
    ) -> sender_pb2.ResendCampaignResponse:
        resend = family_requests.resend(request)
        resent = await self._service.resends.resend(caller_of(context), resend)
        return responses.resend_response(resent)

    async def GetDelivery(  # noqa: D102, N802
        self, request: sender_pb2.GetDeliveryRequest, context: _Context
    ) -> sender_pb2.GetDeliveryResponse:
        campaign_id = requests.get_delivery(request)
        delivery = await self._service.delivery(caller_of(context).organisation, campaign_id)
        return responses.delivery_response(delivery)

    async def ListShards(  # noqa: D102, N802
        self, request: sender_pb2.ListShardsRequest, context: _Context
    ) -> sender_pb2.ListShardsResponse:
        campaign_id, page = requests.list_shards(request)
        shards = await self._service.shards(caller_of(context).organisation, campaign_id, page)
        return responses.shards_response(shards)

    async def BatchGetRecipients(  # noqa: D102, N802
        self, request: sender_pb2.BatchGetRecipientsRequest, context: _Context
    ) -> sender_pb2.BatchGetRecipientsResponse:
        campaign_id, sequences, include_fields = requests.batch_get_recipients(request)
        found = await self._service.recipients(
            caller_of(context).organisation, campaign_id, sequences, include_fields=include_fields
        )
        return responses.recipients_response(found)

    async def DeleteCampaign(  # noqa: D102, N802
        self, request: sender_pb2.DeleteCampaignRequest, context: _Context
    ) -> sender_pb2.DeleteCampaignResponse:
        deleted = await self._retention.delete(
            caller_of(context), requests.delete_campaign(request), dry_run=request.dry_run
        )
        return sender_pb2.DeleteCampaignResponse(
            deleted=deleted.is_news, recipients=deleted.recipients
        )

    async def EraseAddress(  # noqa: D102, N802
        self, request: sender_pb2.EraseAddressRequest, context: _Context
    ) -> sender_pb2.EraseAddressResponse:
        address, page = requests.erasure(request)
        erased = await self._retention.erase(
            caller_of(context), address, page, dry_run=request.dry_run
        )
        return sender_pb2.EraseAddressResponse(
            recipients=erased.recipients,
            outcomes=erased.outcomes,
            open_campaign_ids=erased.open_campaign_ids[:_OPEN_NAMED],
            next_page_token=erased.next_page_token,
        )
