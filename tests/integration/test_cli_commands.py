"""The reading and changing commands against a real status service, as scripts use them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from closeout.aio import StatusClient
from closeout.status.v1 import status_pb2 as pb
from closeout_cli.demo.reports import report_sent
from closeout_cli.demo.stuck_by_hand import take_completion_away
from integration.cli_support import clean_environment, finished, started
from providers.held_port import HeldPort
from status_service.server import running
from status_service.settings import Settings, StatusSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

NOBODY = "127.0.0.1:1"


@dataclass
class Service:
    """A status service, and ``closeout`` beside it."""

    folder: Path
    address: str

    @property
    def database(self) -> Path:
        """The file of the status service."""
        return self.folder / "status.db"

    def environment(self) -> dict[str, str]:
        """Variables with which commands find this service and no sender."""
        own = {"CLOSEOUT_SENDER_STATUS_ADDRESS": self.address, "CLOSEOUT_SENDER_LISTEN": NOBODY}
        return {**clean_environment(), **own}

    def started(self, *words: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """Start a command for the time of a block."""
        return started(*words, folder=self.folder, environment=self.environment())

    async def closeout(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, output and errors."""
        return await finished(*words, folder=self.folder, environment=self.environment())

    async def campaign(self, campaign_id: str, total: int, *reported: int) -> None:
        """Make a campaign with some of its results."""
        async with StatusClient(self.address) as status:
            await status.create_campaign(campaign_id=campaign_id, display_name=campaign_id.title())
            await status.start_campaign(campaign_id=campaign_id, total=total)
            if reported:
                await report_sent(status, campaign_id, reported, reporter="a test")


def settings(folder: Path, listen: str = "127.0.0.1:0") -> Settings:
    return Settings(
        status=StatusSettings(
            http_listen="127.0.0.1:0",
            listen=listen,
            database_url=f"sqlite:///{folder / 'status.db'}",
            reconcile_interval_seconds=3600,
            grace_seconds=0,
        )
    )


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """Start programs that heed Ctrl-C also where the tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(settings(tmp_path)) as running_service:
        yield Service(tmp_path, running_service.address)


async def test_list_prints_one_plain_line_for_each_campaign(service: Service) -> None:
    """Off a terminal there are no control codes, and values have tabs between them."""
    await service.campaign("one", 4, 1, 2, 3)
    await service.campaign("two", 2, 1, 2)
    code, out, err = await service.closeout("list")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    two, one = out.splitlines()
    assert one.startswith("one\tSENDING\t4\t3\t3\t0\t0\t0\t")
    assert two.startswith("two\tCOMPLETED\t2\t2\t2\t")
    assert one.split("\t")[14] == "One"


async def test_list_filters_and_limits(service: Service) -> None:
    """By state, open ones only, and not more than asked for."""
    await service.campaign("open", 2, 1)
    await service.campaign("done", 1, 1)
    for words, expected in [
        (["--state", "completed"], ["done"]),
        (["--state", "completed", "--state", "sending"], ["done", "open"]),
        (["--stuck"], ["open"]),
        (["--limit", "1"], ["done"]),
        (["--limit", "0"], ["done", "open"]),
        (["--state", "paused"], []),
    ]:
        code, out, _ = await service.closeout("list", *words, "--json")
        assert code == 0
        assert [json.loads(line)["campaign_id"] for line in out.splitlines()] == expected


async def test_status_shows_what_is_known_without_a_sender(service: Service) -> None:
    """The sender's part may be missing: that is said, and no failure."""
    await service.campaign("one", 4, 1)
    code, out, _ = await service.closeout("status", "one")
    assert code == 0
    assert "processed      1 of 4 (25.0%)" in out
    assert f"the sender at {NOBODY} does not answer" in out
    _, out, _ = await service.closeout("status", "one", "--json")
    plain = json.loads(out)
    assert plain["campaign"]["pending"] == 3
    assert plain["delivery"] is None
    assert NOBODY in plain["delivery_error"]


async def test_an_unknown_campaign_is_exit_code_4(service: Service) -> None:
    """Every command that names a campaign says that there is none, in one line."""
    plain = ("status", "watch", "results", "explain", "transitions", "pause", "resume", "cancel")
    commands = [*([word] for word in plain), ["mark-complete"], ["results", "--missing"]]
    answers = await asyncio.gather(*(service.closeout(*words, "nope") for words in commands))
    text = "closeout: campaign 'nope' not found; `closeout list` shows all\n"
    assert answers == [(4, "", text)] * len(commands)


async def test_a_service_that_is_away_is_exit_code_5(service: Service) -> None:
    """The line names the address and what to do; both places of the option work."""
    commands = [["list"], ["status", "x"], ["results", "x"], ["fix"], ["pause", "x"]]
    answers = await asyncio.gather(
        *(service.closeout("--status-address", NOBODY, *words) for words in commands),
        *(service.closeout(*words, "--status-address", NOBODY) for words in commands),
    )
    line = (
        f"closeout: the status service does not answer at {NOBODY} (connection refused);"
        " start it with `closeout up`, or name another with --status-address\n"
    )
    assert answers == [(5, "", line)] * len(answers)


async def test_another_service_at_the_address_is_named(service: Service, tmp_path: Path) -> None:
    """A mixed up address is said to be one."""
    (tmp_path / "c.toml").write_text('name = "x"\nchannel = "null"\n')
    (tmp_path / "r.csv").write_text("email\na@example.com\n")
    code, _, err = await service.closeout(
        "send", "c.toml", "--recipients", "r.csv", "--sender-address", service.address
    )
    assert code == 5
    assert f"what answers at {service.address} is not the sender service" in err


async def test_results_come_plain_as_csv_as_json_and_into_a_file(service: Service) -> None:
    """The same results in every form; a file is there only when it is whole."""
    await service.campaign("one", 3, 1, 3)
    code, out, _ = await service.closeout("results", "one")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [["1", "SENT"], ["3", "SENT"]]
    _, out, _ = await service.closeout("results", "one", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["sequence"], row["outcome"], row["attempt"]) for row in rows] == [
        ("1", "SENT", "1"),
        ("3", "SENT", "1"),
    ]
    _, out, _ = await service.closeout("results", "one", "--json")
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == [1, 3]
    code, out, err = await service.closeout("results", "one", "--output", "out.csv")
    left_out = f"recipients are left out: the sender at {NOBODY} does not answer (UNAVAILABLE)"
    assert (code, out, err) == (0, "", f"closeout: {left_out}\ncloseout: out.csv: 2 results\n")
    assert list(csv.DictReader(io.StringIO((service.folder / "out.csv").read_text()))) == rows
    code, _, _ = await service.closeout("results", "nope", "--output", "other.csv")
    assert code == 4
    assert not [path for path in service.folder.iterdir() if "other" in path.name]
    code, _, err = await service.closeout("results", "one", "--output", "none/x.csv")
    assert (code, err) == (1, "closeout: none/x.csv: No such file or directory\n")


async def test_results_by_outcome_and_missing_ranges(service: Service) -> None:
    """Who did not get it: by outcome, and the ranges that have no result."""
    await service.campaign("one", 10, 1, 2, 5)
    _, out, _ = await service.closeout("results", "one", "--outcome", "failed")
    assert out == ""
    _, out, _ = await service.closeout("results", "one", "--missing")
    assert out == "3\t4\n6\t10\n"
    _, out, _ = await service.closeout("results", "one", "--missing", "--json")
    assert json.loads(out.splitlines()[0]) == {"first": 3, "last": 4}


async def test_pause_resume_cancel_say_what_changed(service: Service) -> None:
    """Repeating is no error; what is not allowed is exit code 1 with the reason."""
    await service.campaign("one", 2, 1)
    code, out, _ = await service.closeout("pause", "one", "--reason", "lunch")
    assert (code, out) == (0, "one: PAUSED total=2 sent=1 failed=0 skipped=0 unknown=0\n")
    code, out, _ = await service.closeout("pause", "one")
    assert code == 0
    assert "PAUSED (already paused)" in out
    _, out, _ = await service.closeout("resume", "one", "--json")
    assert json.loads(out)["transitioned"] is True
    code, _, _ = await service.closeout("cancel", "one")
    assert code == 0
    code, out, err = await service.closeout("resume", "one")
    assert (code, out) == (1, "")
    assert err.startswith("closeout: refused: campaign 'one' is CANCELLED")
    _, out, _ = await service.closeout("transitions", "one")
    assert "\tSENDING\tPAUSED\tUSER\t" in out
    assert out.splitlines()[2].endswith("\tlunch")


async def test_mark_complete_has_four_answers(service: Service) -> None:
    """Refused with the missing ranges, dry, forced, and already complete."""
    await service.campaign("one", 10, 1, 2, 5)
    code, out, err = await service.closeout("mark-complete", "one")
    assert (code, out) == (1, "")
    assert "3-4, 6-10" in err
    assert "use --force --reason WHY to record them as UNKNOWN" in err
    assert "`closeout explain one`" in err
    force = ("mark-complete", "one", "--force", "--reason", "its sender is gone")
    code, out, _ = await service.closeout(*force, "--dry-run")
    assert code == 0
    assert out.startswith("one: SENDING (would be completed)")
    code, out, _ = await service.closeout(*force)
    assert (code, out) == (0, "one: COMPLETED total=10 sent=3 failed=0 skipped=0 unknown=7\n")
    code, out, _ = await service.closeout("mark-complete", "one")
    assert code == 0
    assert "already completed" in out


async def test_explain_says_why_and_what_is_missing(service: Service) -> None:
    """Diagnosis, ranges and who reported last."""
    await service.campaign("one", 10, 1, 2, 5)
    code, out, _ = await service.closeout("explain", "one")
    assert code == 0
    assert "missing        3-4, 6-10" in out
    assert "reported by    a test" in out
    assert "diagnosis      IN_PROGRESS" in out


async def test_explain_says_that_there_are_more_ranges(service: Service) -> None:
    """The first ranges never look as if they were all."""
    await service.campaign("one", 100, *range(2, 101, 2))
    code, out, _ = await service.closeout("explain", "one")
    assert code == 0
    (missing,) = (line for line in out.splitlines() if line.startswith("missing "))
    assert missing.startswith("missing        1, 3, 5, ")
    assert missing.endswith(", 39, ...")


async def test_fix_repairs_what_was_made_stuck_by_hand(service: Service) -> None:
    """Seen by a dry run, repaired, and nothing left the second time."""
    await service.campaign("one", 3, 1, 2, 3)
    await asyncio.to_thread(take_completion_away, service.database, "one")
    code, out, err = await service.closeout("fix", "--dry-run")
    assert code == 3
    assert out.startswith("one\tFULLY_PROCESSED\twould_be_fixed\t3\t3\t3\t0\t0\t0\t")
    assert "1 open campaign: would fix 1," in err
    code, out, _ = await service.closeout("fix")
    assert code == 0
    assert out.startswith("one\tFULLY_PROCESSED\tfixed\t")
    assert await service.closeout("fix") == (
        0,
        "",
        "closeout: 0 open campaigns: fixed 0, 0 need attention, 0 unchanged\n",
    )


async def test_fix_asks_for_a_person_with_exit_code_3(service: Service) -> None:
    """A stalled campaign is named, and not ended."""
    await service.campaign("one", 3, 1)
    code, out, _ = await service.closeout("fix", "--stall-threshold", "1h")
    assert code == 0
    code, out, _ = await service.closeout("fix", "--stall-threshold", "0.001", "--json")
    assert code == 3
    plain = json.loads(out)
    assert plain["needs_attention"] == 1
    assert plain["diagnoses"][0]["diagnosis"] == "STALLED"
    assert plain["diagnoses"][0]["campaign"]["state"] == "SENDING"


async def test_watch_ends_with_the_campaign(service: Service) -> None:
    """Lines while it is sent, the counters at the end, exit code 0."""
    await service.campaign("one", 2, 1)
    async with service.started("watch", "one") as process:
        assert process.stdout is not None
        first = await process.stdout.readline()
        assert first.startswith(b"SENDING 1/2 (50.0%) sent=1")
        async with StatusClient(service.address) as status:
            await report_sent(status, "one", [2], reporter="a test")
        rest, _ = await process.communicate()
    assert rest.splitlines()[-1] == b"COMPLETED total=2 sent=2 failed=0 skipped=0 unknown=0"
    assert process.returncode == 0


async def test_watch_of_a_cancelled_campaign_is_exit_code_1(service: Service) -> None:
    """A script can tell a bad end from a good one."""
    await service.campaign("one", 2, 1)
    await service.closeout("cancel", "one")
    code, out, _ = await service.closeout("watch", "one")
    assert (code, out) == (1, "CANCELLED total=2 sent=1 failed=0 skipped=0 unknown=0\n")
    code, out, _ = await service.closeout("watch", "one", "--json")
    assert (code, json.loads(out)["state"]) == (1, "CANCELLED")


@pytest.mark.usefixtures("heeding_interrupts")
async def test_an_interrupted_watch_says_that_the_campaign_goes_on(service: Service) -> None:
    """Nobody believes that Ctrl-C stopped the campaign; it names both ways on."""
    await service.campaign("one", 2, 1)
    for words in ((), ("--json",)):
        async with service.started("watch", "one", *words) as process:
            assert process.stdout is not None
            await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert process.returncode == 130
        assert b"the campaign goes on" in err
        assert b"`closeout watch one`" in err
        assert b"`closeout cancel one`" in err
        assert err.count(b"\n") == 1
        assert err.startswith(b'{"notice"' if words else b"closeout: you stopped watching")


async def test_a_completed_campaign_with_failures_is_exit_code_6(service: Service) -> None:
    """What failed or is in doubt is named, with what to do; skipped messages are no failure."""
    outcomes = (pb.Result.FAILED, pb.Result.UNKNOWN, pb.Result.SKIPPED)
    async with StatusClient(service.address) as status:
        for outcome in outcomes:
            campaign_id = pb.Result.Outcome.Name(outcome).lower()
            await status.create_campaign(campaign_id=campaign_id)
            await status.start_campaign(campaign_id=campaign_id, total=1)
            await status.report(
                campaign_id=campaign_id, results=[pb.Result(sequence=1, outcome=outcome)]
            )
    code, out, err = await service.closeout("watch", "failed")
    assert (code, out) == (6, "COMPLETED total=1 sent=0 failed=1 skipped=0 unknown=0\n")
    assert "`closeout results failed --outcome failed` says why" in err
    assert "`closeout resend failed --to failed`" in err
    code, _, err = await service.closeout("watch", "unknown")
    assert code == 6
    assert "`closeout resend unknown --to unknown`" in err
    code, _, err = await service.closeout("watch", "skipped")
    assert (code, err) == (0, "")


async def test_watch_goes_on_when_the_service_comes_back(tmp_path: Path) -> None:
    """A restart of the status service is a pause for those who watch."""
    async with AsyncExitStack() as stack:
        address = stack.enter_context(HeldPort()).address
        async with running(settings(tmp_path, address)):
            service = Service(tmp_path, address)
            await service.campaign("one", 2, 1)
            process = await stack.enter_async_context(service.started("watch", "one"))
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdout.readline()
        away = await process.stderr.readline()
        assert away.endswith((b"stops; waiting for it\n", b"does not answer; waiting for it\n"))
        async with running(settings(tmp_path, address)), StatusClient(address) as status:
            assert b"is back" in await process.stderr.readline()
            await report_sent(status, "one", [2], reporter="a test")
            out, _ = await process.communicate()
    assert out.splitlines()[-1].startswith(b"COMPLETED total=2 sent=2")
    assert process.returncode == 0


async def test_the_paged_list_of_results_is_whole(service: Service) -> None:
    """More results than a page are all there, once, in order."""
    await service.campaign("big", 12_000, *range(1, 12_001))
    async with StatusClient(service.address) as status:
        seen = [
            result.sequence
            async for result in status.list_results(
                campaign_id="big", outcomes=[pb.Result.SENT], page_size=5000
            )
        ]
    assert seen == list(range(1, 12_001))
