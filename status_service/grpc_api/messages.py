"""Converts rows and values of the service to messages of the contract."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from closeout.status.v1 import status_pb2
from status_service.reads.pace import NO_PACE
from status_service.recording import problems
from status_service.recording.types import counters_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from service_runtime.errors import ServiceError
    from status_service.campaigns.repair import Finding
    from status_service.domain import Problem, State
    from status_service.reads.pace import Pace, Sample
    from status_service.reads.values import FailureGroup
    from status_service.recording.types import FrameReceipt
    from status_service.retention.deletion import Deleted

#: Diagnoses in one answer, at most, and their bytes: one with all its labels and problems
#: takes up to 60,000. The rest of a message, which may have 4 MiB, is room to spare.
_MOST_DIAGNOSES = 2_000
_DIAGNOSES_BYTES = 7 * 512 * 1024

#: What announces a message within another takes fewer bytes.
_LENGTH_BYTES = 6


def to_campaign(row: sa.Row[Any], pace: Pace = NO_PACE) -> status_pb2.Campaign:
    """Return a row of ``campaigns`` as a message."""
    counters = counters_of(row)
    return status_pb2.Campaign(
        campaign_id=row.campaign_id,
        display_name=row.display_name,
        channel=row.channel,
        labels=json.loads(row.labels),
        state=to_state(row.state),
        revision=row.revision,
        sealed=row.total is not None,
        total=row.total,
        sent=counters.sent,
        failed=counters.failed,
        skipped=counters.skipped,
        unknown=counters.unknown,
        processed=counters.processed,
        pending=None if row.total is None else row.total - counters.processed,
        create_time=to_timestamp(row.create_time),
        schedule_time=to_timestamp(row.schedule_time),
        start_time=to_timestamp(row.start_time),
        progress_time=to_timestamp(row.progress_time),
        complete_time=to_timestamp(row.complete_time),
        problems=map(_to_problem, problems.from_json(row.problems)),
        results_per_minute=pace.results_per_minute,
        time_left=None if pace.time_left is None else _to_duration(pace.time_left),
        results_remove_time=to_timestamp(row.results_remove_time),
    )


def to_deleted(deleted: Deleted) -> status_pb2.DeleteCampaignResponse:
    """Return what a call to delete did as a message."""
    return status_pb2.DeleteCampaignResponse(
        deleted=deleted.is_news,
        campaign_id=deleted.campaign.campaign_id,
        state=to_state(deleted.campaign.state),
        results=counters_of(deleted.campaign).processed,
        delete_time=to_timestamp(deleted.delete_time),
    )


class Snapshots:
    """Messages of snapshots: those who are shown the same row get the same message."""

    def __init__(self) -> None:
        self._row: sa.Row[Any] | None = None
        self._message = status_pb2.WatchCampaignResponse()

    def of(self, row: sa.Row[Any]) -> status_pb2.WatchCampaignResponse:
        """Return a row as a message, which nobody may change."""
        if row is not self._row:
            self._row = row
            self._message = status_pb2.WatchCampaignResponse(campaign=to_campaign(row))
        return self._message


def _to_problem(problem: Problem) -> status_pb2.Problem:
    message = status_pb2.Problem(
        kind=cast("status_pb2.Problem.Kind.ValueType", problem.kind),
        summary=problem.summary,
        detail=problem.detail,
        setting=problem.setting,
        provider=problem.provider,
        needs_attention=problem.needs_attention,
    )
    if problem.since_time is not None:
        message.since_time.FromMicroseconds(problem.since_time)
    if problem.deadline_time is not None:
        message.deadline_time.FromMicroseconds(problem.deadline_time)
    return message


def to_state(state: State | str | None) -> status_pb2.Campaign.State.ValueType:
    """Return a state as the contract numbers it; None is STATE_UNSPECIFIED."""
    return status_pb2.Campaign.State.Value(str(state) if state else "STATE_UNSPECIFIED")


def campaign_state(
    campaign_id: str, state: State, revision: int, processed: int
) -> status_pb2.CampaignState:
    """Return the state of a campaign at one revision as a message."""
    return status_pb2.CampaignState(
        campaign_id=campaign_id, state=to_state(state), revision=revision, processed=processed
    )


def rejection(error: ServiceError) -> status_pb2.Rejection:
    """Return why results were refused as a message."""
    return status_pb2.Rejection(
        reason=error.reason, message=error.message, retryable=error.retryable
    )


def to_receipt(
    campaign_id: str, receipt: FrameReceipt
) -> status_pb2.BatchReportResultsResponse.Receipt:
    """Return what became of the results of one campaign as a message."""
    return status_pb2.BatchReportResultsResponse.Receipt(
        campaign_id=campaign_id,
        new_results=receipt.new,
        raised_results=receipt.raised,
        duplicate_results=receipt.duplicate,
        campaign_state=(
            None
            if receipt.state is None
            else campaign_state(campaign_id, receipt.state, receipt.revision, receipt.processed)
        ),
        rejection=None if receipt.error is None else rejection(receipt.error),
    )


def to_result(row: sa.Row[Any]) -> status_pb2.Result:
    """Return a row of ``results`` as a message."""
    return status_pb2.Result(
        sequence=row.sequence,
        outcome=row.outcome,
        attempt=row.attempt,
        code=row.code,
        detail=row.detail,
        provider_message_id=row.provider_message_id,
        finish_time=to_timestamp(row.finish_time),
    )


def to_sample(sample: Sample) -> status_pb2.CounterSample:
    """Return a sample as a message."""
    counters = sample.counters
    return status_pb2.CounterSample(
        sample_time=to_timestamp(sample.sample_time),
        sent=counters.sent,
        failed=counters.failed,
        skipped=counters.skipped,
        unknown=counters.unknown,
    )


def to_failure_group(group: FailureGroup) -> status_pb2.FailureGroup:
    """Return a group of results as a message."""
    return status_pb2.FailureGroup(
        outcome=cast("status_pb2.Result.Outcome.ValueType", int(group.outcome)),
        code=group.code,
        rest=group.is_rest,
        results=group.number,
        detail=group.detail,
        sequences=group.examples,
    )


def to_transition(row: sa.Row[Any]) -> status_pb2.Transition:
    """Return a row of ``transitions`` as a message."""
    return status_pb2.Transition(
        from_state=to_state(row.from_state),
        to_state=to_state(row.to_state),
        cause=status_pb2.Transition.Cause.Value(row.cause),
        actor=row.actor,
        reason=row.reason,
        create_time=to_timestamp(row.create_time),
        on_behalf_of=row.on_behalf_of,
    )


def to_ranges(ranges: Sequence[tuple[int, int]]) -> list[status_pb2.SequenceRange]:
    """Return (first, last) pairs as messages."""
    return [status_pb2.SequenceRange(first=first, last=last) for first, last in ranges]


def to_diagnosis(found: Finding) -> status_pb2.CampaignDiagnosis:
    """Return a finding as a message."""
    row = found.campaign
    message = status_pb2.CampaignDiagnosis(
        campaign=to_campaign(row),
        repaired=found.repaired,
        action=found.action,
        explanation=found.explanation,
        last_reporter=row.last_reporter,
        needs_attention=found.needs_attention,
    )
    if found.diagnosis is not None:
        message.diagnosis = status_pb2.CampaignDiagnosis.Diagnosis.Value(found.diagnosis)
    if row.start_time is not None:
        end = row.complete_time or found.now
        message.sending_duration.CopyFrom(_to_duration(end - row.start_time))
        last = max(row.start_time, row.progress_time or row.start_time)
        message.idle_duration.CopyFrom(_to_duration(found.now - last))
    return message


def to_repairs(findings: Sequence[Finding]) -> status_pb2.RepairCampaignsResponse:
    """Return findings as an answer that fits into a message, the important ones first."""
    important = [found for found in findings if found.repaired or found.needs_attention]
    others = [found for found in findings if not (found.repaired or found.needs_attention)]
    response = status_pb2.RepairCampaignsResponse(
        open_campaigns=sum(found.is_open for found in findings),
        repaired_campaigns=sum(found.repaired for found in findings),
        attention_campaigns=sum(found.needs_attention for found in findings),
    )
    room = _DIAGNOSES_BYTES
    for diagnosis in map(to_diagnosis, (important + others)[:_MOST_DIAGNOSES]):
        room -= diagnosis.ByteSize() + _LENGTH_BYTES
        if room < 0:
            break
        response.diagnoses.append(diagnosis)
    return response


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a time as a message; None stays absent."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def _to_duration(span: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(max(span, timedelta()))
    return message
