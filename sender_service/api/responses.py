"""From the sender's own values to the answers of the contract."""

from __future__ import annotations

import importlib.metadata
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from closeout.times import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sender_service.campaigns.health import Check
    from sender_service.campaigns.resend import Resent
    from sender_service.campaigns.service import Created, Delivery, Started
    from sender_service.campaigns.trial import Attempt
    from sender_service.domain import Problem
    from sender_service.store.recipients import Addressee, UploadResult
    from service_runtime.pages import Page

#: The distribution that has this service.
_DISTRIBUTION = "closeout-server"


def create_response(created: Created) -> pb.CreateCampaignResponse:
    """Return the answer to CreateCampaign."""
    return pb.CreateCampaignResponse(campaign_id=created.campaign_id, created=created.created)


def test_response(attempts: Iterable[Attempt]) -> pb.SendTestResponse:
    """Return the answer to SendTest."""
    return pb.SendTestResponse(
        attempts=[
            pb.SendTestResponse.Attempt(
                address=attempt.address,
                outcome=status_pb2.Result.Outcome.Value(attempt.outcome.name),
                code=attempt.code,
                detail=attempt.detail,
                provider_message_id=attempt.provider_message_id,
                problem=_problem(attempt.problem) if attempt.problem else None,
            )
            for attempt in attempts
        ]
    )


def checks_response(checks: Iterable[Check]) -> pb.CheckSenderResponse:
    """Return the answer to CheckSender."""
    return pb.CheckSenderResponse(
        checks=[
            pb.CheckSenderResponse.Check(
                name=check.name,
                ok=check.problem is None,
                summary=check.summary,
                problem=_problem(check.problem) if check.problem else None,
            )
            for check in checks
        ],
        read_time=timestamp(datetime.now(UTC)),
        version=importlib.metadata.version(_DISTRIBUTION),
    )


def upload_response(result: UploadResult) -> pb.UploadRecipientsResponse:
    """Return the answer to UploadRecipients."""
    return pb.UploadRecipientsResponse(
        accepted=result.accepted,
        duplicate=result.duplicate,
        invalid=result.invalid,
        rejected_rows=[
            pb.UploadRecipientsResponse.RejectedRow(
                row=row.row, address=row.address, reason=row.reason
            )
            for row in result.rejected_rows
        ],
        total=result.total,
    )


def start_response(started: Started) -> pb.StartCampaignResponse:
    """Return the answer to StartCampaign."""
    return pb.StartCampaignResponse(**started._asdict())


def resend_response(resent: Resent) -> pb.ResendCampaignResponse:
    """Return the answer to ResendCampaign."""
    counts = resent.counts
    return pb.ResendCampaignResponse(
        campaign_id=resent.campaign_id,
        created=resent.created,
        total=counts.total,
        sent=counts.sent,
        failed=counts.failed,
        skipped=counts.skipped,
        unknown=counts.unknown,
        unsent=counts.unsent,
        preview=resent.preview,
    )


def delivery_response(delivery: Delivery) -> pb.GetDeliveryResponse:
    """Return the answer to GetDelivery."""
    totals = delivery.totals
    return pb.GetDeliveryResponse(
        campaign_id=totals.campaign_id,
        phase=pb.GetDeliveryResponse.Phase.Value(totals.phase),
        state=status_pb2.Campaign.State.Value(delivery.state or "STATE_UNSPECIFIED"),
        revision=delivery.revision,
        total=totals.total,
        finished=totals.finished,
        in_doubt=totals.in_doubt,
        deferred=totals.deferred,
        unreported=totals.unreported,
        shards=totals.shards,
        finished_shards=totals.finished_shards,
        leased_shards=totals.leased_shards,
        problems=[_problem(problem) for problem in delivery.problems],
        family=totals.family,
        resend_of=totals.resend_of,
        guarantee=pb.DeliveryOptions.Guarantee.Value(totals.guarantee),
    )


def shards_response(page: Page) -> pb.ListShardsResponse:
    """Return the answer to ListShards."""
    return pb.ListShardsResponse(
        shards=[
            pb.Shard(
                shard=row.shard,
                first_sequence=row.first_sequence,
                last_sequence=row.last_sequence,
                owner=row.owner,
                epoch=row.epoch,
                lease_expire_time=(
                    None if row.lease_expire_time is None else timestamp(row.lease_expire_time)
                ),
                high_water_mark=row.intent_through,
                finished=row.journaled,
                reported=row.reported,
            )
            for row in page.rows
        ],
        next_page_token=page.next_page_token,
    )


def recipients_response(found: Iterable[Addressee]) -> pb.BatchGetRecipientsResponse:
    """Return the answer to BatchGetRecipients."""
    return pb.BatchGetRecipientsResponse(recipients=[_entry(addressee) for addressee in found])


def _entry(addressee: Addressee) -> pb.RecipientEntry:
    entry = pb.RecipientEntry(
        sequence=addressee.sequence,
        address=addressee.address,
        recipient_key=addressee.recipient_key,
    )
    if addressee.fields:
        entry.fields.update(json.loads(addressee.fields))
    return entry


def _problem(problem: Problem) -> status_pb2.Problem:
    return status_pb2.Problem(
        kind=status_pb2.Problem.Kind.Value(problem.kind),
        summary=problem.summary,
        detail=problem.detail,
        setting=problem.setting,
        provider=problem.provider,
        since_time=None if problem.since_time is None else timestamp(problem.since_time),
        needs_attention=problem.needs_attention,
        deadline_time=None if problem.deadline_time is None else timestamp(problem.deadline_time),
    )
