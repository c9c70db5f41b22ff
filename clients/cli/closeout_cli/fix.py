"""``closeout fix``: diagnose every open campaign, and repair what is safe."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import LONG_TIMEOUT_SECONDS, NEEDS_A_PERSON, OK, say, working_long
from closeout_cli.options import Json, StatusAddress, run, status_client
from closeout_cli.tables import Column
from closeout_cli.words import enum_name, number, parse_span, percent, sentence, span

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a terminal shows. docs/command-line.md lists the order in which columns go.
_COLUMNS = (
    Column("Campaign"),
    Column("Diagnosis"),
    Column("Progress", right=True),
    Column("%", right=True, drop=3),
    Column("Failed", right=True, drop=2),
    Column("No result for", right=True, drop=1),
    Column("Sending for", right=True, drop=4),
    Column("Name", drop=5, shrink=True),
)


def fix(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Diagnose only, change nothing.")
    ] = False,
    stall_threshold: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="No new result for longer than this is STALLED, as in 90s, 5m, 2h. Default: 5m.",
            show_default=False,
        ),
    ] = "",
    status_address: StatusAddress = "",
    as_json: Json = False,
) -> int:
    """Look at every open campaign, and repair what is safe.

    Safe at any time: it never ends a campaign that has messages without a result.

    In a pipe or a file, each campaign is one line with tabs between its values: id,
    diagnosis, what was done, total, processed, sent, failed, skipped, unknown, seconds
    sending, seconds without a new result, name, explanation.

    Exit code 0 when nothing is left to do, 3 when a campaign needs attention, and with
    --dry-run also when something would be fixed.
    """
    threshold: timedelta | None = None
    if stall_threshold:
        try:
            threshold = parse_span(stall_threshold)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return run(_fix(status_address, threshold, dry_run=dry_run, as_json=as_json))


async def _fix(address: str, threshold: timedelta | None, *, dry_run: bool, as_json: bool) -> int:
    async with status_client(address) as status:
        with working_long(address):
            found = await status.repair_campaigns(
                dry_run=dry_run,
                stall_threshold=threshold,
                timeout_seconds=LONG_TIMEOUT_SECONDS,
            )
    if as_json:
        screen.print_json(
            {
                "dry_run": dry_run,
                "open": found.open_campaigns,
                "repaired": found.repaired_campaigns,
                "needs_attention": found.attention_campaigns,
                "diagnoses": [screen.as_dict(diagnosis) for diagnosis in found.diagnoses],
            }
        )
    else:
        _print_repairs(found, dry_run=dry_run)
    stuck = found.attention_campaigns or (dry_run and found.repaired_campaigns)
    return NEEDS_A_PERSON if stuck else OK


def _print_repairs(found: pb.RepairCampaignsResponse, *, dry_run: bool) -> None:
    """Print what was found about each campaign, what was done, and a summary."""
    summary = _summary(found, dry_run=dry_run)
    hidden = found.open_campaigns - len(found.diagnoses)
    if not screen.on_terminal():
        for diagnosis in found.diagnoses:
            screen.row(*_values(diagnosis, dry_run=dry_run))
        say(summary + (f"; {hidden:,} more are not shown" if hidden else ""))
        return
    if found.diagnoses:
        screen.show_table(_COLUMNS, [_cells(diagnosis) for diagnosis in found.diagnoses])
    for diagnosis in found.diagnoses:
        if diagnosis.repaired or diagnosis.needs_attention or diagnosis.campaign.problems:
            mark = _mark(diagnosis, dry_run=dry_run)
            screen.line("")
            screen.line(f"{diagnosis.campaign.campaign_id}: {mark}")
            screen.paragraph(sentence(diagnosis), indent=2)
    if found.diagnoses:
        screen.line("")
    if hidden:
        screen.line(f"{hidden:,} more are not shown.")
    screen.line(f"{summary}.")


def _summary(found: pb.RepairCampaignsResponse, *, dry_run: bool) -> str:
    total, repaired, attention = (
        found.open_campaigns,
        found.repaired_campaigns,
        found.attention_campaigns,
    )
    verb = "would fix" if dry_run else "fixed"
    needs = "needs" if attention == 1 else "need"
    unchanged = max(total - repaired - attention, 0)
    return (
        f"{number(total, 'open campaign')}: {verb} {repaired:,},"
        f" {attention:,} {needs} attention, {unchanged:,} unchanged"
    )


def _mark(diagnosis: pb.CampaignDiagnosis, *, dry_run: bool) -> str:
    if diagnosis.needs_attention:
        return "needs attention"
    if diagnosis.repaired:
        return "would be fixed" if dry_run else "fixed"
    return "unchanged"


def _values(diagnosis: pb.CampaignDiagnosis, *, dry_run: bool) -> Sequence[object]:
    """Return the values of a line for programs; new ones come at the end."""
    campaign = diagnosis.campaign
    return (
        campaign.campaign_id,
        _name(diagnosis),
        _mark(diagnosis, dry_run=dry_run).replace(" ", "_"),
        campaign.total,
        campaign.processed,
        campaign.sent,
        campaign.failed,
        campaign.skipped,
        campaign.unknown,
        diagnosis.sending_duration.seconds,
        diagnosis.idle_duration.seconds,
        campaign.display_name,
        sentence(diagnosis),
    )


def _cells(diagnosis: pb.CampaignDiagnosis) -> list[str]:
    campaign = diagnosis.campaign
    return [
        campaign.campaign_id,
        _name(diagnosis),
        f"{campaign.processed:,} of {campaign.total:,}",
        percent(campaign.processed, campaign.total),
        f"{campaign.failed:,}",
        span(diagnosis.idle_duration.ToTimedelta()),
        span(diagnosis.sending_duration.ToTimedelta()),
        campaign.display_name,
    ]


def _name(diagnosis: pb.CampaignDiagnosis) -> str:
    return enum_name(pb.CampaignDiagnosis.Diagnosis, diagnosis.diagnosis)
