"""Generate what nobody writes, or check that it is current.

That is the Python code of the contract; the blocking clients, which are made from the
asyncio ones: see blocking.py; and the OpenAPI document of the status service: see
openapi.py.

The generator of the contract is pinned to the oldest supported grpcio-tools: its
output runs on that version of grpcio and protobuf and on every later one, while output
of a newer generator would shut out users of the older ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from blocking import MODULES, blocking
from openapi import document

TARGET = Path(__file__).resolve().parent
PROTOS = TARGET.parents[1] / "protos"
SOURCES = sorted(PROTOS.rglob("*.proto"))
AIO = TARGET / "closeout" / "aio"
OPENAPI = TARGET.parents[1] / "status_service" / "http_api" / "openapi.json"


def generate(target: Path) -> None:
    """Write everything that is generated below ``target``.

    Raises:
        subprocess.CalledProcessError: protoc or ruff refused a source; it said why.
    """
    _generate_messages(target)
    sync = target / "closeout" / "sync"
    sync.mkdir(exist_ok=True)
    for name in MODULES:
        (sync / name).write_text(blocking(AIO / name))


def _generate_messages(target: Path) -> None:
    """Write the modules of the contract and their stubs."""
    scripts = Path(sysconfig.get_path("scripts"))
    subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTOS}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *(str(source.relative_to(PROTOS)) for source in SOURCES),
        ],
        check=True,
        cwd=PROTOS,
    )
    # A file without a service makes an empty *_pb2_grpc pair.
    for source in SOURCES:
        if "\nservice " not in source.read_text():
            stem = target / source.relative_to(PROTOS).with_suffix("")
            stem.with_name(f"{stem.name}_pb2_grpc.py").unlink()
            stem.with_name(f"{stem.name}_pb2_grpc.pyi").unlink(missing_ok=True)


def openapi_document() -> str:
    """Return the OpenAPI document of the contract.

    Raises:
        subprocess.CalledProcessError: protoc refused a source; it said why.
    """
    with tempfile.NamedTemporaryFile() as described:
        subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--proto_path={PROTOS}",
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={described.name}",
                *(str(source.relative_to(PROTOS)) for source in SOURCES),
            ],
            check=True,
            cwd=PROTOS,
        )
        return document(FileDescriptorSet.FromString(Path(described.name).read_bytes()))


def stale() -> list[str]:
    """Return the generated files that differ from what the sources generate."""
    changed = _stale_code()
    if not changed and openapi_document() != OPENAPI.read_text(encoding="utf-8"):
        changed.append(str(OPENAPI.relative_to(TARGET.parents[1])))
    return changed


def _stale_code() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = {path.relative_to(fresh) for path in fresh.rglob("*.py*")}
        names |= {path.relative_to(TARGET) for path in (TARGET / "closeout").rglob("*_pb2*.py*")}
        return sorted(
            str(name)
            for name in names
            if "__pycache__" not in name.parts and _read(fresh / name) != _read(TARGET / name)
        )


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main() -> int:
    """Run the command; 0 is success, 1 is stale code."""
    parser = argparse.ArgumentParser(prog="python clients/python/generate.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, change nothing")
    if not parser.parse_args().check:
        generate(TARGET)
        OPENAPI.write_text(openapi_document(), encoding="utf-8")
        return 0
    names = stale()
    for name in names:
        print(f"{name} is not what its source generates: run make protos")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
