"""What users install: both wheels, each in an environment of its own, outside of a clone."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from acceptance.documented_commands import DEMO
from acceptance.documented_world import environment_of
from acceptance.documents import ROOT, as_printed, plain, transcripts
from acceptance.forked import ForkedService
from acceptance.processes import PATIENCE_SECONDS, Service
from acceptance.terminal import in_terminal
from acceptance.wheelhouse import Environment, build, pack, required
from integration.cli_support import stopped
from providers.plain_http import NO_TLS

#: What `pip install closeout` may bring; the last is what grpcio requires.
CLIENT_REQUIREMENTS = {
    "googleapis-common-protos",
    "grpcio",
    "grpcio-status",
    "protobuf",
    "typing-extensions",
}
#: The last line but one of the demo.
LAST_LINE = re.compile(r"COMPLETED total=1935 sent=(\d+) failed=(\d+) skipped=0 unknown=0")
#: Files of an application that has our former names, and a contract named like ours was.
APPLICATION = {
    "clients/__init__.py": "WHOSE = 'the application'\n",
    "clients/status.py": "class StatusClient: ...\n",
    "protos/__init__.py": "WHOSE = 'the application'\n",
    "protos/campaign/v1/status.proto": (
        'syntax = "proto3";\n'
        "package campaign.v1;\n"
        "message Campaign { string name = 1; }\n"
        "message Result { int32 clicks = 1; }\n"
    ),
    "application.py": """\
import asyncio
import json
import sys

import clients
import clients.status
import protos
from campaign.v1 import status_pb2

import closeout
import closeout.aio
from closeout.status.v1.status_pb2 import Campaign, Result

assert clients.WHOSE == protos.WHOSE == "the application"
assert status_pb2.Campaign(name="ours").name == "ours"
assert clients.status.StatusClient is not closeout.StatusClient

RESULTS = [Result(sequence=n, outcome=Result.SENT, attempt=1) for n in range(1, 1501)]


def blocking(address):
    with closeout.StatusClient(address) as status:
        status.create_campaign(campaign_id="blocking", channel="mine")
        try:
            status.report(RESULTS[:1], campaign_id="blocking")
        except closeout.FailedPreconditionError as error:
            early = error.reason
        status.start_campaign(campaign_id="blocking", total=1500)
        receipt = status.report(RESULTS, campaign_id="blocking", reporter="application")
        campaign = status.get_campaign(campaign_id="blocking")
        watched = [seen.revision for seen in status.watch_campaign(campaign_id="blocking")]
        assert watched == [campaign.revision]
    return [early, receipt.new_results, Campaign.State.Name(campaign.state), campaign.sent]


async def asynchronous(address):
    async with closeout.aio.StatusClient(address) as status:
        await status.create_campaign(campaign_id="asynchronous", channel="mine")
        await status.start_campaign(campaign_id="asynchronous", total=1500)
        receipt = await status.report(RESULTS, campaign_id="asynchronous")
        campaign = await status.get_campaign(campaign_id="asynchronous")
    return [receipt.new_results, Campaign.State.Name(campaign.state), campaign.sent]


print(json.dumps([blocking(sys.argv[1]), asyncio.run(asynchronous(sys.argv[1]))]))
""",
}
#: Prints what is installed, and the first folders or files of closeout.
INVENTORY = """\
import importlib.metadata as metadata, json
print(json.dumps([
    sorted(found.name.lower().replace('_', '-') for found in metadata.distributions()),
    sorted({path.parts[0] for path in metadata.distribution("closeout").files}),
]))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels, and the wheels of what they require."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("closeout", "closeout-server"):
        build(name, folder)
    for name in required(["closeout-server[demo]"]) - {"closeout"}:
        pack(name, folder)
    return folder


@pytest.fixture(scope="module")
def client(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment after ``pip install closeout``."""
    environment = Environment(tmp_path_factory.mktemp("client") / "venv")
    environment.install("closeout", house)
    return environment


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """The folder of an application with packages and generated code of its own."""
    for name, text in APPLICATION.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "--python_out=."]
    subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [*command, "campaign/v1/status.proto"], cwd=tmp_path, check=True
    )
    return tmp_path


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Service]:
    """The real status service, as a process of the environment of the tests."""
    with ForkedService(
        "status_service",
        "status service listening on ",
        tmp_path / "status",
        {"CLOSEOUT_STATUS_LISTEN": "127.0.0.1:0"},
    ) as service:
        service.start()
        yield service


def test_the_client_installs_what_it_calls_with_and_nothing_else(
    client: Environment, tmp_path: Path
) -> None:
    """What comes along is gRPC and protobuf; of ours there is the one package closeout."""
    output = client.run("-c", INVENTORY, folder=tmp_path, timeout=PATIENCE_SECONDS)
    distributions, ours = json.loads(output)
    assert set(distributions) == {"closeout", *CLIENT_REQUIREMENTS}
    assert [name for name in ours if not name.endswith(".dist-info")] == ["closeout"]
    assert required(["closeout"]) == CLIENT_REQUIREMENTS


def test_the_services_require_of_opentelemetry_the_api_alone() -> None:
    """The SDK and its exporter are the extra ``tracing``; the demo below runs without them."""

    def of_opentelemetry(*names: str) -> set[str]:
        return {name for name in required(names) if name.startswith("opentelemetry")}

    assert of_opentelemetry("closeout-server[demo]") == {"opentelemetry-api"}
    assert "opentelemetry-sdk" in of_opentelemetry("closeout-server[tracing]")


def test_an_application_with_our_former_names_reports_by_both_clients(
    client: Environment, application: Path, status: Service
) -> None:
    """Packages ``clients``, ``protos`` and ``campaign.v1`` stay the application's own."""
    output = client.run(
        "-W", "error", "application.py", status.address, folder=application, timeout=60
    )
    blocking, asynchronous = json.loads(output)
    assert blocking == ["CAMPAIGN_NOT_SEALED", 1500, "COMPLETED", 1500]
    assert asynchronous == [1500, "COMPLETED", 1500]


async def test_two_demos_at_once_end_well_and_leave_nothing(house: Path, tmp_path: Path) -> None:
    """One of the wheel, outside of a clone, and one of the clone, as the README shows it.

    The first one is kept: its pages answer until a signal. The other one is in a terminal and
    ends by itself.
    """
    environment = Environment(tmp_path / "venv")
    environment.install("closeout-server[demo]", house)
    elsewhere, temporary, here = (tmp_path / name for name in ("elsewhere", "temporary", "here"))
    elsewhere.mkdir()
    temporary.mkdir()
    variables = environment_of(here)
    before = sorted(here.iterdir())
    kept = await asyncio.create_subprocess_exec(
        *(environment.bin / "closeout", "demo", "--keep"),
        cwd=elsewhere,
        env=environment.variables | {"TMPDIR": str(temporary)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(5 * PATIENCE_SECONDS), stopped(kept):
        (code, shown), text = await asyncio.gather(
            asyncio.to_thread(in_terminal, "closeout demo", ROOT, variables), _until_kept(kept)
        )
        async with httpx.AsyncClient(verify=NO_TLS) as http:
            page = (await http.get(text.rpartition(" ")[2].strip())).text
        kept.terminate()
        rest = await kept.communicate()
    assert (code, kept.returncode, rest) == (0, 0, (b"", b"")), shown
    assert "Stuck by hand" in page
    assert "1,935 of 1,935" in page
    _check_story(text)
    _check_readme(plain(shown))
    assert [*elsewhere.iterdir(), *temporary.iterdir()] == []
    assert sorted(here.iterdir()) == before


async def _until_kept(demo: asyncio.subprocess.Process) -> str:
    """Return what a demo prints until its campaigns have ended; at last where its pages are."""
    assert demo.stdout is not None
    assert demo.stderr is not None
    text = ""
    async for line in demo.stdout:
        text += line.decode()
        if b"until Ctrl-C: " in line:
            return text
    raise AssertionError(f"it ended without an address: {text}{await demo.stderr.read()!r}")


def _check_story(text: str) -> None:
    """Check the last line but one, which is the campaign's, and the repairs."""
    last = LAST_LINE.fullmatch(text.splitlines()[-2])
    assert last is not None
    assert int(last[1]) + int(last[2]) == 1935
    assert f"Checked: the provider accepted {last[1]} messages" in text
    assert "FAILED with 550" in text
    assert re.search(r"The first of them is message \d+, C\d+ \S+@\S+; `closeout res", text)
    assert "no result for 401-420, 981-1000" in text
    assert "stuck\tFULLY_PROCESSED\tfixed\t" in text
    assert "\tSENDING\tCOMPLETED\tRECONCILE\t" in text
    assert "\x1b" not in text


def _check_readme(text: str) -> None:
    """Check the commands of the README with their output, and how it ends."""
    for command, shown in transcripts():
        if command in DEMO:
            assert as_printed(f"$ {command}\n{shown}").search(text), f"{command}\n{text}"
    assert re.search(r"The dashboard was at http://127\.0\.0\.1:\d+/ ", " ".join(text.split()))
