"""Frames of results, serialised before the clock starts."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from closeout.status.v1 import status_pb2

RESULTS_A_FRAME = 500
_FINISH_TIME = Timestamp(seconds=1_700_000_000)


def serialised(campaign_id: str, *, first: int, results: int) -> list[bytes]:
    """Return the frames of a stream that reports the messages from ``first`` on as SENT."""
    end = first + results
    return [
        status_pb2.ReportResultsRequest(
            frame=number,
            campaign_id=campaign_id,
            results=[
                status_pb2.Result(
                    sequence=sequence,
                    outcome=status_pb2.Result.SENT,
                    attempt=1,
                    code="250",
                    provider_message_id=f"queued-as-{sequence:012}",
                    finish_time=_FINISH_TIME,
                )
                for sequence in range(start, min(start + RESULTS_A_FRAME, end))
            ],
        ).SerializeToString()
        for number, start in enumerate(range(first, end, RESULTS_A_FRAME), start=1)
    ]
