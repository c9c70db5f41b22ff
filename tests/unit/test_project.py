"""The project: facts that are written in two places agree."""

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

ROOT = Path(__file__).resolve().parents[2]
CLIENT_ROOT = ROOT / "clients" / "python"
SERVER = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT = tomllib.loads((CLIENT_ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [
    Requirement(text) for project in (SERVER, CLIENT) for text in project["project"]["dependencies"]
]
#: The distributions of this repository; no lock file names them.
OURS = {CLIENT["project"]["name"], SERVER["project"]["name"]}
GENERATED = CLIENT_ROOT / "closeout"
#: What HTTP is made from.
HTTP_FILES = ("openapi.json", "status.http.yaml")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def floor(name: str) -> Version:
    """Return the oldest version of a package that the distributions accept."""
    (requirement,) = (known for known in REQUIREMENTS if known.name == name)
    (version,) = (part.version for part in requirement.specifier if part.operator == ">=")
    return Version(version)


def pinned(lock: Path) -> dict[str, list[str]]:
    """Return the lines of a lock file by pinned package."""
    entries = re.split(r"\n(?! )", lock.read_text().strip())
    return {
        canonicalize_name(Requirement(first.rstrip(" \\")).name): [first, *rest]
        for first, *rest in (entry.splitlines() for entry in entries)
    }


def test_generated_code_is_current() -> None:
    """The code of the client is what the .proto files generate."""
    check = [sys.executable, str(CLIENT_ROOT / "generate.py"), "--check"]
    done = subprocess.run(check, check=False, capture_output=True, text=True)  # noqa: S603 - ours
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("service", ["status", "sender"])
def test_the_floor_of_grpcio_is_that_of_the_generated_code(service: str) -> None:
    """The generated code can be imported with the oldest accepted grpcio."""
    source = (GENERATED / service / "v1" / f"{service}_pb2_grpc.py").read_text()
    demanded = re.findall(r"^GRPC_GENERATED_VERSION = '(.+)'$", source, re.MULTILINE)
    assert [floor("grpcio")] == [Version(version) for version in demanded]


@pytest.mark.parametrize("file", ["status/v1/status", "sender/v1/sender", "status/v1/error_reason"])
def test_the_floor_of_protobuf_is_that_of_the_generated_code(file: str) -> None:
    """The generated code can be imported with the oldest accepted protobuf."""
    source = (GENERATED / f"{file}_pb2.py").read_text()
    demanded = re.findall(r"^# Protobuf Python Version: (.+)$", source, re.MULTILINE)
    assert [floor("protobuf")] == [Version(version) for version in demanded]


def test_imports_keep_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    """Services and callers are separate, and imports follow the layers of each service."""
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert not broken, capsys.readouterr().out


@pytest.mark.parametrize("service", ["status_service", "sender_service"])
def test_a_service_has_few_layers_and_all_of_it_is_in_them(service: str) -> None:
    """Nobody has to pass more than ten levels, and no module stands outside of them."""
    (contract,) = (
        contract
        for contract in SERVER["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract.get("containers") == [service]
    )
    assert len(contract["layers"]) <= 10
    assert contract["exhaustive"]
    assert "ignore_imports" not in contract


@pytest.mark.parametrize("name", ["dev.txt", "uv.txt"])
def test_every_pin_has_a_version_and_hashes(name: str) -> None:
    """An installation uses exactly the locked files."""
    for first, *rest in pinned(ROOT / "requirements" / name).values():
        assert re.match(r"[a-z0-9.-]+==\S+ ", first), first
        assert rest, first
        for line in rest:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize("name", ["dev.txt", "uv.txt"])
def test_lock_files_name_no_index(name: str) -> None:
    """Everyone installs from the index that they have configured."""
    assert not re.search(r"://|--(?!hash=)", (ROOT / "requirements" / name).read_text())


def test_lock_file_satisfies_the_project() -> None:
    """Every requirement and every tool is pinned to an accepted version."""
    pins = pinned(ROOT / "requirements" / "dev.txt")
    optional = SERVER["project"]["optional-dependencies"].values()
    requirements = [
        *REQUIREMENTS,
        *(Requirement(text) for group in optional for text in group),
        *(Requirement(text) for text in SERVER["dependency-groups"]["dev"]),
    ]
    for requirement in requirements:
        if requirement.name in OURS:
            assert requirement.name not in pins
            continue
        pin = Requirement(pins[canonicalize_name(requirement.name)][0].rstrip(" \\"))
        (version,) = (part.version for part in pin.specifier)
        assert requirement.specifier.contains(version), f"{requirement}: {version} is pinned"


def test_readme_names_the_two_commands() -> None:
    """The README shows how to see it run and how to test it."""
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_targets_of_the_makefile(document: Path) -> None:
    """Every make command in a document exists."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", document.read_text())) <= {
        *((target, "") for target in targets),
        *(("", target) for target in targets),
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link names an existing file, and an existing heading of it."""
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
    """The Python code of the README is part of a script that runs."""
    blocks = re.findall(r"```python\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = (ROOT / "examples" / "report_results.py").read_text()
    script = [line.strip() for line in example.splitlines()]
    assert blocks
    for block in blocks:
        lines = [line.strip() for line in block.splitlines()]
        starts = [index for index, line in enumerate(script) if line == lines[0]]
        assert lines in [script[start : start + len(lines)] for start in starts]


def test_the_distributions_take_each_other_in_one_version() -> None:
    """The distributions of a release require each other in its version."""
    server, client = SERVER["project"], CLIENT["project"]
    assert f"{client['name']}=={client['version']}" in server["dependencies"]
    extra = client["optional-dependencies"]["server"]
    assert extra == [f"{server['name']}=={server['version']}"]


def wheel_names(project: Path, folder: Path) -> set[str]:
    """Build the wheel of a project and return the files in it, without its metadata."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [*build, "--directory", str(folder)], cwd=project, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_of_the_services_has_what_it_needs_outside_of_a_clone(tmp_path: Path) -> None:
    """The wheel has types, database versions, the paths of HTTP and the campaign of the demo."""
    names = wheel_names(ROOT, tmp_path)
    paths = SERVER["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    packages = {Path(path).name for path in paths}
    assert packages == {"closeout_cli", "sender_service", "service_runtime", "status_service"}
    assert names >= {f"{package}/py.typed" for package in packages}
    assert names >= {
        f"closeout_cli/demo/examples/{path.name}"
        for path in (ROOT / "examples").iterdir()
        if path.suffix in {".toml", ".csv", ".txt", ".html"}
    }
    assert names >= {f"status_service/http_api/{name}" for name in HTTP_FILES}
    versions = {str(path.relative_to(ROOT)) for path in ROOT.glob("*_service/migrations/*/v*.py")}
    assert len(versions) >= 2
    assert names >= versions
    assert {name.partition("/")[0] for name in names} == packages


def test_the_wheel_of_the_client_has_clients_and_generated_code_only(tmp_path: Path) -> None:
    """The wheel contains one package with types, and nothing of the services."""
    names = wheel_names(CLIENT_ROOT, tmp_path)
    sources = {
        str(path.relative_to(CLIENT_ROOT))
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in GENERATED.rglob(pattern)
    }
    assert "closeout/py.typed" in sources
    assert names == sources
