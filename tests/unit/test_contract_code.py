"""Code in other languages, generated from the folder ``protos`` as it is, without flags.

The compiler is protoc as its makers publish it. Generators that are plugins of their
own (Go, TypeScript, gRPC for Java and others) are not installed with the project.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from closeout.sender.v1 import sender_pb2
from closeout.status.v1 import error_reason_pb2, status_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
SOURCES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
PROTOC = Path(sys.executable).with_name("protoc")

#: For each language what a user writes against: files that must come out, among others.
EXPECTED = {
    "cpp": ["closeout/sender/v1/sender.pb.h", "closeout/status/v1/status.pb.h"],
    "csharp": ["Sender.cs", "Status.cs", "ErrorReason.cs"],
    "java": [
        "closeout/sender/v1/EmailContent.java",
        "closeout/sender/v1/SenderProto.java",
        "closeout/status/v1/Campaign.java",
        "closeout/status/v1/ErrorReason.java",
        "closeout/status/v1/Result.java",
        "closeout/status/v1/StatusProto.java",
    ],
    "kotlin": ["closeout/sender/v1/EmailContentKt.kt", "closeout/status/v1/ResultKt.kt"],
    "objc": ["closeout/sender/v1/Sender.pbobjc.h", "closeout/status/v1/Status.pbobjc.h"],
    "php": ["Closeout/Sender/V1/EmailContent.php", "Closeout/Status/V1/Result.php"],
    "python": ["closeout/sender/v1/sender_pb2.py", "closeout/status/v1/status_pb2.py"],
    "ruby": ["closeout/sender/v1/sender_pb.rb", "closeout/status/v1/status_pb.rb"],
}


def generated(compiler: list[str], target: Path) -> set[str]:
    """Run a compiler in the root of the clone, and return the files that it wrote."""
    done = subprocess.run(  # noqa: S603 - a tool of the development environment
        [*compiler, "-I", "protos", *SOURCES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("language", EXPECTED)
def test_protoc_generates_without_flags(tmp_path: Path, language: str) -> None:
    """One folder to look in and the files' own names are all that protoc needs."""
    files = generated([str(PROTOC), f"--{language}_out={tmp_path}"], tmp_path)
    assert set(EXPECTED[language]) <= files


def test_the_generator_of_python_generates_without_flags(tmp_path: Path) -> None:
    """Whoever wants stubs of their own gets them from grpcio-tools."""
    outputs = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    files = generated([sys.executable, "-m", "grpc_tools.protoc", *outputs], tmp_path)
    for service in ("sender", "status"):
        stem = f"closeout/{service}/v1/{service}_pb2"
        assert {f"{stem}.py", f"{stem}_grpc.py"} <= files


@pytest.mark.parametrize(
    ("module", "package"),
    [
        (status_pb2, "closeout.status.v1"),
        (error_reason_pb2, "closeout.status.v1"),
        (sender_pb2, "closeout.sender.v1"),
    ],
)
def test_files_name_their_packages_in_java_and_go(module: ModuleType, package: str) -> None:
    """Files of one package come out as one package of Java, and as one of Go."""
    options = module.DESCRIPTOR.GetOptions()
    path, name = package.replace(".", "/"), "".join(package.split(".")[1:])
    assert (options.java_package, options.java_multiple_files) == (package, True)
    assert options.go_package == f"{path};{name}"


def test_the_status_service_imports_nothing_of_ours() -> None:
    """Its package can be copied into a project by itself; the sender's only adds to it."""
    (imported,) = [
        name
        for name in (file.name for file in sender_pb2.DESCRIPTOR.dependencies)
        if not name.startswith("google/protobuf/")
    ]
    assert imported == "closeout/status/v1/status.proto"
    for module in (status_pb2, error_reason_pb2):
        names = [file.name for file in module.DESCRIPTOR.dependencies]
        assert [name for name in names if not name.startswith("google/protobuf/")] == []
