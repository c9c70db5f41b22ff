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

from service_runtime.logs import configure_logs
from soak.events import EVENTS_EACH, events_under_faults
from soak.hostile import beside_hostile_clients
from soak.idle import idle_behind_a_proxy
from soak.providers import bad_hours, stop_senders
from soak.run import soak
from soak.stops import stop_everywhere
from soak.templates import hostile_campaigns
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
    parser.add_argument(
        "--stops", type=int, default=1, help="rounds of stops at every step of a write, or 0"
    )
    parser.add_argument(
        "--hostile-minutes", type=float, default=5, help="of 200 hostile clients, or 0"
    )
    parser.add_argument(
        "--idle-minutes", type=float, default=30, help="of streams on which nothing is said, or 0"
    )
    parser.add_argument(
        "--templates", type=int, default=1_000, help="hostile ones, each of a campaign, or 0"
    )
    parser.add_argument("--event-kills", type=int, default=50, help="of who publishes, or 0")
    parser.add_argument(
        "--kills", type=int, default=20, help="of each service in one campaign, or 0"
    )
    parser.add_argument(
        "--script-kills", type=int, default=50, help="of the service of a script with curl, or 0"
    )
    parser.add_argument(
        "--timing-calls", type=int, default=1_000, help="to compare foreign with absent, or 0"
    )
    parser.add_argument(
        "--http-examples", type=int, default=500, help="requests made up for each path, or 0"
    )
    parser.add_argument(
        "--rpc-messages", type=int, default=100_000, help="made up for each service, or 0"
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
    for said, test, *extras in _longer_tests(options, seed):
        print(said, flush=True)
        holds &= _passes(test, *extras)
    if options.provider_minutes:
        print("senders beside mail servers that fail", flush=True)
        wrong = asyncio.run(_beside_bad_providers(options.provider_minutes / 10))
        for violation in wrong:
            print(f"  {violation}", flush=True)
        holds &= not wrong
    holds &= _stops(options.stops)
    holds &= _peers(options.hostile_minutes, options.idle_minutes, seed)
    holds &= asyncio.run(_hostile(options.templates, seed))
    if options.event_kills:
        holds &= asyncio.run(_events(options.event_kills, seed))
    if options.timing_calls:
        configure_logs("error", service="soak")  # each refusal would be a line
        print(f"how long {options.timing_calls:,} calls each take, by turns", flush=True)
        for line in asyncio.run(compare_times(options.timing_calls)):
            print(f"  {line}", flush=True)
    print("All invariants hold." if holds else f"VIOLATIONS FOUND. Repeat with: --seed {seed}")
    return 0 if holds else 1


def _longer_tests(options: argparse.Namespace, seed: int) -> Iterator[tuple[str, ...]]:
    """Return what tests do longer here than in `make test`: words, file, and its options."""
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
    if options.rpc_messages:
        said = f"{options.rpc_messages:,} messages made up for the rpcs of each service"
        number, begin = f"--rpc-messages={options.rpc_messages}", f"--rpc-seed={seed}"
        yield said, "test_rpc_fuzz.py", number, begin
    if options.kills:
        said = f"{options.kills:,} kills of each service in one campaign"
        yield said, "../acceptance/test_killed_services.py", f"--kills={options.kills}"
        said = f"{options.kills:,} kills after an answer to a pause, on each database"
        yield said, "../acceptance/test_pause_kills.py", f"--pause-kills={options.kills}"
    if options.script_kills:
        said = f"{options.script_kills:,} kills while a script reports"
        yield said, "../acceptance/test_report_with_curl.py", f"--kills={options.script_kills}"


def _peers(hostile_minutes: float, idle_minutes: float, seed: int) -> bool:
    """Attack both services, then say nothing for long; return whether all holds."""
    wrong: list[str] = []
    if hostile_minutes:
        print(f"200 hostile clients for {hostile_minutes:g} minutes, seed {seed}", flush=True)
        wrong += asyncio.run(
            beside_hostile_clients(clients=200, seconds=hostile_minutes * 60, seed=seed)
        )
    if idle_minutes:
        print(f"idle streams for {idle_minutes:g} minutes", flush=True)
        wrong += asyncio.run(idle_behind_a_proxy(idle_minutes * 60))
    for violation in wrong:
        print(f"  {violation}", flush=True)
    return not wrong


def _stops(rounds: int) -> bool:
    """Stop services that hang; return whether each stop ended in time."""
    holds = True
    for _ in range(rounds):
        print("stops of a status service that hangs, at every step of a write", flush=True)
        wrong = asyncio.run(stop_everywhere())
        for violation in wrong:
            print(f"  {violation}", flush=True)
        holds &= not wrong
    return holds


async def _beside_bad_providers(scale: float) -> list[str]:
    return [*await stop_senders(), *await bad_hours(scale)]


async def _hostile(number: int, seed: int) -> bool:
    if not number:
        return True
    print(f"{number:,} hostile templates, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="closeout-templates-") as folder:
        report = await hostile_campaigns(Path(folder), number, seed)
    print(report, flush=True)
    return report.holds


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


def _passes(test: str, *options: str) -> bool:
    """Run a test file, beside those of integration, with options; return whether it passes."""
    command = [sys.executable, "-m", "pytest", "-q", f"tests/integration/{test}", *options]
    return subprocess.run(command, cwd=_ROOT, check=False).returncode == 0  # noqa: S603 - our own tests


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
