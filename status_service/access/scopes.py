"""The scope that each call of the status service needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service_runtime.access import BY_REQUEST, OPEN
from service_runtime.caller import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUS = "/closeout.status.v1.StatusService/"
_ACCESS = "/closeout.status.v1.AccessService/"
_EVENTS = "/closeout.status.v1.EventService/"

#: By full method name. A method that is not here stops the start.
SCOPES: Final[Mapping[str, Scope | str]] = {
    f"{_STATUS}CreateCampaign": Scope.WRITE,
    f"{_STATUS}StartCampaign": Scope.WRITE,
    f"{_STATUS}PauseCampaign": Scope.WRITE,
    f"{_STATUS}ResumeCampaign": Scope.WRITE,
    f"{_STATUS}CancelCampaign": Scope.WRITE,
    f"{_STATUS}DeleteCampaign": Scope.ADMIN,
    f"{_STATUS}EraseAddress": Scope.ADMIN,
    f"{_STATUS}ReportResults": Scope.REPORT,
    f"{_STATUS}BatchReportResults": Scope.REPORT,
    f"{_STATUS}GetCampaign": Scope.READ,
    f"{_STATUS}ListCampaigns": Scope.READ,
    f"{_STATUS}WatchCampaign": Scope.READ,
    f"{_STATUS}ListResults": Scope.READ,
    f"{_STATUS}ListMissingRanges": Scope.READ,
    f"{_STATUS}ExplainCampaign": Scope.READ,
    f"{_STATUS}ListTransitions": Scope.READ,
    f"{_STATUS}ListSamples": Scope.READ,
    f"{_STATUS}ListFailures": Scope.READ,
    f"{_STATUS}MarkComplete": Scope.REPAIR,
    # See repair_scope.
    f"{_STATUS}RepairCampaigns": BY_REQUEST,
    # It answers who the caller is, so it checks by itself.
    f"{_ACCESS}GetCaller": OPEN,
    f"{_ACCESS}CreateKey": Scope.ADMIN,
    f"{_ACCESS}ListKeys": Scope.ADMIN,
    f"{_ACCESS}RevokeKey": Scope.ADMIN,
    f"{_ACCESS}RotateKey": Scope.ADMIN,
    f"{_EVENTS}CreateSubscription": Scope.ADMIN,
    f"{_EVENTS}ListSubscriptions": Scope.READ,
    f"{_EVENTS}DeleteSubscription": Scope.ADMIN,
    f"{_EVENTS}ListEvents": Scope.READ,
    f"{_EVENTS}ReplayEvents": Scope.REPAIR,
}


def repair_scope(*, dry_run: bool) -> Scope:
    """Return what RepairCampaigns needs: who only looks needs what every look needs."""
    return Scope.READ if dry_run else Scope.REPAIR
