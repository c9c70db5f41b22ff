"""From the sender's own types to the answers of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1.status_pb2 import Problem
from sender_service.domain import Phase
from sender_service.store.problems import NO_PROBLEMS, problems_from_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sender_service.domain import Problem as HeldUpBy
    from sender_service.store.campaigns import Delivery
    from sender_service.store.recipients import Addressee, UploadResult


def upload_response(result: UploadResult) -> pb.UploadRecipientsResponse:
    """Return the answer to an upload."""
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


def delivery_response(
    delivery: Delivery, status_problem: HeldUpBy | None
) -> pb.GetDeliveryResponse:
    """Return how a delivery stands, and what it waits for.

    While the status service does not answer, every delivery that is not finished
    waits for that too.
    """
    campaign = delivery.campaign
    problems = [*problems_from_json(campaign.problem or NO_PROBLEMS)]
    if status_problem is not None and campaign.phase in {Phase.FROZEN, Phase.STARTED}:
        problems.append(status_problem)
    rows = delivery.shards
    return pb.GetDeliveryResponse(
        campaign_id=campaign.campaign_id,
        phase=pb.GetDeliveryResponse.Phase.Value(campaign.phase),
        total=campaign.total,
        finished=sum(row.journaled for row in rows),
        in_doubt=delivery.in_doubt,
        deferred=delivery.deferred,
        unreported=delivery.unreported,
        shards=len(rows),
        finished_shards=sum(
            row.journaled == row.last_sequence - row.first_sequence + 1 for row in rows
        ),
        leased_shards=sum(row.lease_expire_time is not None for row in rows),
        problems=[
            Problem(
                kind=Problem.Kind.Value(problem.kind),
                summary=problem.summary,
                detail=problem.detail,
                setting=problem.setting,
                provider=problem.provider,
                since_time=timestamp(problem.since_time),
                needs_attention=problem.needs_attention,
            )
            for problem in problems
        ],
    )


def shards_response(delivery: Delivery) -> pb.ListShardsResponse:
    """Return the shards of a delivery."""
    return pb.ListShardsResponse(
        shards=[
            pb.Shard(
                shard=shard.shard,
                first_sequence=shard.first_sequence,
                last_sequence=shard.last_sequence,
                owner=shard.owner,
                epoch=shard.epoch,
                lease_expire_time=timestamp(shard.lease_expire_time),
                high_water_mark=shard.intent_through,
                finished=shard.journaled,
                reported=shard.reported,
            )
            for shard in delivery.shards
        ]
    )


def recipients_response(found: Iterable[Addressee]) -> pb.BatchGetRecipientsResponse:
    """Return the answer to who some messages go to."""
    return pb.BatchGetRecipientsResponse(
        recipients=[pb.RecipientEntry(**addressee._asdict()) for addressee in found]
    )


def timestamp(time: datetime | None) -> timestamp_pb2.Timestamp | None:
    """Return an aware time as a Timestamp; None as none."""
    if time is None:
        return None
    converted = timestamp_pb2.Timestamp()
    converted.FromDatetime(time)
    return converted
