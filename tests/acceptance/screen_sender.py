"""A sender service as the pages of :mod:`.dashboard_world` ask it, with invented answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from closeout.sender.v1 import sender_pb2 as pb
from closeout.sender.v1 import sender_pb2_grpc

#: How many messages the provider may have, by campaign.
_IN_DOUBT = {"digest-2026-w47": 64}
_PREVIEW = """\
To: Ada Lovelace <customer-7561@example.com>
From: Billing <billing@example.com>
Subject: Your invoice for October

Hello Ada,

your invoice for October is due on 5 December: 48.20 EUR.
"""


class ScreenSender(sender_pb2_grpc.SenderServiceServicer):
    """Answers as a sender that has sent the campaigns of the screens."""

    async def GetDelivery(  # noqa: D102, N802
        self, request: pb.GetDeliveryRequest, context: Any
    ) -> pb.GetDeliveryResponse:
        del context
        return pb.GetDeliveryResponse(
            campaign_id=request.campaign_id,
            guarantee=pb.DeliveryOptions.AT_MOST_ONCE,
            in_doubt=_IN_DOUBT.get(request.campaign_id, 0),
        )

    async def BatchGetRecipients(  # noqa: D102, N802
        self, request: pb.BatchGetRecipientsRequest, context: Any
    ) -> pb.BatchGetRecipientsResponse:
        del context
        return pb.BatchGetRecipientsResponse(
            recipients=[
                pb.RecipientEntry(
                    sequence=sequence,
                    address=f"customer-{sequence}@example.com",
                    recipient_key=f"C-{100_000 + sequence}",
                )
                for sequence in request.sequences
            ]
        )

    async def ResendCampaign(  # noqa: D102, N802
        self, request: pb.ResendCampaignRequest, context: Any
    ) -> pb.ResendCampaignResponse:
        assert request.validate_only
        del context
        return pb.ResendCampaignResponse(total=12, unknown=12, preview=_PREVIEW)


@asynccontextmanager
async def screen_sender() -> AsyncIterator[str]:
    """Serve it; yield HOST:PORT."""
    server = grpc.aio.server()
    sender_pb2_grpc.add_SenderServiceServicer_to_server(ScreenSender(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
