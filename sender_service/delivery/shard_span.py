"""A span for a run over a shard; a message has none, since there are millions of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_runtime import tracing

if TYPE_CHECKING:
    from sender_service.campaigns.active_campaign import ActiveCampaign
    from sender_service.delivery.shard_delivery import ShardDelivery
    from sender_service.delivery.shard_report import ShardReport
    from sender_service.store.leases import Claim


async def run_in_span(delivery: ShardDelivery, active: ActiveCampaign, claim: Claim) -> ShardReport:
    """Run over a shard as a span, whose children are the transactions of the run.

    It begins a trace: a campaign is sent long after the call that started it.
    """
    attributes = {
        tracing.ORGANISATION: active.row.organisation,
        tracing.CAMPAIGN_ID: active.campaign_id,
        "closeout.shard": claim.lease.shard,
    }
    with tracing.span("deliver shard", attributes=attributes) as span:
        report = await delivery.run()
        span.set_attribute("closeout.ended", report.ended.value)
        for name, number in report.counts.items():
            span.set_attribute(f"closeout.messages.{name}", number)
    return report
