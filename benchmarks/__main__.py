"""``python -m benchmarks``: measure, and print what was measured."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks import floor, null_campaign, rendering, result_stream

_RESULTS = 200_000
_EMAILS = 5_000


async def _measure(messages: int) -> None:
    with tempfile.TemporaryDirectory(prefix="closeout-bench-") as name:
        folder = Path(name)
        print(
            f"Python {platform.python_version()}, {floor.driver_version()},"
            f" {os.cpu_count()} processors, database in {folder.parent}"
        )
        raw = await asyncio.to_thread(floor.insert_rate, folder, _RESULTS)
        print(f"\nfloor: the bare driver inserts {raw:,.0f} result rows/s (one thread, FULL)")

        print(f"\nresult stream, {_RESULTS:,} results, 500 a frame, client on the same machine")
        for streams in (1, 4):
            run = _fresh(folder, f"streams-{streams}")
            stream = await result_stream.measure(run, streams=streams, results=_RESULTS)
            print(
                f"  {streams} streams: {stream.first_rate:>9,.0f}/s"
                f" = {stream.first_rate / raw:.2f} of the floor;"
                f" again {stream.replay_rate:,.0f}/s = {stream.replay_rate / raw:.2f};"
                f" status service {stream.memory_mib:.0f} MiB at most"
            )

        campaign = await null_campaign.measure(_fresh(folder, "campaign"), messages)
        print(f"\ncampaign of {messages:,} messages through the channel null")
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
    uvloop.run(_measure(parser.parse_args().messages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
