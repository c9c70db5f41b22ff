"""The project itself: what is written down in two places says the same in both."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from protos.__main__ import stale

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
GENERATED = ROOT / "protos" / "campaign" / "v1"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def floor(name: str) -> Version:
    """Return the oldest version of a package that pyproject.toml takes."""
    (requirement,) = (wanted for wanted in REQUIREMENTS if wanted.name == name)
    (version,) = (part.version for part in requirement.specifier if part.operator == ">=")
    return Version(version)


def pinned(lock: Path) -> dict[str, list[str]]:
    """Return the lines of a lock file by the package they pin."""
    entries = re.split(r"\n(?! )", lock.read_text().strip())
    return {
        canonicalize_name(Requirement(first.rstrip(" \\")).name): [first, *rest]
        for first, *rest in (entry.splitlines() for entry in entries)
    }


def test_generated_code_is_current() -> None:
    """The code beside the .proto files is what they generate."""
    assert stale() == []


@pytest.mark.parametrize("service", ["status", "sender"])
def test_the_floor_of_grpcio_is_that_of_the_generated_code(service: str) -> None:
    """A user with the oldest grpcio we take can import the generated code."""
    source = (GENERATED / f"{service}_pb2_grpc.py").read_text()
    demanded = re.findall(r"^GRPC_GENERATED_VERSION = '(.+)'$", source, re.MULTILINE)
    assert [floor("grpcio")] == [Version(version) for version in demanded]


@pytest.mark.parametrize("file", ["status", "sender", "error_reason"])
def test_the_floor_of_protobuf_is_that_of_the_generated_code(file: str) -> None:
    """A user with the oldest protobuf we take can import the generated code."""
    source = (GENERATED / f"{file}_pb2.py").read_text()
    demanded = re.findall(r"^# Protobuf Python Version: (.+)$", source, re.MULTILINE)
    assert [floor("protobuf")] == [Version(version) for version in demanded]


def test_imports_keep_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    """The services do not import each other, nor do callers import a server."""
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert not broken, capsys.readouterr().out


@pytest.mark.parametrize("name", ["dev.txt", "uv.txt"])
def test_every_pin_has_a_version_and_hashes(name: str) -> None:
    """An installation takes exactly the files that were locked."""
    for first, *rest in pinned(ROOT / "requirements" / name).values():
        assert re.match(r"[a-z0-9.-]+==\S+ ", first), first
        assert rest, first
        for line in rest:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize("name", ["dev.txt", "uv.txt"])
def test_lock_files_name_no_index(name: str) -> None:
    """Everybody installs from the index of their own configuration."""
    assert not re.search(r"://|--(?!hash=)", (ROOT / "requirements" / name).read_text())


def test_lock_file_satisfies_the_project() -> None:
    """Every requirement and every tool is pinned to a version the project takes."""
    pins = pinned(ROOT / "requirements" / "dev.txt")
    optional = PROJECT["project"]["optional-dependencies"].values()
    wanted = [
        *REQUIREMENTS,
        *(Requirement(text) for group in optional for text in group),
        *(Requirement(text) for text in PROJECT["dependency-groups"]["dev"]),
    ]
    for requirement in wanted:
        pin = Requirement(pins[canonicalize_name(requirement.name)][0].rstrip(" \\"))
        (version,) = (part.version for part in pin.specifier)
        assert requirement.specifier.contains(version), f"{requirement}: {version} is pinned"


def test_readme_names_the_two_commands() -> None:
    """A newcomer finds how to see it run and how to test it."""
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_targets_of_the_makefile(document: Path) -> None:
    """A command that a document shows exists."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", document.read_text())) <= {
        *((target, "") for target in targets),
        *(("", target) for target in targets),
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link names a file, and a heading of it if it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert heading in [
                re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings
            ], target


def test_code_of_the_readme_is_that_of_the_example() -> None:
    """The Python a newcomer reads is part of a script that runs."""
    blocks = re.findall(r"```python\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = (ROOT / "examples" / "report_results.py").read_text()
    script = [line.strip() for line in example.splitlines()]
    assert blocks
    for block in blocks:
        lines = [line.strip() for line in block.splitlines()]
        starts = [index for index, line in enumerate(script) if line == lines[0]]
        assert lines in [script[start : start + len(lines)] for start in starts]


def test_the_wheel_has_what_it_needs_outside_of_a_clone(tmp_path: Path) -> None:
    """Without the sources, types, versions of databases and the demo's campaign are there."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [*build, "--directory", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert names >= {f"{package}/py.typed" for package in packages}
    assert names >= {
        f"clients/demo/examples/{path.name}"
        for path in (ROOT / "examples").iterdir()
        if path.suffix in {".toml", ".csv", ".txt", ".html"}
    }
    versions = {str(path.relative_to(ROOT)) for path in ROOT.glob("*_service/migrations/*/v*.py")}
    assert len(versions) >= 2
    assert names >= versions
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(packages)
