"""Try all orders of what may happen in small campaigns: ``make model``.

Without a mistake no assertion may fail; each mistake of the list must be found. Exit code
1 unless that is so, 2 without Spin and a C compiler.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from model.worlds import FAULTY, MISTAKES, WORLDS, Check, Mistake, World, check


def main() -> int:
    """Check all worlds and all mistakes; return the exit code."""
    missing = [program for program in ("spin", "gcc") if not shutil.which(program)]
    if missing:
        names = " and ".join(missing)
        print(f"{names} can't be found: `apt install spin gcc` installs them.", file=sys.stderr)
        return 2
    well = True
    for world in WORLDS:
        found, seconds = _timed(world, None)
        verdict = "no violation" if found.complete else found.violation or "not completed"
        well &= found.complete
        print(f"{world!s:<55} {found.states:>12,} states {seconds:5.0f} s  {verdict}")
        sys.stdout.flush()
    for mistake in MISTAKES:
        found, seconds = _timed(FAULTY, mistake)
        seen = found.violation == mistake.finds
        well &= seen
        verdict = f"found: {found.violation}" if seen else f"NOT FOUND: {found}"
        print(f"{mistake.title:<55} {found.states:>12,} states {seconds:5.0f} s  {verdict}")
        sys.stdout.flush()
    return 0 if well else 1


def _timed(world: World, mistake: Mistake | None) -> tuple[Check, float]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="closeout-model-") as folder:
        return check(world, Path(folder), mistake), time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
