"""Manual pages: one for each command, which the formatter of the system reads."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from closeout_cli.__main__ import main
from closeout_cli.app import app
from closeout_cli.failures import MEANINGS


def names_of(command: Any, path: str) -> Iterator[str]:
    """Yield the file names of the pages of a command and of its own commands."""
    yield f"{path}.1"
    for name, inner in getattr(command, "commands", {}).items():
        yield from names_of(inner, f"{path}-{name}")


NAMES = list(names_of(typer.main.get_command(app), "closeout"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all pages."""
    made = tmp_path_factory.mktemp("man") / "man1"
    assert main(["man", "--output", str(made)]) == 0
    return made


def test_every_command_has_a_page(folder: Path) -> None:
    """And the command itself has one."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_what_a_manual_page_has(name: str, folder: Path) -> None:
    """Name, synopsis, description, options and exit status; a formatter warns of nothing."""
    text = (folder / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith('.TH "CLOSEOUT')
    headings = [line[4:] for line in lines if line.startswith(".SH ")]
    assert headings[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert headings[-2:] == ["EXIT STATUS", "SEE ALSO"]
    assert lines[2].startswith(name.removesuffix(".1").replace("-", "\\-") + " \\- ")
    for line in lines:
        if line.startswith("."):
            assert line.split()[0] in {".TH", ".SH", ".PP", ".TP", ".B"}
    for code in MEANINGS:
        assert f"\n.B {code}\n" in text
    if groff := shutil.which("groff"):
        done = subprocess.run(  # noqa: S603 - the formatter of the system
            [groff, "-man", "-ww", "-Kutf8", "-Tutf8", "-z", str(folder / name)],
            check=False,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_where_the_pages_are_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs; a folder that can't be made is one line."""
    assert main(["man", "--output", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a'}: {len(NAMES)} manual pages\n"
    assert main(["man", "--json", "--output", str(tmp_path / "a")]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == NAMES
    (tmp_path / "file").touch()
    assert main(["man", "--output", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"closeout: {tmp_path / 'file'}: File exists\n"
