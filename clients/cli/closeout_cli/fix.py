"""``closeout fix``: diagnose every open campaign, and repair what is safe."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closeout.status.v1 import status_pb2 as pb
from closeout_cli import screen
from closeout_cli.failures import LONG_TIMEOUT_SECONDS, NEEDS_A_PERSON, OK, working_long
from closeout_cli.options import Json, StatusAddress, run, status_client
from closeout_cli.words import enum_name, parse_span, percent, processed, span

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    """Look at every open campaign, say what is the matter, and repair what is safe.

    Safe at any time: it never ends a campaign that has messages without a result.
    Exit code 0 when nothing is left stuck, 3 when something needs a person (with
    --dry-run also when something would be repaired).
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
        print_repairs(found, dry_run=dry_run)
    stuck = found.attention_campaigns or (dry_run and found.repaired_campaigns)
    return NEEDS_A_PERSON if stuck else OK


def print_repairs(found: pb.RepairCampaignsResponse, *, dry_run: bool) -> None:
    """Print what was found about each campaign, what was done, and a summary."""
    if screen.on_terminal() and found.diagnoses:
        screen.show(_table(found.diagnoses))
    else:
        for diagnosis in found.diagnoses:
            screen.line(_line(diagnosis))
    for diagnosis in found.diagnoses:
        if diagnosis.repaired or diagnosis.needs_attention:
            mark = "needs a person" if diagnosis.needs_attention else "fixed"
            if dry_run and diagnosis.repaired:
                mark = "would be fixed"
            screen.line(f"{mark}: {diagnosis.campaign.campaign_id}: {diagnosis.action}")
    hidden = found.open_campaigns - len(found.diagnoses)
    if hidden:
        screen.line(f"{hidden} more are not shown")
    total, repaired, attention = (
        found.open_campaigns,
        found.repaired_campaigns,
        found.attention_campaigns,
    )
    verb = "would fix" if dry_run else "fixed"
    screen.line(
        f"{total} open campaign{'' if total == 1 else 's'}: {verb} {repaired},"
        f" {attention} in need of a person, {total - repaired - attention} left alone"
    )


def _line(diagnosis: pb.CampaignDiagnosis) -> str:
    campaign = diagnosis.campaign
    done = percent(campaign.processed, campaign.total)
    return (
        f"{campaign.campaign_id} {_name(diagnosis)} total={campaign.total} sent={campaign.sent}"
        f" failed={campaign.failed} processed={campaign.processed} ({done})"
        f" sending_for={_sending(diagnosis)!r} no_progress_for={_idle(diagnosis)!r}"
        f" name={campaign.display_name!r}"
    )


def _table(diagnoses: Sequence[pb.CampaignDiagnosis]) -> Any:
    table = screen.table(
        ("Campaign", "left"),
        ("Processed", "right"),
        ("Sent", "right"),
        ("Failed", "right"),
        ("Sending", "right"),
        ("Idle", "right"),
        ("Diagnosis", "left"),
    )
    for diagnosis in diagnoses:
        campaign = diagnosis.campaign
        table.add_row(
            screen.titled(campaign),
            processed(campaign).replace(" (", "\n("),
            str(campaign.sent),
            str(campaign.failed),
            _sending(diagnosis),
            _idle(diagnosis),
            screen.styled(_name(diagnosis)),
        )
    return table


def _name(diagnosis: pb.CampaignDiagnosis) -> str:
    return enum_name(pb.CampaignDiagnosis.Diagnosis, diagnosis.diagnosis)


def _sending(diagnosis: pb.CampaignDiagnosis) -> str:
    return span(diagnosis.sending_duration.ToTimedelta())


def _idle(diagnosis: pb.CampaignDiagnosis) -> str:
    return span(diagnosis.idle_duration.ToTimedelta())
