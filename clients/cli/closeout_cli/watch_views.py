"""What shows a campaign while it is followed: lines, a bar, or JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from closeout.status.v1 import status_pb2 as pb
from closeout.times import to_datetime
from closeout_cli import screen
from closeout_cli.failures import say
from closeout_cli.pace import Pace, pace_text
from closeout_cli.words import counts, now, percent, problem_text, state_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

#: Plain lines come no faster than this, seconds.
_LINE_INTERVAL_SECONDS = 1.0

TERMINAL = (pb.Campaign.COMPLETED, pb.Campaign.CANCELLED)


class View(Protocol):
    """What shows a campaign while it is followed; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, campaign: pb.Campaign) -> None:
        """Show a snapshot."""

    def problems(self, problems: Sequence[pb.Problem]) -> None:
        """Show what the sender waits for now; nothing: it goes on."""

    def end(self, campaign: pb.Campaign) -> None:
        """Show the last snapshot, and what to do next."""


def view_of(*, as_json: bool) -> View:
    """Return how to show a campaign: as JSON, as a bar on a terminal, or line by line."""
    if as_json:
        return JsonView()
    return BarView() if screen.on_terminal() else LineView()


class LineView:
    """Plain lines, at most one a second, and the counters at the end."""

    def __init__(self) -> None:
        self._last = ""
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def show(self, campaign: pb.Campaign) -> None:
        """Print what is new."""
        text = state_name(campaign)
        if campaign.sealed:
            text += (
                f" {campaign.processed}/{campaign.total}"
                f" ({percent(campaign.processed, campaign.total)})"
                f" sent={campaign.sent} failed={campaign.failed}"
                f" skipped={campaign.skipped} unknown={campaign.unknown}"
            )
        moment = time.monotonic()
        if campaign.state in TERMINAL or text == self._last or moment < self._next:
            return
        self._last, self._next = text, moment + _LINE_INTERVAL_SECONDS
        screen.line(text)

    def problems(self, problems: Sequence[pb.Problem]) -> None:
        """Print them on standard error, in one line."""
        say_problems(problems)

    def end(self, campaign: pb.Campaign) -> None:
        """Print the state and the counters; the next step goes to standard error."""
        screen.line(f"{state_name(campaign)} {counts(campaign)}")
        for step in next_steps(campaign):
            say(step)


class JsonView(LineView):
    """Every snapshot, and every change of the problems, as one JSON object on one line."""

    def __init__(self) -> None:
        super().__init__()
        self._campaign_id = ""

    def show(self, campaign: pb.Campaign) -> None:
        """Print the snapshot."""
        self._campaign_id = campaign.campaign_id
        screen.print_event("campaign", campaign)

    def problems(self, problems: Sequence[pb.Problem]) -> None:
        """Print them."""
        screen.print_event(
            "problems",
            {
                "campaign_id": self._campaign_id,
                "problems": [screen.as_dict(problem) for problem in problems],
            },
        )

    def end(self, campaign: pb.Campaign) -> None:
        """Print nothing: the last snapshot says it."""


class BarView:
    """A progress bar with the counters and the pace, and the counters at the end."""

    def __init__(self) -> None:
        self._campaign = pb.Campaign()
        self._pace = Pace()
        self._began = now()
        self._live = Live(
            console=screen.console(),
            transient=True,
            refresh_per_second=4,
            get_renderable=self._picture,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, campaign: pb.Campaign) -> None:
        """Move the bar."""
        self._campaign = campaign
        self._pace.see(time.monotonic(), campaign.processed)

    def problems(self, problems: Sequence[pb.Problem]) -> None:
        """Print them above the bar."""
        say_problems(problems)

    def end(self, campaign: pb.Campaign) -> None:
        """Print the state and the counters in the place of the bar."""
        self._live.stop()
        screen.show(f"{screen.styled(state_name(campaign))} {counts(campaign)}")
        for step in next_steps(campaign):
            screen.paragraph(step)

    def _picture(self) -> RenderableType:
        campaign = self._campaign
        started = campaign.HasField("start_time")
        began = to_datetime(campaign.start_time) if started else self._began
        elapsed = (now() - began).total_seconds()
        return picture(campaign, pace_text(self._rate(), elapsed, campaign.pending))

    def _rate(self) -> float | None:
        sending = self._campaign.state == pb.Campaign.SENDING
        return self._pace.rate(time.monotonic()) if sending else None


def picture(campaign: pb.Campaign, pace: str) -> RenderableType:
    """Return the bar with its numbers, and below it the pace and what did not go well."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True, justify="right")
    state = state_name(campaign)
    numbers = ""
    if campaign.sealed:
        share = percent(campaign.processed, campaign.total)
        numbers = f"{share} {campaign.processed:,} of {campaign.total:,}"
    bar.add_row(
        Text(state, screen.STYLES.get(state, "")),
        ProgressBar(
            total=campaign.total if campaign.sealed else None,
            completed=campaign.processed,
            pulse=not campaign.sealed,
        ),
        numbers,
    )
    wrong = [
        (f"{count:,} {name}", style)
        for name, count, style in (
            ("failed", campaign.failed, "red"),
            ("in doubt", campaign.unknown, "yellow"),
        )
        if count
    ]
    below = Text(pace, no_wrap=True)
    for text, style in wrong:
        below.append(" · ").append(text, style)
    return Group(bar, below)


def say_problems(problems: Sequence[pb.Problem]) -> None:
    """Print what the sender waits for, on standard error."""
    text = "; ".join(problem_text(problem) for problem in problems)
    say(f"the sender waits: {text}" if text else "the sender goes on")


def next_steps(campaign: pb.Campaign) -> list[str]:
    """Return what to do about messages of an ended campaign that were not sent."""
    if campaign.state != pb.Campaign.COMPLETED:
        return []
    campaign_id = campaign.campaign_id
    steps = []
    if campaign.failed:
        steps.append(
            f"{campaign.failed:,} failed: `closeout results {campaign_id} --outcome failed` says"
            f" why, `closeout resend {campaign_id} --to failed` sends to them again"
        )
    if campaign.unknown:
        steps.append(
            f"{campaign.unknown:,} are in doubt, as their provider's answer was lost:"
            f" `closeout results {campaign_id} --outcome unknown` lists them,"
            f" `closeout resend {campaign_id} --to unknown` sends to them again,"
            " and some get it twice"
        )
    return steps
