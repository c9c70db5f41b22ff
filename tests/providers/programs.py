"""Programs beside Python that some tests need, and which tests those are.

Where one is missing, those tests are left out, and the end of the run says so in one line.
`.ci/tools` installs what is missing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Program:
    """A program of the system.

    Attributes:
        names: what it is called.
        package: the Debian package that has it.
        tests: the files that need it.
        instead: a program that does the same where they are missing; empty: there is none.
    """

    names: tuple[str, ...]
    package: str
    tests: tuple[str, ...]
    instead: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether one of the names is not found, nor what does the same."""
        if shutil.which(self.instead):
            return False
        return any(shutil.which(name) is None for name in self.names)


PROGRAMS = (
    Program(
        ("promtool", "prometheus"),
        "prometheus",
        ("unit/test_prometheus_rules.py", "acceptance/test_prometheus.py"),
    ),
    Program(
        # Half the work of chromium, which draws a window that nobody sees.
        ("chromium-headless-shell",),
        "chromium-headless-shell",
        (
            "acceptance/test_dashboard_browser.py",
            "acceptance/test_mending_browser.py",
            "acceptance/test_resend_browser.py",
            "acceptance/test_screenshots.py",
        ),
        instead="chromium",
    ),
    Program(("spin", "gcc"), "spin gcc libc6-dev", ("unit/test_model.py",)),
)


def left_out() -> dict[Path, Program]:
    """Return the test files that can't run here, with the program that each needs."""
    return {
        _TESTS / name: program
        for program in PROGRAMS
        if program.is_missing
        for name in program.tests
    }


def remarks() -> list[str]:
    """Return a line for each program that is missing: what was left out, and how to get it."""
    return [
        f"left out, since {' and '.join(filter(None, [*program.names, program.instead]))}"
        " are missing:"
        f" {', '.join(f'tests/{name}' for name in program.tests)}"
        f" (apt-get install {program.package})"
        for program in PROGRAMS
        if program.is_missing
    ]
