"""``closeout demo``: a campaign from end to end, checked, and two repairs."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from closeout.aio import SenderClient, StatusClient
from closeout.errors import ClientError
from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.demo.ledger import Ledger
from closeout_cli.demo.ledger_check import differences
from closeout_cli.demo.reports import report_sent
from closeout_cli.demo.stage import Stage, stage
from closeout_cli.demo.stuck_by_hand import take_completion_away
from closeout_cli.failures import FAILED, NEEDS_A_PERSON, OK, SOME_FAILED, CommandError
from closeout_cli.options import run
from closeout_cli.words import counts, enum_name, state_name

if TYPE_CHECKING:
    from collections.abc import Iterable

_CAMPAIGN = "welcome"
_WITHHELD = "withheld"
_STUCK = "stuck"
_TOTAL = 1000
#: What the other client keeps back at first.
_KEPT_BACK = [*range(401, 421), *range(981, 1001)]
#: How long the demo may take, seconds.
_TIMEOUT_SECONDS = 300.0
_PACKAGED = Path(__file__).parent / "examples"
_CLONED = Path(__file__).parents[4] / "examples"


def demo(
    *,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where welcome.toml and recipients.csv are. Default: the examples of Closeout.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the services and their dashboard running until Ctrl-C."),
    ] = False,
) -> int:
    """Send a campaign to a local SMTP server, check every result, and show the repairs.

    Starts both services and the server on free ports, with databases in a folder that
    is removed at the end. The last lines are the state and the counters of the campaign,
    and where the dashboard is.
    """
    if importlib.util.find_spec("aiosmtpd") is None:
        raise CommandError("the demo needs aiosmtpd: pip install 'closeout[demo]'")
    folder = examples or (_PACKAGED if _PACKAGED.is_dir() else _CLONED)
    missing = [name for name in ("welcome.toml", "recipients.csv") if not (folder / name).is_file()]
    if missing:
        raise CommandError(f"no {missing[0]} in {folder}; name the folder with --examples")
    return run(_demo(folder, keep=keep))


async def _demo(examples: Path, *, keep: bool) -> int:
    loop = asyncio.get_running_loop()
    playing = asyncio.current_task()
    assert playing is not None  # noqa: S101 - we run in it
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, playing.cancel)
    async with stage() as made:
        try:
            async with (
                asyncio.timeout(_TIMEOUT_SECONDS),
                StatusClient(made.status_address) as status,
            ):
                code = await _play(made, status, examples, keep=keep)
        except TimeoutError:
            _show_log(made)
            raise CommandError(f"the demo did not end within {_TIMEOUT_SECONDS:.0f} s") from None
        except (CommandError, ClientError):
            _show_log(made)
            raise
        if keep:
            await _until_stopped()
        return code


async def _until_stopped() -> None:
    """Wait for Ctrl-C, or for another signal to end."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


async def _play(made: Stage, status: StatusClient, examples: Path, *, keep: bool) -> int:
    screen.line(f"dashboard on {made.dashboard}")
    _title("1. A campaign goes out over SMTP")
    campaign_file, recipients = (
        str(_near(examples / name)) for name in ("welcome.toml", "recipients.csv")
    )
    files = (campaign_file, "--recipients", recipients)
    # Some of its recipients are refused for good.
    await _expect(made, SOME_FAILED, "send", *files, "--campaign-id", _CAMPAIGN, "--watch")
    campaign = await status.get_campaign(campaign_id=_CAMPAIGN)
    results = [result async for result in status.list_results(campaign_id=_CAMPAIGN)]
    _show_outcomes(campaign, results)
    await _show_whose(made, results)
    agrees = _compare(made, results)

    _title("2. Another sender withholds its last results")
    await _withheld(made, status)

    _title("3. A campaign is made stuck by hand, in the database")
    await _stuck(made, status)

    screen.line("")
    screen.line(f"{state_name(campaign)} {counts(campaign)}")
    screen.line(
        f"The dashboard shows these campaigns until Ctrl-C: {made.dashboard}"
        if keep
        else f"The dashboard was at {made.dashboard} and ends with the demo."
        " make demo KEEP=1, or `closeout demo --keep`, leaves it running and names its address."
    )
    return OK if agrees and campaign.state == pb.Campaign.COMPLETED else FAILED


def _near(path: Path) -> Path:
    """Return the path as people would type it from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _title(text: str) -> None:
    screen.line("")
    screen.line(f"== {text}")


async def _expect(made: Stage, code: int, *words: str) -> None:
    """Run a command.

    Raises:
        CommandError: it ended with another exit code than it should.
    """
    got = await made.command(*words)
    if got != code:
        raise CommandError(f"`closeout {words[0]}` ended with {got} where {code} was expected")


def _show_outcomes(campaign: pb.Campaign, results: Iterable[pb.Result]) -> None:
    """Print the final table, and what was not sent and why, grouped."""
    groups: Counter[tuple[str, str, str]] = Counter()
    retried = 0
    for result in results:
        outcome = enum_name(pb.Result.Outcome, result.outcome)
        if result.outcome == pb.Result.SENT:
            retried += result.attempt > 1
        else:
            groups[outcome, result.code, result.detail] += 1
    rows = [("total", campaign.total), ("sent", campaign.sent), ("failed", campaign.failed)]
    rows += [("skipped", campaign.skipped), ("unknown", campaign.unknown)]
    screen.line("")
    if screen.on_terminal():
        table = screen.table(("Outcome", "left"), ("Messages", "right"))
        for name, count in rows:
            table.add_row(name, str(count))
        screen.show(table)
    else:
        for name, count in rows:
            screen.line(f"{name:<8} {count:>6}")
    screen.line(f"{retried} of those sent were refused at first and tried again.")
    for (outcome, code, detail), count in groups.most_common():
        screen.line(f"{count} {outcome} with {code}: {detail}")


async def _show_whose(made: Stage, results: Iterable[pb.Result]) -> None:
    """Name the first person who did not get it, as the sender knows."""
    failed = [result.sequence for result in results if result.outcome == pb.Result.FAILED]
    if not failed:
        return
    async with SenderClient(made.sender_address) as sender:
        (first,) = await sender.batch_get_recipients(campaign_id=_CAMPAIGN, sequences=failed[:1])
    screen.line(
        f"The first of them is message {first.sequence}, {first.recipient_key} {first.address};"
        f" `closeout results {_CAMPAIGN} --outcome failed` lists all."
    )


def _compare(made: Stage, results: Iterable[pb.Result]) -> bool:
    accepted = Ledger.read(made.ledger)
    found = differences(results, accepted)
    if not found:
        screen.line(
            f"Checked: the provider accepted {len(accepted)} messages for as many recipients,"
            " and these are the SENT ones."
        )
    for difference in found:
        screen.line(f"DIFFERENCE: {difference}")
    return not found


async def _withheld(made: Stage, status: StatusClient) -> None:
    await status.create_campaign(campaign_id=_WITHHELD, display_name="Of another sender")
    await status.start_campaign(campaign_id=_WITHHELD, total=_TOTAL)
    delivered = [number for number in range(1, _TOTAL + 1) if number not in _KEPT_BACK]
    await report_sent(status, _WITHHELD, delivered, reporter="another sender")
    screen.line(f"It has {_TOTAL} messages and reported {len(delivered)} of them.")
    await _expect(made, FAILED, "mark-complete", _WITHHELD)
    await _expect(made, OK, "results", _WITHHELD, "--missing")
    screen.line("")
    screen.line("The missing results are delivered; nobody has to close it:")
    await report_sent(status, _WITHHELD, _KEPT_BACK, reporter="another sender")
    await _expect(made, OK, "status", _WITHHELD)
    await _require_completed(status, _WITHHELD)


async def _stuck(made: Stage, status: StatusClient) -> None:
    await status.create_campaign(campaign_id=_STUCK, display_name="Stuck by hand")
    await status.start_campaign(campaign_id=_STUCK, total=_TOTAL)
    await report_sent(status, _STUCK, range(1, _TOTAL + 1), reporter="another sender")
    await asyncio.to_thread(take_completion_away, made.status_database, _STUCK)
    screen.line("It was COMPLETED; now its row says SENDING, with every result in.")
    await _expect(made, OK, "list", "--stuck")
    await _expect(made, NEEDS_A_PERSON, "fix", "--dry-run")
    await _expect(made, OK, "fix")
    await _expect(made, OK, "transitions", _STUCK)
    await _require_completed(status, _STUCK)


async def _require_completed(status: StatusClient, campaign_id: str) -> None:
    campaign = await status.get_campaign(campaign_id=campaign_id)
    if campaign.state != pb.Campaign.COMPLETED:
        raise CommandError(f"campaign {campaign_id} is {state_name(campaign)}, not COMPLETED")


def _show_log(made: Stage) -> None:
    screen.line("")
    screen.line("The last lines of the services' logs:")
    for text in made.log:
        screen.line(text)
