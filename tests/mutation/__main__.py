"""Change the modules that keep the promises, and see that a test fails: ``make mutation``.

What came of each mutation is kept below the folder, so a run that was interrupted goes on
where it was. Exit code 1 if a mutation survived that is not explained.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from mutation import explained, summary
from mutation.mutations import PACKAGES, ROOT, Mutation, modules, mutations, sample
from mutation.recorded import NothingRecordedError, Recorded, record
from mutation.round import Round
from mutation.verdicts import Outcome, Outcomes, Verdict, by_mutation


def main(arguments: Sequence[str]) -> int:
    """Try mutations and print what came of them; return the exit code."""
    options = _options(arguments)
    if options.table:
        print(*explained.rows(), sep="\n")
        return 0
    files = modules(options.only or PACKAGES)
    existing = list(chain.from_iterable(map(mutations, files)))
    chosen = sample(files, options.sample, options.seed) if options.sample else existing
    outcomes = Outcomes(options.folder / "outcomes.jsonl")
    if not options.results:
        recorded = _recorded(options, files)
        waiting = [each for each in chosen if _is_to_be_tried(outcomes.get(each), options.again)]
        print(f"{len(waiting)} of {len(chosen)} mutations are to be tried.", flush=True)

        def report(mutation: Mutation, outcome: Outcome) -> None:
            outcomes.add(mutation, outcome)
            print(f"{outcome.verdict:<9} {mutation}  {outcome.test}", flush=True)

        for budget in (options.budget, options.last_budget):
            Round(recorded, report, budget=budget, at_once=options.at_once).run(waiting)
            waiting = [each for each in waiting if _is_open(each, outcomes.get(each))]
    known = by_mutation(outcomes, chosen)
    print(*summary.lines(known, existing), sep="\n")
    survived = (each for each, outcome in known.items() if not outcome.verdict.detected)
    return int(any(explained.explanation(each) is None for each in survived))


def _is_to_be_tried(outcome: Outcome | None, again: bool) -> bool:  # noqa: FBT001
    return outcome is None or (again and not outcome.verdict.is_final)


def _is_open(mutation: Mutation, outcome: Outcome | None) -> bool:
    """Return whether tests passed with it, and nobody knows why."""
    survived = outcome is not None and outcome.verdict is Verdict.SURVIVED
    return survived and explained.explanation(mutation) is None


def _recorded(options: argparse.Namespace, files: Sequence[str]) -> Recorded:
    """Return which tests run what; record it first where that is missing or asked for."""
    folder = options.folder / "recorded"
    if options.record is None:
        try:
            return Recorded.load(folder, files)
        except NothingRecordedError:
            print("First the tests run without a mutation, once.", flush=True)
    tests = options.record or ["tests/unit", "tests/integration"]
    alone = options.only if options.record else None
    record(
        tests,
        modules(alone or PACKAGES),
        folder,
        keyword=options.keyword,
        processes=options.processes,
    )
    return Recorded.load(folder, files)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("--sample", type=int, help="how many, by chance; all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (%(default)s)")
    parser.add_argument("--only", nargs="+", help="packages or modules, below the root")
    parser.add_argument("--again", action="store_true", help="try what survived once more")
    parser.add_argument("--results", action="store_true", help="print what is known, run nothing")
    parser.add_argument("--table", action="store_true", help="print the table of the documents")
    parser.add_argument(
        "--record", nargs="*", metavar="TEST", help="record what these tests run, or all, again"
    )
    parser.add_argument(
        "--keyword", "-k", default="", help="record those alone that pytest's -k chooses"
    )
    parser.add_argument(
        "--budget", type=float, default=30.0, help="seconds of tests for one (%(default)s)"
    )
    parser.add_argument(
        "--last-budget", type=float, default=300.0, help="for one that survived (%(default)s)"
    )
    parser.add_argument("--at-once", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument(
        "--processes", type=int, default=4, help="that record, 0: this one (%(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutation")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
