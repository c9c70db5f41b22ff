"""The score of mutations that were tried, and those that survived."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from mutation.explained import explanation
from mutation.mutations import PACKAGES, Mutation
from mutation.verdicts import Outcome

#: Of the normal distribution, for 95 %.
_Z = 1.96


def interval(successes: int, tries: int) -> tuple[float, float]:
    """Return the bounds of a share with 95 % confidence, after Wilson."""
    if tries == 0:
        return 0.0, 1.0
    share, square = successes / tries, _Z * _Z
    middle = share + square / (2 * tries)
    reach = _Z * math.sqrt(share * (1 - share) / tries + square / (4 * tries * tries))
    scale = 1 + square / tries
    return (middle - reach) / scale, (middle + reach) / scale


def lines(outcomes: Mapping[Mutation, Outcome], existing: Sequence[Mutation]) -> Iterator[str]:
    """Say what came of mutations, in a table by package, and show what is left to do.

    Args:
        outcomes: of those that were tried.
        existing: all that there are.
    """
    explained = {
        mutation
        for mutation, outcome in outcomes.items()
        if not outcome.verdict.detected and explanation(mutation)
    }
    yield "| package | mutations | tried | killed | explained | survived |"
    yield "|---|---|---|---|---|---|"
    for package in (*PACKAGES, ""):
        tried = [each for each in outcomes if each.file.startswith(package)]
        killed = sum(outcomes[each].verdict.detected for each in tried)
        known = sum(each in explained for each in tried)
        number = sum(each.file.startswith(package) for each in existing)
        cells = (package or "all", number, len(tried), killed, known, len(tried) - killed - known)
        yield f"| {' | '.join(map(str, cells))} |"
    killed = sum(outcome.verdict.detected for outcome in outcomes.values())
    for name, number in (("killed", killed), ("killed or explained", killed + len(explained))):
        low, high = interval(number, len(outcomes))
        share = number / max(1, len(outcomes))
        yield f"{name}: {share:.1%} of {len(outcomes)} (95 %: {low:.1%} to {high:.1%})"
    for mutation, outcome in sorted(outcomes.items()):
        if not outcome.verdict.detected and mutation not in explained:
            before, after = mutation.change()
            yield f"\n{outcome.verdict} {mutation} ({outcome.tests} tests)"
            yield f"  - {before}\n  + {after}"
