"""The scope that each call of the sender service needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service_runtime.caller import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

_SENDER = "/closeout.sender.v1.SenderService/"

#: By full method name. A method that is not here stops the start.
SCOPES: Final[Mapping[str, Scope | str]] = {
    f"{_SENDER}CreateCampaign": Scope.WRITE,
    f"{_SENDER}UploadRecipients": Scope.WRITE,
    f"{_SENDER}StartCampaign": Scope.WRITE,
    f"{_SENDER}ResendCampaign": Scope.WRITE,
    f"{_SENDER}SendTest": Scope.WRITE,
    f"{_SENDER}CheckSender": Scope.READ,
    f"{_SENDER}GetDelivery": Scope.READ,
    f"{_SENDER}ListShards": Scope.READ,
    f"{_SENDER}BatchGetRecipients": Scope.READ,
    f"{_SENDER}DeleteCampaign": Scope.ADMIN,
    f"{_SENDER}EraseAddress": Scope.ADMIN,
}
