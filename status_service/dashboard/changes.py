"""What the forms of a campaign ask for, checked as gRPC checks the same request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from closeout.status.v1 import status_pb2
from status_service.grpc_api import validation

if TYPE_CHECKING:
    from service_runtime.errors import InvalidRequestError
    from status_service.dashboard.visit import Visit

_LARGEST_INTEGER = 2**63 - 1


def change_of(visit: Visit, *, force: bool = False, revision: int = 0) -> validation.ChangeRequest:
    """Return which campaign a form changes, and why.

    Args:
        visit: of the form.
        force: it forces, which needs a reason.
        revision: the revision that was read; 0: any.

    Raises:
        CampaignNotFoundError: no campaign can have this id.
        InvalidRequestError: another field is wrong.
    """
    request = status_pb2.MarkCompleteRequest(
        campaign_id=visit.campaign_id,
        reason=visit.form.get("reason", "").strip(),
        revision=revision,
    )
    return validation.change(request, needs_reason=force)


def whole_number(text: str) -> int | None:
    """Return a number that a form has sent back; None: it is not one of ours."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(_LARGEST_INTEGER)):
        return None
    number = int(text)
    return number if number <= _LARGEST_INTEGER else None


def at_reason(error: InvalidRequestError) -> str:
    """Return what is said beside the field of the reason.

    Raises:
        InvalidRequestError: something else is wrong.
    """
    found = error.fields.get("reason")
    if found is None:
        raise error
    if found == "required":
        return "Say why: whoever reads the audit trail in a year should understand it."
    return f"The reason is {found}. Shorten it." if found.startswith("longer") else f"It {found}."
