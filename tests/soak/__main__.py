"""Kill and freeze services and PostgreSQL, race, and fail mail servers: ``make soak``.

It exits with 1 if anything was lost, miscounted, completed twice or repaired.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from soak.events import EVENTS_EACH, events_under_faults
from soak.providers import bad_hours, stop_senders
from soak.run import soak
from soak.timing import compare_times

_ROOT = Path(__file__).resolve().parents[2]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for each number of replicas")
    parser.add_argument("--replicas", type=int, nargs="*", default=[2, 4], help="default: 2 4")
    parser.add_argument("--rounds", type=int, default=10_000, help="races on each database, or 0")
    parser.add_argument(
        "--all-faults",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="at every step of the write path, on each database",
    )
    parser.add_argument(
        "--machine-examples",
        type=int,
        default=250,
        help="sequences of calls beside a model, on each database, or 0",
    )
    parser.add_argument(
        "--order-rounds", type=int, default=2_000, help="of calls that meet, on each database, or 0"
    )
    parser.add_argument(
        "--provider-minutes",
        type=float,
        default=10,
        help="of mail servers that take no messages, beside every way to stop a sender, or 0",
    )
    parser.add_argument("--event-kills", type=int, default=50, help="of who publishes, or 0")
    parser.add_argument(
        "--timing-calls", type=int, default=1_000, help="to compare foreign with absent, or 0"
    )
    parser.add_argument(
        "--http-examples", type=int, default=500, help="requests made up for each path, or 0"
    )
    parser.add_argument("--seed", type=int, help="the seed of an earlier run; default: a new one")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Soak with each number of replicas, then race; return the exit code."""
    options = _options(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    holds = True
    for replicas in options.replicas:
        print(f"{replicas} replicas, {options.minutes:g} minutes, seed {seed}", flush=True)
        with tempfile.TemporaryDirectory(prefix="closeout-soak-") as folder:
            report = asyncio.run(
                soak(Path(folder), replicas=replicas, seconds=options.minutes * 60, seed=seed)
            )
        print(report, flush=True)
        holds &= report.holds
    for said, test, argument in _longer_tests(options):
        print(said, flush=True)
        holds &= _passes(test, argument)
    if options.provider_minutes:
        print("senders beside mail servers that fail", flush=True)
        wrong = asyncio.run(_beside_bad_providers(options.provider_minutes / 10))
        for violation in wrong:
            print(f"  {violation}", flush=True)
        holds &= not wrong
    if options.event_kills:
        holds &= asyncio.run(_events(options.event_kills, seed))
    if options.timing_calls:
        print(f"means of {options.timing_calls:,} calls each, for people to judge", flush=True)
        for line in asyncio.run(compare_times(options.timing_calls, seed)):
            print(f"  {line}", flush=True)
    print("All invariants hold." if holds else f"VIOLATIONS FOUND. Repeat with: --seed {seed}")
    return 0 if holds else 1


def _longer_tests(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Return what tests do longer here than in `make test`: words, file, and its option."""
    if options.rounds:
        said = f"{options.rounds:,} races on each database"
        yield said, "test_status_races.py", f"--race-rounds={options.rounds}"
    if options.all_faults:
        said = "every fault at every step of the write path, on each database"
        yield said, "../acceptance/test_status_failpoints.py", "--all-faults"
    if options.machine_examples:
        said = f"{options.machine_examples:,} sequences of calls, on each database"
        yield said, "test_status_machine.py", f"--machine-examples={options.machine_examples}"
    if options.order_rounds:
        said = f"{options.order_rounds:,} rounds of calls that meet, on each database"
        yield said, "test_order_races.py", f"--order-rounds={options.order_rounds}"
    if options.http_examples:
        said = f"{options.http_examples:,} requests made up for each path of HTTP"
        yield said, "../acceptance/test_http_fuzz.py", f"--http-examples={options.http_examples}"


async def _beside_bad_providers(scale: float) -> list[str]:
    return [*await stop_senders(), *await bad_hours(scale)]


async def _events(kills: int, seed: int) -> bool:
    """Send 1,000 events under faults by one service, then by two; return whether all holds."""
    return await _events_by(1, kills, seed) & await _events_by(2, kills, seed)


async def _events_by(replicas: int, kills: int, seed: int) -> bool:
    """Send 1,000 events under faults; on PostgreSQL fewer, since each costs a lease."""
    print(f"1,000 events, published by {replicas}, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="closeout-events-") as folder:
        report = await events_under_faults(
            Path(folder),
            campaigns=1_000 // EVENTS_EACH,
            kills=kills if replicas == 1 else kills // 5,
            freezes=0 if replicas == 1 else 4,
            replicas=replicas,
            seed=seed,
        )
    print(report, flush=True)
    return report.holds


def _passes(test: str, option: str) -> bool:
    """Run a test file, beside those of integration, with an option; return whether it passes."""
    command = [sys.executable, "-m", "pytest", "-q", f"tests/integration/{test}", option]
    return subprocess.run(command, cwd=_ROOT, check=False).returncode == 0  # noqa: S603 - our own tests


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
