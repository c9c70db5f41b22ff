"""What callers request of campaigns, and what becomes of it, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from status_service.domain import Cause, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import sqlalchemy as sa


class NewCampaign(NamedTuple):
    """A campaign to register.

    Attributes:
        campaign_id: its id; empty: the service chooses one.
        request_id: distinguishes calls without an id; empty: none.
        display_name: the name people know it by.
        channel: the channel it goes out on.
        labels: whose it is, by whatever names its owner uses.
    """

    campaign_id: str
    request_id: str = ""
    display_name: str = ""
    channel: str = ""
    labels: Mapping[str, str] = {}


class StartOrder(NamedTuple):
    """How a campaign is to be started.

    Attributes:
        total: how many messages it has.
        start_time: when; None: now from DRAFT, and no change from SCHEDULED.
        start_now: starts a SCHEDULED campaign now.
        revision: the revision it must have; 0: any.
    """

    total: int
    start_time: datetime | None = None
    start_now: bool = False
    revision: int = 0


class Changed(NamedTuple):
    """What a call did to a campaign.

    Attributes:
        campaign: its row afterwards.
        transitioned: what the caller is answered: that the call brought it to its state.
        before: its row before; None if this call registered it.
        cause: what the change of state is put down to, if there was one.
    """

    campaign: sa.Row[Any]
    transitioned: bool
    before: sa.Row[Any] | None
    cause: Cause = Cause.USER

    @property
    def state_before(self) -> State | None:
        """The state before; None if this call registered it."""
        return None if self.before is None else State(self.before.state)

    @property
    def completed(self) -> bool:
        """True if it is COMPLETED, by this call or before it."""
        return State(self.campaign.state) is State.COMPLETED

    @property
    def is_news(self) -> bool:
        """True if anything of the campaign changed."""
        return self.before is None or self.before.revision != self.campaign.revision
