"""``closeout watch``: follow a campaign until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from closeout.aio import SenderClient, StatusClient
from closeout.errors import CallCancelledError, ClientError, DeadlineExceededError, UnavailableError
from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import FAILED, OK, say
from closeout_cli.options import CampaignId, Json, SenderAddress, StatusAddress, run
from closeout_cli.words import counts, percent, problem_text, state_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

#: Plain lines come no faster than this, seconds.
_LINE_INTERVAL_SECONDS = 1.0
#: How often a service that does not answer is asked again, seconds.
_RECONNECT_SECONDS = 0.5
#: How often the sender is asked what it waits for, seconds.
_PROBLEM_INTERVAL_SECONDS = 1.0

TERMINAL = (pb.Campaign.COMPLETED, pb.Campaign.CANCELLED)


def watch(
    *,
    campaign_id: CampaignId,
    status_address: StatusAddress = "",
    sender_address: SenderAddress = "",
    as_json: Json = False,
) -> int:
    """Follow a campaign until it has ended; goes on when a service was away.

    Exit code 0 when it is COMPLETED, 1 when it is CANCELLED.
    """
    return run(
        follow(campaign_id, status_address, sender_address, view=view_of(as_json=as_json)),
    )


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

    def end(self, campaign: pb.Campaign) -> None:
        """Show the last snapshot."""


def view_of(*, as_json: bool) -> View:
    """Return how to show a campaign: as JSON, as a bar on a terminal, or line by line."""
    if as_json:
        return JsonView()
    return BarView() if screen.on_terminal() else LineView()


async def follow(
    campaign_id: str, status_address: str, sender_address: str, *, view: View | None = None
) -> int:
    """Show a campaign until it has ended and return the exit code for that.

    Raises:
        ClientError: there is no such campaign, or its service refuses.
    """
    shown = view or view_of(as_json=False)
    campaign = pb.Campaign()
    async with StatusClient(status_address) as status, SenderClient(sender_address) as sender:
        problems = asyncio.create_task(_report_problems(sender, campaign_id))
        try:
            with shown:
                snapshots = _snapshots(status, campaign_id, status_address)
                async with contextlib.aclosing(snapshots):
                    async for campaign in snapshots:
                        shown.show(campaign)
                shown.end(campaign)
        finally:
            problems.cancel()
            await asyncio.gather(problems, return_exceptions=True)
    return OK if campaign.state == pb.Campaign.COMPLETED else FAILED


async def _snapshots(
    status: StatusClient, campaign_id: str, address: str
) -> AsyncGenerator[pb.Campaign, None]:
    """Yield snapshots until a terminal one, over any number of restarts of the service."""
    away = False
    while True:
        watching = status.watch_campaign(campaign_id=campaign_id)
        try:
            async with contextlib.aclosing(watching):
                async for campaign in watching:
                    if away:
                        say(f"the status service at {address} is back")
                        away = False
                    yield campaign
                    if campaign.state in TERMINAL:
                        return
        except (UnavailableError, CallCancelledError, DeadlineExceededError):
            if not away:
                say(f"the status service at {address} does not answer; waiting for it")
            away = True
        await asyncio.sleep(_RECONNECT_SECONDS)


async def _report_problems(sender: SenderClient, campaign_id: str) -> None:
    """Report what the sender waits for whenever that changes; without a sender, nothing."""
    reported = ""
    while True:
        await asyncio.sleep(_PROBLEM_INTERVAL_SECONDS)
        try:
            delivery = await sender.get_delivery(campaign_id=campaign_id)
        except ClientError:
            continue  # another sender's campaign, or the sender is away: the counters show it
        problems = "; ".join(problem_text(problem) for problem in delivery.problems)
        if problems != reported:
            reported = problems
            say(f"the sender waits: {problems}" if problems else "the sender goes on")


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
        now = time.monotonic()
        if campaign.state in TERMINAL or text == self._last or now < self._next:
            return
        self._last, self._next = text, now + _LINE_INTERVAL_SECONDS
        screen.line(text)

    def end(self, campaign: pb.Campaign) -> None:
        """Print the state and the counters."""
        screen.line(f"{state_name(campaign)} {counts(campaign)}")


class JsonView(LineView):
    """Every snapshot as one JSON object on one line."""

    def show(self, campaign: pb.Campaign) -> None:
        """Print the snapshot."""
        screen.print_event("campaign", campaign)

    def end(self, campaign: pb.Campaign) -> None:
        """Print nothing: the last snapshot says it."""


class BarView:
    """A progress bar with the counters, and the counters at the end."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("[green]{task.fields[sent]}[/] sent [red]{task.fields[failed]}[/] failed"),
            console=screen.console(),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, done="", sent=0, failed=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, campaign: pb.Campaign) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            description=screen.styled(state_name(campaign)),
            total=campaign.total if campaign.sealed else None,
            completed=campaign.processed,
            done=percent(campaign.processed, campaign.total) if campaign.sealed else "",
            sent=campaign.sent,
            failed=campaign.failed,
        )

    def end(self, campaign: pb.Campaign) -> None:
        """Print the state and the counters in the place of the bar."""
        self._progress.stop()
        screen.show(f"{screen.styled(state_name(campaign))} {counts(campaign)}")
