"""Every command of the documents: it runs, and prints what the page shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from acceptance.documented_commands import (
    DEMO,
    DRAWINGS,
    NOT_RUN,
    RUNS,
    STARTS,
    WITH_A_WRONG_PASSWORD,
    WITH_ANOTHER_RECIPIENT,
    Run,
)
from acceptance.documented_world import World
from acceptance.documents import LANGUAGES, ROOT, as_printed, blocks, commands, plain, transcripts
from closeout_cli.__main__ import main
from status_service.access.keys import generate

_SETTING = re.compile(r"(export )?[A-Z_]+=\S+")
#: Pages that show the form of a key.
KEY_FORMS = ("SECURITY.md", "docs/access.md")
_SERVICES = ("status service listening on ", "sender service listening on ")


def test_every_block_has_a_language() -> None:
    """The language of a block says how it is tested."""
    assert [str(block) for block in blocks() if block.language not in LANGUAGES] == []


def test_every_command_is_run_or_has_a_reason() -> None:
    """A command of a page is in one table, and no table has others."""
    shown = {command for block in blocks("sh") for command in commands(block)}
    tables = [*RUNS, *STARTS, *NOT_RUN]
    assert len(tables) == len(set(tables))
    assert {command for command in shown if not _SETTING.fullmatch(command)} == set(tables)
    assert all(NOT_RUN.values())


def test_every_transcript_is_compared() -> None:
    """What a page shows behind a command is compared below, or in test_wheels.py."""
    tables = [*DEMO, *WITH_A_WRONG_PASSWORD, *WITH_ANOTHER_RECIPIENT]
    assert sorted(command for command, _ in transcripts()) == sorted(tables)


def test_a_shell_takes_every_command() -> None:
    """A command that no test runs is one that a shell can read."""
    for command in (command for block in blocks("sh") for command in commands(block)):
        done = subprocess.run(  # noqa: S603 - it is read and not run
            ["/bin/sh", "-n", "-c", command], check=False, capture_output=True
        )
        assert done.returncode == 0, command


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A folder with the services at work, as the README starts them, but for a wrong password."""
    with World(tmp_path) as made:
        (start,) = STARTS
        (block,) = (block for block in blocks("sh") if start in block.text)
        for command in commands(block):
            if _SETTING.fullmatch(command):
                made.take_setting(command)
        made.refuse_login(refused=True)
        made.start(start, *_SERVICES)
        yield made


def test_every_command_runs(world: World) -> None:
    """Run in their order, the commands end as they should, and print what the pages show."""
    _, printed = world.run("closeout send welcome.toml --recipients people.csv")
    (world.waiting,) = re.findall(r"campaign (\S+): created", printed)
    world.wait_for_problem()
    wrong = mistakes(world, WITH_A_WRONG_PASSWORD, shown=True)
    assert world.stop_last() == 0
    world.refuse_login(refused=False)
    (start,) = STARTS
    world.start(start, *_SERVICES)
    send = "closeout send other.toml --recipients other.csv --campaign-id ended --watch"
    assert world.run(send)[0] == 6
    world.ended = "ended"
    wrong += mistakes(world, {line: run for line, run in RUNS.items() if not run.stopped})
    world.add_recipient()
    wrong += mistakes(world, WITH_ANOTHER_RECIPIENT, shown=True)
    wrong += messages_that_differ(world)
    assert world.run("closeout down --data-dir data")[0] == 0
    world.use_databases()
    wrong += mistakes(world, {line: run for line, run in RUNS.items() if run.stopped})
    assert wrong == []


def mistakes(world: World, runs: Mapping[str, Run], *, shown: bool = False) -> list[str]:
    """Run commands; return those that end otherwise, or print another text than is ``shown``."""
    expected = dict(transcripts()) if shown else {}
    wrong = []
    for command, run in runs.items():
        if run.serves:
            world.start(command, _SERVICES[0])
            code, printed = world.stop_last(), ""
        else:
            code, printed = world.run(command, run.campaign)
        text = plain(printed)
        if code != run.code or not as_printed(expected.get(command, "")).search(text):
            wrong.append(f"{command}\n  ended with {code} and printed:\n{text}")
    return wrong


def messages_that_differ(world: World) -> list[str]:
    """Return the messages about a port and a database in use, and the JSON, that differ."""
    database = "CLOSEOUT_STATUS_LISTEN=127.0.0.1:0 CLOSEOUT_STATUS_DATABASE_URL="
    commands = (
        "closeout up --data-dir other",
        f"{database}sqlite:///data/status.db python -m status_service",
    )
    printed = plain("".join(world.run(command)[1] for command in commands))
    (block,) = (block for block in blocks("text") if block.page == "docs/operations.md")
    lines = [
        line.replace("127.0.0.1:20051", world.status_address) for line in block.text.splitlines()
    ]
    wrong = [line for line in lines if not as_printed(line).search(printed)]
    (block,) = (block for block in blocks("json") if block.page == "docs/command-line.md")
    failure = world.run("closeout status x --json")[1]
    return wrong if json.loads(block.text) == json.loads(failure) else [*wrong, failure]


def test_the_other_texts_are_drawings_or_messages() -> None:
    """A text that is no drawing is compared: here, or in tests/unit/test_project_pages.py."""
    pages = {block.page for block in blocks("text") if not block.text.startswith(DRAWINGS)}
    compared = {"docs/content.md", "docs/operations.md", "docs/command-line.md", "docs/events.md"}
    assert pages == compared | set(KEY_FORMS)


@pytest.mark.parametrize("page", KEY_FORMS)
def test_the_form_of_a_key_finds_every_key(page: str) -> None:
    """The regular expression of the page, which scanners for leaked secrets use."""
    (block,) = (block for block in blocks("text") if block.page == page)
    assert re.fullmatch(block.text.strip(), generate().text)


def test_the_line_for_a_monitoring_system_has_the_data_of_the_page() -> None:
    """The page shows the performance data that the command prints, in its order."""
    (block,) = (block for block in blocks("text") if block.page == "docs/command-line.md")
    printed = (ROOT / "tests" / "golden" / "check.120.txt").read_text().splitlines()[0]
    name = re.compile(r"(\w+)=\d+(s?);")
    shown, known = (name.findall(line.partition(" | ")[2]) for line in (block.text, printed))
    assert shown == known
    assert shown


def test_the_commands_of_events_exist() -> None:
    """Those on the page of events, which need a receiver of theirs to be run."""
    texts = [block.text for block in blocks("text") if block.page == "docs/events.md"]
    named = {name for text in texts for name in re.findall(r"closeout events (\w+)", text)}
    assert named == {"subscribe", "list", "replay"}
    for name in named:
        assert main(["events", name, "--help"]) == 0
