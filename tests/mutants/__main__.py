"""Put each bug back, and see that its test fails: ``make mutants``.

Most tests run with the bug in a fork of one process that has imported everything. Where that
does not kill a bug, as one of what runs at import or in another process, it is put into a
copy of the project. Arguments are names of mutants; without any, all are tried. Exit code 1
unless every one is killed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mutants.ahead_bugs import AHEAD_BUGS
from mutants.dashboard_bugs import DASHBOARD_BUGS
from mutants.event_bugs import EVENT_BUGS
from mutants.family_bugs import FAMILY_BUGS
from mutants.handover_bugs import HANDOVER_BUGS
from mutants.mutant import Mutant
from mutants.obedience_bugs import OBEDIENCE_BUGS
from mutants.outage_bugs import OUTAGE_BUGS
from mutants.peer_bugs import PEER_BUGS
from mutants.relay_bugs import RELAY_BUGS
from mutants.result_bugs import RESULT_BUGS
from mutants.retention_bugs import RETENTION_BUGS
from mutants.runner import Outcome, Verdict, run, run_unchanged
from mutants.sender_bugs import SENDER_BUGS
from mutants.status_bugs import STATUS_BUGS
from mutants.template_bugs import TEMPLATE_BUGS
from mutants.together import run_together

BUGS = (
    STATUS_BUGS
    + RESULT_BUGS
    + AHEAD_BUGS
    + SENDER_BUGS
    + HANDOVER_BUGS
    + RELAY_BUGS
    + FAMILY_BUGS
    + OBEDIENCE_BUGS
    + OUTAGE_BUGS
    + DASHBOARD_BUGS
    + PEER_BUGS
    + TEMPLATE_BUGS
    + RETENTION_BUGS
    + EVENT_BUGS
)
MUTANTS = {mutant.name: mutant for mutant in BUGS}
_AT_ONCE = 2


def main(arguments: Sequence[str]) -> int:
    """Try the mutants named, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; default: all")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what pytest says")
    parser.add_argument("--table", action="store_true", help="print the table of the documents")
    options = parser.parse_args(arguments)
    if options.table:
        print(*(mutant.row for mutant in MUTANTS.values()), sep="\n")
        return 0
    unknown = sorted(set(options.names) - set(MUTANTS))
    if unknown:
        parser.error(f"there is no mutant {', '.join(unknown)}")
    chosen = [MUTANTS[name] for name in options.names or MUTANTS]
    began = time.monotonic()
    unchanged = run_unchanged(chosen)
    if unchanged.verdict is not Verdict.SURVIVED:
        print(f"Without a mutant the tests must pass: {unchanged.why}\n{unchanged.output}")
        return 1
    print(f"Without a mutant the tests pass ({time.monotonic() - began:.0f} s).", flush=True)

    verdicts: dict[Mutant, Verdict] = {}

    def report(mutant: Mutant, outcome: Outcome) -> None:
        verdicts[mutant] = outcome.verdict
        print(f"{outcome.verdict:<8} {mutant.name:<30} {outcome.why[:120]}", flush=True)
        if options.verbose or outcome.verdict is not Verdict.KILLED:
            print(outcome.output, flush=True)

    if not options.verbose:
        run_together(chosen, report, at_once=_AT_ONCE)
    left = [mutant for mutant in chosen if mutant not in verdicts]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        outcomes = threads.map(run, left)
        for mutant, outcome in zip(left, outcomes, strict=True):
            report(mutant, outcome)
    killed = [*verdicts.values()].count(Verdict.KILLED)
    print(f"{killed} of {len(chosen)} killed in {time.monotonic() - began:.0f} s.")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
