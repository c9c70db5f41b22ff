"""What the sender refuses, each with a reason of ``closeout.status.v1.ErrorReason``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from service_runtime.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class CampaignNotFoundError(ServiceError):
    """No such campaign in this organisation."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "CAMPAIGN_NOT_FOUND"

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} not found", metadata={"campaign_id": campaign_id}
        )


class CampaignAlreadyExistsError(ServiceError):
    """The id is taken by a campaign with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "CAMPAIGN_ALREADY_EXISTS"

    def __init__(self, campaign_id: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} exists with other content, options, channel or name;"
            " choose another id",
            metadata={"campaign_id": campaign_id},
        )


class TemplateInvalidError(InvalidRequestError):
    """A template can't be compiled or rendered."""

    reason = "TEMPLATE_INVALID"

    @classmethod
    def at(cls, field: str, message: str, *, line: int, column: int) -> TemplateInvalidError:
        """Return the error for a template.

        Args:
            field: the path of the template in the request, as in ``email.html``.
            message: what is wrong, for people.
            line: where, from 1; 0 if not known.
            column: where in the line, from 1; 0 if not known.
        """
        metadata = {"field": field, "line": str(line), "column": str(column)}
        return cls(message, metadata=metadata, fields={field: message})


class ChannelNotFoundError(ServiceError):
    """There is no channel of this name."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "CHANNEL_NOT_FOUND"

    def __init__(self, channel: str, *, installed: Iterable[str]) -> None:
        names = ", ".join(sorted(installed))
        super().__init__(
            f"there is no channel {channel!r}; installed: {names}",
            metadata={"channel": channel, "installed": names},
            fields={"channel": f"one of {names}"},
        )


class ChannelUnconfiguredError(ServiceError):
    """The channel is installed, but not configured."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CHANNEL_NOT_CONFIGURED"

    def __init__(self, channel: str, why: str) -> None:
        super().__init__(
            f"channel {channel} can't be used: {why}", metadata={"channel": channel, "why": why}
        )


class AudienceFrozenError(ServiceError):
    """Recipients come after the campaign was started."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUDIENCE_FROZEN"

    def __init__(self, campaign_id: str, *, total: int) -> None:
        super().__init__(
            f"campaign {campaign_id!r} was started with {total} messages; its audience is frozen",
            metadata={"campaign_id": campaign_id, "total": str(total)},
        )


class UploadOutOfOrderError(ServiceError):
    """A gap in the rows of an upload."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "UPLOAD_OUT_OF_ORDER"

    def __init__(self, *, upload_id: str, row: int, expected: int) -> None:
        super().__init__(
            f"upload {upload_id!r} goes on with row {row}, but row {expected} is expected;"
            f" send the rows from {expected} on",
            metadata={"upload_id": upload_id, "row": str(row), "expected_row": str(expected)},
        )


class StatusServiceUnavailableError(ServiceError):
    """The status service does not answer the sender."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STATUS_SERVICE_UNAVAILABLE"


class ServiceKeyError(StatusServiceUnavailableError):
    """The status service refuses the sender's own key, or the sender has none."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the sender can't use the status service: {why}",
            metadata={"cause": why},
            retry_after_seconds=5.0,
        )


class TransitionNotAllowedError(ServiceError):
    """The campaign was ended before it was started."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "TRANSITION_NOT_ALLOWED"


class CampaignCancelledError(TransitionNotAllowedError):
    """The campaign is CANCELLED."""


class CampaignSealedError(ServiceError):
    """The status service has the campaign with another total."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_SEALED"


class CampaignNotEndedError(ServiceError):
    """A campaign is to be sent again, or deleted, before it has ended."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "CAMPAIGN_NOT_ENDED"

    def __init__(self, campaign_id: str, *, phase: str) -> None:
        super().__init__(
            f"campaign {campaign_id!r} has not ended at the sender (it is {phase}); wait until"
            " every message has an outcome and every outcome is reported, or cancel it",
            metadata={"campaign_id": campaign_id, "phase": phase},
        )


class RecipientsRemovedError(ServiceError):
    """The recipients or the content of a campaign are not kept any more."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "RECIPIENTS_REMOVED"

    def __init__(self, campaign_id: str, *, remove_time: datetime) -> None:
        when = remove_time.isoformat(timespec="seconds")
        super().__init__(
            f"recipients or content of campaign {campaign_id!r} are not kept since {when};"
            " its counters are, see GetDelivery. To send again, create another campaign",
            metadata={"campaign_id": campaign_id, "remove_time": when},
        )


class AudienceRepeatedError(ServiceError):
    """People of the audience got another campaign of the family lately, or are about to."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "AUDIENCE_REPEATED"


class LookOutdatedError(Exception):
    """What a look at the audience found holds no longer; nothing was frozen.

    No caller ever sees it: the look is repeated.
    """


class LeaseLostError(Exception):
    """A shard belongs to another claim now; nothing was written. No caller ever sees it.

    Args:
        campaign: the number of the campaign.
        shard: the number of the shard.
        epoch: the fencing token of the claim that lost it.
    """

    def __init__(self, *, campaign: int, shard: int, epoch: int) -> None:
        self.message = (
            f"the lease of shard {shard} of campaign number {campaign} with epoch {epoch} is lost"
        )
        super().__init__(self.message)
