"""What the write path passes on: keys, frames, receipts, changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from status_service.domain import Counters, State

if TYPE_CHECKING:
    import asyncio

    import sqlalchemy as sa
    from opentelemetry.trace import SpanContext

    from service_runtime.caller import Caller
    from service_runtime.errors import ServiceError
    from status_service.recording.result_columns import ResultColumns


class CampaignKey(NamedTuple):
    """What callers know a campaign by."""

    organisation: str
    campaign_id: str


@dataclass(slots=True, eq=False)
class Origin:
    """The stream that a frame came on, or the call: frames of each take turns with others.

    Attributes:
        is_over: its sender may have reported newer problems elsewhere since.
    """

    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Results of one campaign as one frame of a stream brought them.

    Results hold whenever they are stored, problems only while nothing newer is reported.

    Attributes:
        key: the campaign.
        reporter: who reports, by its own words.
        results: the results.
        problems: what holds the sender up, as :mod:`.problems` writes it; None: no change.
        origin: what it came on; None: it takes turns with others like it.
        caller: who reports, by its key; None: there is no key.
    """

    key: CampaignKey
    reporter: str
    results: ResultColumns
    problems: str | None = None
    origin: Origin | None = None
    caller: Caller | None = None

    @property
    def actor(self) -> str:
        """Who reports, for the audit trail: its key, where it has one."""
        return self.reporter if self.caller is None else self.caller.actor

    @property
    def on_behalf_of(self) -> str:
        """For whom it reports, by its own words: they stand beside its key, never for it."""
        if self.caller is None:
            return ""
        said = self.reporter if self.reporter != self.caller.actor else ""
        return self.caller.on_behalf_of or said


@dataclass(slots=True)
class FrameReceipt:
    """What became of a frame. ``error`` set: nothing of it is stored.

    ``state``, ``revision`` and ``processed`` are those of the campaign afterwards; None
    and 0 if there is none.
    """

    new: int = 0
    raised: int = 0
    duplicate: int = 0
    error: ServiceError | None = None
    state: State | None = None
    revision: int = 0
    processed: int = 0


class Entry(NamedTuple):
    """A frame that a writer has.

    Attributes:
        frame: the frame.
        receipt: done when the frame is durable, or refused.
        submit_time: when it came, on the loop's clock.
        span: the call that brought it, if it is traced.
    """

    frame: Frame
    receipt: asyncio.Future[FrameReceipt]
    submit_time: float
    span: SpanContext | None


class Change(NamedTuple):
    """A campaign at one revision, for those who watch it.

    Attributes:
        key: the campaign.
        state: its state.
        total: how many messages it has; None until it is sealed.
        counters: how many of them have each outcome.
        revision: the revision at which it was so.
        went_back_to: the revision that the database had although a later one was known
            to be committed: it was restored, or a failover lost what it had committed.
            None: nothing shows that.
    """

    key: CampaignKey
    state: State
    total: int | None
    counters: Counters
    revision: int
    went_back_to: int | None = None

    def based_on(self, found: int, *, known: int) -> Change:
        """Return the change with ``went_back_to``, if the database went back before it.

        Args:
            found: the revision that the transaction found; 0: no campaign.
            known: a revision that was known to be committed when the transaction began;
                it holds the row locked, so without a loss it found that one or a later one.
        """
        return self._replace(went_back_to=found) if found < known else self


class Completion(NamedTuple):
    """A campaign that a batch of frames completed.

    Attributes:
        change: the campaign afterwards.
        before: the state before.
        last: the frame with the result that completed it.
    """

    change: Change
    before: State
    last: Frame


@dataclass(slots=True)
class Recorded:
    """What a batch of frames did: a receipt for each, and the campaigns changed.

    Each change is one revision later than what the batch found of its campaign.
    Of them, ``completed`` were completed by this batch, and ``late`` had been completed
    before it: a better result corrected their counters. ``stored`` has for each campaign
    how many results of each outcome were stored. ``uncounted`` has the numbers of large
    campaigns that the batch would fill, by key: none of their frames was applied, since
    their results are to be counted first.
    """

    receipts: list[FrameReceipt]
    changes: list[Change] = field(default_factory=list)
    completed: list[Completion] = field(default_factory=list)
    late: list[Change] = field(default_factory=list)
    stored: list[Counters] = field(default_factory=list)
    uncounted: dict[CampaignKey, int] = field(default_factory=dict)

    def note(self, campaign: sa.Row[Any], *, state_before: str, last: Frame) -> None:
        """Add a campaign whose results were stored."""
        change = change_of(campaign)
        self.changes.append(change)
        if campaign.state != state_before:
            self.completed.append(Completion(change, State(state_before), last))
        elif change.state is State.COMPLETED:
            self.late.append(change)


def key_of(campaign: sa.Row[Any]) -> CampaignKey:
    """Return the key of a row of ``campaigns``."""
    return CampaignKey(campaign.organisation, campaign.campaign_id)


def counters_of(campaign: sa.Row[Any]) -> Counters:
    """Return the counters of a row of ``campaigns``."""
    return Counters(campaign.sent, campaign.failed, campaign.skipped, campaign.unknown)


def change_of(campaign: sa.Row[Any]) -> Change:
    """Return a row of ``campaigns`` as a change, for those who watch it."""
    return Change(
        key_of(campaign),
        State(campaign.state),
        campaign.total,
        counters_of(campaign),
        campaign.revision,
    )


def vanished_campaign(key: CampaignKey) -> Change:
    """Return that a campaign is not in the database: its revision is 0."""
    return Change(key, State.DRAFT, None, Counters(), 0)


def retrieved(receipt: asyncio.Future[FrameReceipt]) -> None:
    """Mark the exception as retrieved: nobody waits any more, and the writer has logged it."""
    if not receipt.cancelled():
        receipt.exception()
