"""What a type checker says about code that uses the clients, as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """\
from closeout import SenderClient, StatusClient, UnavailableError, aio
from closeout.sender.v1.sender_pb2 import Recipient
from closeout.status.v1.status_pb2 import Campaign, ReportResultsRequest, Result

blocking = StatusClient("127.0.0.1:20051")
sender = SenderClient("127.0.0.1:20052")
asynchronous = aio.StatusClient("127.0.0.1:20051")
results = [Result(sequence=1, outcome=Result.SENT)]


async def main() -> None:
"""
_V1 = "closeout.status.v1.status_pb2"
_ANSWERS = "closeout.status.v1.status_pb2.ReportResultsResponse"
_RECEIPT = f"{_V1}.BatchReportResultsResponse.Receipt"
REVEALED = {
    'blocking.get_campaign(campaign_id="c")': f"{_V1}.Campaign",
    'blocking.report(results, campaign_id="c")': _RECEIPT,
    "blocking.list_campaigns(states=[Campaign.SENDING])": (
        f"typing.Generator[{_V1}.Campaign, None, None]"
    ),
    'blocking.watch_campaign(campaign_id="c")': f"typing.Generator[{_V1}.Campaign, None, None]",
    "blocking.report_results([ReportResultsRequest()])": (
        f"typing.Generator[{_ANSWERS}, None, None]"
    ),
    'sender.upload_recipients(campaign_id="c", upload_id="u", batches=[[Recipient()]])': (
        "closeout.sender.v1.sender_pb2.UploadRecipientsResponse"
    ),
    'await asynchronous.get_campaign(campaign_id="c")': f"{_V1}.Campaign",
    'await asynchronous.report(results, campaign_id="c")': _RECEIPT,
    'asynchronous.watch_campaign(campaign_id="c")': f"typing.AsyncGenerator[{_V1}.Campaign, None]",
    "asynchronous.report_results()": (
        f"grpc.aio.StreamStreamCall[{_V1}.ReportResultsRequest, {_ANSWERS}]"
    ),
    'UnavailableError("no").reason': "str",
}
WRONG = {
    "blocking.get_campaign()": "call-arg",
    'blocking.report("no", campaign_id="c")': "arg-type",
    "StatusClient(20051)": "arg-type",
    'await blocking.get_campaign(campaign_id="c")': "misc",
    'asynchronous.report(results, campaign_id="c")': "unused-coroutine",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that spares mypy to read gRPC's types for each test."""
    return tmp_path_factory.mktemp("mypy")


def checked(lines: list[str], folder: Path, cache: Path) -> str:
    """Return what mypy, strict and without a configuration, says about user code."""
    (folder / "user.py").write_text(HEAD + "".join(f"    {line}\n" for line in lines))
    options = ["--strict", "--config-file=", f"--cache-dir={cache}", "--hide-error-context"]
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own arguments
        [sys.executable, "-m", "mypy", *options, "user.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def test_user_code_is_typed(tmp_path: Path, cache: Path) -> None:
    """The type of every answer is known, and strict checking finds nothing to complain of."""
    output = checked([f"reveal_type({expression})" for expression in REVEALED], tmp_path, cache)
    assert re.findall(r'Revealed type is "(.+)"', output) == list(REVEALED.values())
    assert "error:" not in output


@pytest.mark.parametrize(("line", "code"), WRONG.items())
def test_mistakes_of_user_code_are_found(tmp_path: Path, cache: Path, line: str, code: str) -> None:
    """A call that can't work is seen before it runs."""
    assert re.findall(r"error: .+\[(.+)\]", checked([line], tmp_path, cache)) == [code]
