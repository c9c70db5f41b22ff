"""The campaigns at work: the one thing that delivery and reporting share.

Reporting writes the state of each campaign, and decides what delivery is to do about it.
Delivery announces how far the outbox of each shard goes. Neither knows the other: what
one has for the other lies here until the other takes it.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sender_service.campaigns.active_campaign import ActiveCampaign
from sender_service.campaigns.status_problems import StatusProblems
from sender_service.domain import State
from sender_service.store import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import sqlalchemy as sa

    from sender_service.domain import Problem
    from sender_service.store.outbox import ShardKey, ShardProgress
    from service_runtime.database import Store


class Source(enum.StrEnum):
    """Who found what holds a campaign up; each source has at most one problem."""

    START = "start"
    CHANNEL = "channel"
    PROVIDER = "provider"
    RESULTS = "results"


class Decision(enum.Enum):
    """What delivery is to do."""

    #: Work on a campaign that is new in the directory.
    DELIVER = "deliver"
    #: Have a campaign sealed again: the status service lost the seal.
    RESEAL = "reseal"
    #: Work again on campaigns that the store has as open: their results were lost.
    REOPEN = "reopen"
    #: Let a campaign go: every outcome of it is acknowledged.
    FINISHED = "finished"


class Opened(NamedTuple):
    """A campaign is to be reported, from where its shards are."""

    active: ActiveCampaign
    progress: tuple[ShardProgress, ...]


class Journaled(NamedTuple):
    """The outbox of a shard has entries up to ``through`` now."""

    key: ShardKey
    through: int


class Resealed(NamedTuple):
    """A try to seal a campaign again is over; ``sealed`` if it worked."""

    campaign: int
    sealed: bool


class ProblemsChanged(NamedTuple):
    """Other problems than before hold a campaign up."""

    campaign: int


Announcement: TypeAlias = "Opened | Journaled | Resealed | ProblemsChanged"


class Directory:
    """The campaigns at work, and what the rooms have for each other.

    Args:
        store: the sender's.

    Attributes:
        stopping: True once nothing new may be handed to a provider.
        decisions: what reporting and callers have for delivery, with the campaign
            concerned; None where it concerns no single one.
        announcements: what delivery has for reporting.
        status_problems: why nothing of an organisation is reported at the moment.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._campaigns: dict[int, ActiveCampaign] = {}
        #: By organisation and id.
        self._by_id: dict[str, dict[str, ActiveCampaign]] = {}
        self.stopping = False
        self.decisions: asyncio.Queue[tuple[Decision, ActiveCampaign | None]] = asyncio.Queue()
        self.announcements: asyncio.Queue[Announcement] = asyncio.Queue()
        self.status_problems = StatusProblems()

    def __contains__(self, campaign: int) -> bool:
        """Return whether the campaign with this number is at work."""
        return campaign in self._campaigns

    def __iter__(self) -> Iterator[ActiveCampaign]:
        """Iterate over the campaigns at work."""
        return iter(self._campaigns.values())

    def find(self, campaign: int) -> ActiveCampaign | None:
        """Return the campaign with this number if it is at work."""
        return self._campaigns.get(campaign)

    @property
    def organisations(self) -> Collection[str]:
        """The organisations that have a campaign at work."""
        return self._by_id.keys()

    def of(self, organisation: str) -> Collection[ActiveCampaign]:
        """Return the campaigns of an organisation that are at work."""
        return self._by_id.get(organisation, {}).values()

    def add(self, row: sa.Row[Any]) -> ActiveCampaign:
        """Have a frozen or started campaign worked on; one at work already looks again."""
        active = self._campaigns.get(row.campaign)
        if active is None:
            active = ActiveCampaign(row)
            self._campaigns[active.number] = active
            self._by_id.setdefault(active.organisation, {})[active.campaign_id] = active
            self.decide(Decision.DELIVER, active)
        active.wake()
        return active

    def remove(self, active: ActiveCampaign) -> None:
        """Let a campaign go; nothing happens if it is gone."""
        if self._campaigns.get(active.number) is active:
            del self._campaigns[active.number]
        by_id = self._by_id.get(active.organisation, {})
        if by_id.get(active.campaign_id) is active:
            del by_id[active.campaign_id]
            if not by_id:
                del self._by_id[active.organisation]

    def decide(self, decision: Decision, active: ActiveCampaign | None = None) -> None:
        """Have delivery act on a decision."""
        self.decisions.put_nowait((decision, active))

    def announce(self, announcement: Announcement) -> None:
        """Have reporting take note of something."""
        self.announcements.put_nowait(announcement)

    def stop(self) -> None:
        """Let nothing new be handed to a provider."""
        self.stopping = True
        for active in self:
            active.wake()

    def begin_stream(self, organisation: str) -> None:
        """Begin with the states of an organisation's new stream, whatever their revisions are."""
        for active in self.of(organisation):
            active.begin_stream()

    def forget_states(self, organisation: str) -> None:
        """Send nothing of an organisation until its next stream brings the states again."""
        for active in self.of(organisation):
            active.forget_state()

    def forget_unconfirmed(self, organisation: str) -> int:
        """Send nothing whose state the present stream has not brought yet; return of how many."""
        unconfirmed = [active for active in self.of(organisation) if active.is_unconfirmed]
        for active in unconfirmed:
            active.forget_state()
        return len(unconfirmed)

    def sends(self, organisation: str) -> bool:
        """Return whether a campaign of an organisation is SENDING, as far as is known."""
        return any(active.state is State.SENDING for active in self.of(organisation))

    def forget_revision(self, organisation: str, campaign_id: str) -> None:
        """Accept any revision of a campaign that the status service does not know any more."""
        active = self._by_id.get(organisation, {}).get(campaign_id)
        if active is not None:
            active.begin_stream()

    def receive(
        self, organisation: str, campaign_id: str, state: State, revision: int
    ) -> ActiveCampaign | None:
        """Take a state that an organisation's stream brought; return the campaign if it changed.

        Within one stream a state that is not newer than the last one changes nothing.
        The first one of a stream always counts.
        """
        active = self._by_id.get(organisation, {}).get(campaign_id)
        return active if active is not None and active.receive(state, revision) else None

    async def set_problem(
        self,
        active: ActiveCampaign,
        source: Source,
        problem: Problem | None,
        *,
        also: Callable[[sa.Connection], None] | None = None,
    ) -> bool:
        """Report and store what holds a campaign up, as ``source`` sees it; False if not new.

        After a failure the same call stores it, and returns True. ``also`` writes more in
        the same transaction, even where nothing is new.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        is_new = active.known_problems.note(source, problem)
        if is_new:  # also where the store fails, which may be the problem
            self.announce(ProblemsChanged(active.number))
        elif also is None:
            return False
        problems = active.problems

        def work(connection: sa.Connection) -> None:
            campaigns.store_problems(connection, active.number, problems)
            if also is not None:
                also(connection)

        await self._store.write(work)
        active.known_problems.stored(source)
        return is_new
