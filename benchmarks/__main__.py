"""``python -m benchmarks``: measure, and print the figures."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks import floor, null_campaign, rendering, status_report
from benchmarks.databases import PostgresqlDatabases, SqliteFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

_EMAILS = 5_000


async def _measure(messages: int, sizes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        folder = Path(name)
        print(
            f"Python {platform.python_version()}, {floor.versions()},"
            f" {os.cpu_count()} processors, databases in {folder.parent}"
        )
        files = SqliteFiles(_fresh(folder, "sqlite"))
        async for line in status_report.measured(files, sizes):
            print(line, flush=True)
        with PostgresqlDatabases(_fresh(folder, "postgresql")) as databases:
            async for line in status_report.measured(databases, sizes):
                print(line, flush=True)

        raw = await asyncio.to_thread(files.insert_rate, messages)
        campaign = await null_campaign.measure(_fresh(folder, "campaign"), messages)
        print(f"\ncampaign of {messages:,} messages through the channel null, SQLite")
        print(f"  intake: {campaign.intake_rate:,.0f} recipients/s")
        print(
            f"  StartCampaign to COMPLETED: {campaign.rate:,.0f} messages/s"
            f" = {campaign.rate / raw:.3f} of the floor"
        )
        print(
            f"  at most {campaign.sender_mib:.0f} MiB in the sender service,"
            f" {campaign.status_mib:.0f} MiB in the status service"
        )

        emails = await asyncio.to_thread(rendering.measure, _EMAILS)
        print("\ne-mails of text and HTML, rendered in one thread")
        print(
            f"  {emails.rate:,.0f}/s = {emails.rate / emails.email_message_rate:.1f} times"
            f" an EmailMessage for each ({emails.email_message_rate:,.0f}/s)"
        )


def _fresh(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="size of the campaign")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[100_000, 1_000_000],
        help="how many results a campaign has before more are reported",
    )
    options = parser.parse_args()
    uvloop.run(_measure(options.messages, options.sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
