"""Which tests run which lines: recorded once, kept, and asked for each mutation."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import coverage

from mutation.mutations import ROOT, digest

#: The context of what no single test runs: imports. What threads do between two tests is
#: nobody's, and is kept apart.
IMPORT, BETWEEN = "", "between tests"
_COVERAGE, _SECONDS, _SOURCES = "coverage", "seconds.json", "sources.json"


class NothingRecordedError(Exception):
    """There is no record of these modules as they are: make one with ``--record``."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded. A set of lines is a number: bit n stands for line n.

    Attributes:
        seconds: how long each test takes, with its fixtures; those that passed.
        lines: for each module, below the root, the lines that each test runs.
        imported: for each module the lines that run when it is imported.
        breadth: for each test how many lines of all modules it runs.
    """

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[str, int]]
    imported: Mapping[str, int]
    breadth: Mapping[str, int]

    @classmethod
    def load(cls, folder: Path, modules: Iterable[str]) -> Recorded:
        """Read what :func:`record` has written.

        Raises:
            NothingRecordedError: nothing is recorded of one of the modules as it is now.
        """
        try:
            sources = json.loads((folder / _SOURCES).read_text())
            seconds = json.loads((folder / _SECONDS).read_text())
        except FileNotFoundError as error:
            raise NothingRecordedError from error
        changed = [module for module in modules if sources.get(module) != digest(module)]
        if changed:
            raise NothingRecordedError(*changed)
        lines: dict[str, dict[str, int]] = {}
        imported: dict[str, int] = {}
        with closing(sqlite3.connect(folder / _COVERAGE)) as connection:
            rows = connection.execute(
                "SELECT path, context, numbits FROM line_bits"
                " JOIN file ON file.id = file_id JOIN context ON context.id = context_id"
            )
            for path, context, numbits in rows:
                module = str(Path(path).relative_to(ROOT))
                bits = int.from_bytes(numbits, "little")
                if context == IMPORT:
                    imported[module] = bits
                elif context in seconds:
                    lines.setdefault(module, {})[context] = bits
        breadth: Counter[str] = Counter()
        for by_test in lines.values():
            breadth.update({test: bits.bit_count() for test, bits in by_test.items()})
        return cls(seconds, lines, imported, breadth)


def record(
    tests: Sequence[str],
    modules: Sequence[str],
    folder: Path,
    *,
    keyword: str = "",
    processes: int = 0,
) -> int:
    """Run tests without a mutant and keep which lines of the modules each runs.

    What is already recorded of the modules as they are stays. Returns pytest's exit code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "tests"),
            "MUTATION_RECORD": fresh,
            "MUTATION_MODULES": " ".join(modules),
        }
        parallel = ["--numprocesses", str(processes), "--dist", "worksteal"] if processes else []
        options = ["-q", "-p", "mutation.recorder", "-p", "no:cacheprovider", "--tb=short"]
        options += ["-k", keyword] if keyword else []
        done = subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
            [sys.executable, "-m", "pytest", *options, *parallel, *tests],
            cwd=ROOT,
            env=environment,
            check=False,
        )
        _keep(Path(fresh), folder, {module: digest(module) for module in modules})
    return done.returncode


def _keep(fresh: Path, folder: Path, sources: Mapping[str, str]) -> None:
    """Add what a run has written to what is kept; drop what is of other sources."""
    seconds: dict[str, float] = {}
    parts = [str(fresh)]
    if (folder / _SOURCES).exists():
        kept: dict[str, str] = json.loads((folder / _SOURCES).read_text())
        changed = [module for module, known in sources.items() if kept.get(module, known) != known]
        data = coverage.CoverageData(str(folder / _COVERAGE))
        data.read()
        data.purge_files([str(ROOT / module) for module in changed])
        data.close()
        parts.append(str(folder / _COVERAGE))
        seconds |= json.loads((folder / _SECONDS).read_text())
        sources = kept | sources
    for part in fresh.glob("seconds-*.json"):
        seconds |= json.loads(part.read_text())
    combined = coverage.Coverage(data_file=str(fresh / _COVERAGE), config_file=False)
    combined.combine(parts, keep=True)
    combined.save()
    (fresh / _COVERAGE).replace(folder / _COVERAGE)
    (folder / _SECONDS).write_text(json.dumps(seconds))
    (folder / _SOURCES).write_text(json.dumps(dict(sources)))
