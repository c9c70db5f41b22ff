"""Fresh environments made of built wheels, without a package index.

What the wheels require is packed again from the installed distributions of the
environment that the tests run in. So pip installs what the metadata asks for, as it
does for a user, and fails where a requirement is missing.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
#: The projects of this repository, by distribution.
PROJECTS = {"closeout": ROOT / "clients" / "python", "closeout-server": ROOT}
_PIP = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--quiet"]


def build(distribution: str, house: Path) -> None:
    """Build the wheel of one of our distributions into a folder of wheels."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [*command, "--directory", str(house)],
        cwd=PROJECTS[distribution],
        check=True,
        capture_output=True,
    )


def required(names: Iterable[str]) -> set[str]:
    """Return the distributions that the named ones require here, themselves left out.

    A name may have extras, as in ``closeout-server[demo]``. What is ours is named only if
    something requires it.
    """
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        for extra in ["", *wanted.extras]:
            if (wanted.name, extra) in seen:
                continue
            seen.add((wanted.name, extra))
            for text in importlib.metadata.requires(wanted.name) or ():
                requirement = Requirement(text)
                marker = requirement.marker
                if marker is None or marker.evaluate({"extra": extra}):
                    found.add(canonicalize_name(requirement.name))
                    waiting.append(requirement)
    return found


def pack(name: str, house: Path) -> None:
    """Pack an installed distribution as a wheel again; its scripts come from its metadata."""
    distribution = importlib.metadata.distribution(name)
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    stem = f"{canonicalize_name(name).replace('-', '_')}-{distribution.version}"
    files = [
        path
        for path in distribution.files or ()
        if ".." not in path.parts and "__pycache__" not in path.parts and path.name != "RECORD"
    ]
    (metadata,) = {path.parts[0] for path in files if path.parts[0].endswith(".dist-info")}
    with zipfile.ZipFile(house / f"{stem}-{tag}.whl", "w") as wheel:
        for path in files:
            wheel.write(path.locate(), str(path))
        wheel.writestr(f"{metadata}/RECORD", "".join(f"{path},,\n" for path in files))


class Environment:
    """A virtual environment without pip, with nothing in it.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        #: The environment of its processes: its commands, and no setting of ours.
        self.variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLOSEOUT_", "PYTHON", "VIRTUAL_ENV"))
        } | {"PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]])}

    def install(self, requirement: str, house: Path) -> None:
        """Install from a folder of wheels and from nowhere else.

        Raises:
            AssertionError: pip refused; the text is what it wrote.
        """
        options = ["--no-index", f"--find-links={house}", "--no-compile"]
        done = subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
            [*_PIP, f"--python={self.python}", "install", *options, requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str, folder: Path, timeout: float) -> str:
        """Run its Python in ``folder`` and return what it printed.

        Raises:
            AssertionError: it failed; the text is what it wrote.
        """
        done = subprocess.run(  # noqa: S603 - an interpreter of ours
            [self.python, *arguments],
            cwd=folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
