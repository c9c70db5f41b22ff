"""The checks of what a request says about families, repetitions and sending again."""

from __future__ import annotations

from datetime import timedelta

from closeout.sender.v1 import sender_pb2 as pb
from closeout.status.v1 import status_pb2
from sender_service.campaigns.resend import ResendInput
from sender_service.domain import Outcome, Repeat
from service_runtime.validation import DISPLAY_NAME, Validation

FAMILY = 200
MAX_REPEAT_AFTER = timedelta(days=366)

_REPEATS: dict[int, Repeat] = {
    pb.StartCampaignRequest.REPEAT_UNSPECIFIED: Repeat.REFUSE,
    pb.StartCampaignRequest.REFUSE: Repeat.REFUSE,
    pb.StartCampaignRequest.ONLY_NEW: Repeat.ONLY_NEW,
    pb.StartCampaignRequest.AGAIN: Repeat.AGAIN,
}
_OUTCOMES: dict[int, Outcome] = {
    status_pb2.Result.Outcome.Value(outcome.name): outcome for outcome in Outcome
}


def family(check: Validation, request: pb.CreateCampaignRequest) -> str:
    """Return the family that CreateCampaign names; empty: that of the name."""
    return check.text("family", request.family, longest=FAMILY)


def repeat_after(check: Validation, request: pb.CreateCampaignRequest) -> timedelta | None:
    """Return how long a campaign counts as a repetition; None: the default."""
    if not request.HasField("repeat_after"):
        return None
    span = request.repeat_after
    return check.duration("repeat_after", span, least=timedelta(0), most=MAX_REPEAT_AFTER)


def repeat(check: Validation, request: pb.StartCampaignRequest) -> Repeat:
    """Return what StartCampaign asks for about people who would get it twice."""
    return check.enum("repeat", request.repeat, _REPEATS, default=Repeat.REFUSE)


def resend(request: pb.ResendCampaignRequest) -> ResendInput:
    """Return what ResendCampaign asks for.

    Raises:
        InvalidRequestError: it names every field that is wrong.
    """
    with Validation() as check:
        outcomes = check.enums("outcomes", request.outcomes, _OUTCOMES)
        if not request.outcomes and not request.include_unsent:
            check.refuse("outcomes", "name at least one, or set include_unsent")
        if request.campaign_id and request.campaign_id == request.source_campaign_id:
            check.refuse("campaign_id", "the source; choose another id, or leave it out")
        return ResendInput(
            source_campaign_id=check.campaign_id(
                request.source_campaign_id, field="source_campaign_id"
            ),
            outcomes=frozenset(outcomes),
            include_unsent=request.include_unsent,
            campaign_id=check.campaign_id(request.campaign_id, optional=True),
            display_name=check.text("display_name", request.display_name, longest=DISPLAY_NAME),
            request_id=check.request_id(request.request_id),
            validate_only=request.validate_only,
        )
