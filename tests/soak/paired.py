"""Compare two ways by paired measurements: a mean that leaves outliers out, and its error."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The share of the values that is left out at each end.
_LEFT_OUT = 0.2
#: A mean that is further from zero than so many standard errors is not chance.
_CLEAR = 3.0


class Estimate(NamedTuple):
    """A mean and its standard error, in the unit of the values."""

    mean: float
    error: float

    @property
    def differs(self) -> bool:
        """Whether the mean is so far from zero that chance does not explain it."""
        return abs(self.mean) > _CLEAR * self.error


def trimmed(values: Sequence[float]) -> Estimate:
    """Return the mean of the middle three fifths of values, and its standard error.

    The error is that of Tukey and McLaughlin: the deviation of the values in which the ends
    are replaced by the nearest value that stays.

    Raises:
        ValueError: there are fewer than five values.
    """
    ordered = sorted(values)
    out = int(_LEFT_OUT * len(ordered))
    if not out:
        raise ValueError(f"{len(ordered)} values are too few; give five or more")
    kept = ordered[out:-out]
    replaced = [kept[0]] * out + kept + [kept[-1]] * out
    error = statistics.stdev(replaced) / ((1 - 2 * _LEFT_OUT) * math.sqrt(len(ordered)))
    return Estimate(statistics.fmean(kept), error)
