"""What the status service refuses, each with a reason of ``closeout.status.v1.ErrorReason``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from service_runtime.errors import ServiceError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from status_service.domain import Counters, State


class CampaignNotFoundError(ServiceError):
    """No such campaign in this organisation."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "CAMPAIGN_NOT_FOUND"

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} not found", metadata={"campaign_id": campaign_id}
        )


class CampaignDeletedError(CampaignNotFoundError):
    """Somebody deleted the campaign; what is reported of it is stored nowhere."""

    reason = "CAMPAIGN_DELETED"

    def __init__(self, campaign_id: str, *, delete_time: datetime, actor: str) -> None:
        when = delete_time.isoformat(timespec="seconds")
        ServiceError.__init__(
            self,
            f"campaign {campaign_id!r} was deleted at {when} by {actor}; report nothing more of"
            " it, and choose another id for a new campaign",
            metadata={"campaign_id": campaign_id, "delete_time": when, "actor": actor},
        )


class CampaignNotEndedError(ServiceError):
    """DeleteCampaign of a campaign that has not ended."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_NOT_ENDED"

    def __init__(self, campaign_id: str, *, state: State) -> None:
        super().__init__(
            f"campaign {campaign_id!r} is {state}; wait until it has ended, or cancel it, and"
            " delete it then",
            metadata={"campaign_id": campaign_id, "state": state},
        )


class ResultsRemovedError(ServiceError):
    """The results of the campaign are not kept any more."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "RESULTS_REMOVED"

    def __init__(self, campaign_id: str, *, remove_time: datetime) -> None:
        when = remove_time.isoformat(timespec="seconds")
        super().__init__(
            f"the results of campaign {campaign_id!r} are not kept since {when}; its counters"
            " and its audit trail are, and GetCampaign and ListTransitions show them",
            metadata={"campaign_id": campaign_id, "remove_time": when},
        )


class KeyNotFoundError(ServiceError):
    """No such key in this organisation."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "KEY_NOT_FOUND"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"key {key_id!r} not found; closeout keys list shows the keys of this organisation",
            metadata={"key_id": key_id},
        )


class KeyEndedError(ServiceError):
    """A key that is to be replaced is not valid any more."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "KEY_ENDED"

    def __init__(self, key_id: str, *, how: str) -> None:
        super().__init__(
            f"key {key_id!r} {how}; make another with closeout keys create",
            metadata={"key_id": key_id},
        )


class CampaignAlreadyExistsError(ServiceError):
    """The id is taken by a campaign with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "CAMPAIGN_ALREADY_EXISTS"

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} exists with another name, channel or labels, or did so"
            " until it was deleted; choose another id",
            metadata={"campaign_id": campaign_id},
        )


class CampaignBusyError(ServiceError):
    """Somebody holds the campaign's row locked; other campaigns don't wait for it."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "CAMPAIGN_BUSY"
    retryable = True

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} is locked in the database by somebody else; try again",
            metadata={"campaign_id": campaign_id},
            retry_after_seconds=1.0,
        )


class CampaignSealedError(ServiceError):
    """The total was sealed with another value."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_SEALED"

    def __init__(self, campaign_id: str, *, sealed: int, given: int) -> None:
        super().__init__(
            f"campaign {campaign_id!r} is sealed with total {sealed}, not {given};"
            " a total never changes",
            metadata={"campaign_id": campaign_id, "total": str(sealed), "given": str(given)},
        )


class CampaignNotSealedError(ServiceError):
    """Results come before the total is known."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_NOT_SEALED"
    retryable = True

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} is not sealed: call StartCampaign with its total first",
            metadata={"campaign_id": campaign_id},
        )


class TransitionNotAllowedError(ServiceError):
    """The state does not allow this change."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "TRANSITION_NOT_ALLOWED"

    def __init__(self, campaign_id: str, *, state: State, target: State) -> None:
        super().__init__(
            f"campaign {campaign_id!r} is {state}; it can't become {target}",
            metadata={"campaign_id": campaign_id, "state": state, "target": target},
        )


class CampaignNotSendingError(ServiceError):
    """MarkComplete of a campaign that is neither being sent nor paused."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_NOT_SENDING"

    def __init__(self, campaign_id: str, *, state: State) -> None:
        super().__init__(
            f"campaign {campaign_id!r} is {state}; only a SENDING or PAUSED one can be completed",
            metadata={"campaign_id": campaign_id, "state": state},
        )


class CampaignNotFullyProcessedError(ServiceError):
    """MarkComplete of a campaign of which messages have no result."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_NOT_FULLY_PROCESSED"

    def __init__(
        self,
        campaign_id: str,
        *,
        total: int,
        counters: Counters,
        missing: Sequence[tuple[int, int]],
    ) -> None:
        pending = total - counters.processed
        ranges = ", ".join(
            str(first) if first == last else f"{first}-{last}" for first, last in missing
        )
        numbers = {
            "total": total,
            "sent": counters.sent,
            "failed": counters.failed,
            "skipped": counters.skipped,
            "unknown": counters.unknown,
            "pending": pending,
        }
        super().__init__(
            f"campaign {campaign_id!r} is not fully processed: "
            + " ".join(f"{name}={number}" for name, number in numbers.items())
            + f"; no result for {ranges}. Let its sender report them, or use force with a"
            " reason to record them as UNKNOWN",
            metadata={
                "campaign_id": campaign_id,
                **{name: str(number) for name, number in numbers.items()},
                "missing_ranges": ranges,
            },
        )


class SequenceOutOfRangeError(ServiceError):
    """A result's sequence is not one of the campaign's."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "SEQUENCE_OUT_OF_RANGE"

    def __init__(self, campaign_id: str, *, sequence: int, total: int) -> None:
        super().__init__(
            f"sequence {sequence} is outside 1..{total} of campaign {campaign_id!r};"
            " none of the results reported with it was stored",
            metadata={
                "campaign_id": campaign_id,
                "sequence": str(sequence),
                "total": str(total),
            },
        )


class FrameOutOfOrderError(ServiceError):
    """A gap in the frame numbers of a stream."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "FRAME_OUT_OF_ORDER"

    def __init__(self, *, frame: int, expected: int) -> None:
        super().__init__(
            f"frame {frame} came where {expected} was expected; open a new stream and"
            " send what was not acknowledged",
            metadata={"frame": str(frame), "expected": str(expected)},
        )


class RevisionMismatchError(ServiceError):
    """The campaign changed since the caller read it."""

    code = grpc.StatusCode.ABORTED
    reason = "REVISION_MISMATCH"

    def __init__(self, campaign_id: str, *, current: int, given: int) -> None:
        super().__init__(
            f"campaign {campaign_id!r} changed: its revision is {current}, not {given};"
            " read it again",
            metadata={
                "campaign_id": campaign_id,
                "revision": str(current),
                "given": str(given),
            },
        )


class StoreWentBackError(StoreUnavailableError):
    """The database holds an older state of the campaign than was announced before."""

    def __init__(self, campaign_id: str, *, announced: int, current: int) -> None:
        super().__init__(
            f"the database went back: it has revision {current} of campaign {campaign_id!r},"
            f" and revision {announced} was announced, as after a restore or a failover that"
            " lost data; call again to begin with what it holds now",
            metadata={
                "campaign_id": campaign_id,
                "revision": str(current),
                "announced": str(announced),
            },
            retry_after_seconds=1.0,
        )


class SubscriptionNotFoundError(ServiceError):
    """No such subscription in this organisation."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "SUBSCRIPTION_NOT_FOUND"

    def __init__(self, subscription_id: str) -> None:
        super().__init__(
            f"subscription {subscription_id!r} not found; closeout events subscriptions lists"
            " those that exist",
            metadata={"subscription_id": subscription_id},
        )


class EventNotFoundError(ServiceError):
    """No such event in this organisation."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "EVENT_NOT_FOUND"

    def __init__(self, event_id: str) -> None:
        super().__init__(
            f"event {event_id!r} not found; closeout events list shows those that exist",
            metadata={"event_id": event_id},
        )


class TooManySubscriptionsError(ServiceError):
    """The organisation has as many subscriptions as it may."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_SUBSCRIPTIONS"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"an organisation has {most} subscriptions at most; delete one first",
            metadata={"most": str(most)},
        )
