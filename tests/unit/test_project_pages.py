"""What the pages show is real: files, code, settings, and the commands in their text."""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
import tomllib
from pathlib import Path

import pydantic
import pytest
import typer.main

from acceptance.documents import PAGES, ROOT, Block, blocks, inline_commands
from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.app import app
from closeout_cli.campaign_file import read_campaign_file
from closeout_cli.recipients_file import read_recipients_file
from sender_service.channels import offline
from sender_service.channels.contract import EmailContent, Message
from sender_service.channels.registry import installed_channels
from sender_service.channels.webhook.body import body_of
from sender_service.settings import SenderSettings, settings_model
from service_runtime import settings
from service_runtime.setting_names import CLIENT_VARIABLES
from status_service.settings import LogSettings, Settings, StatusSettings

#: The tests that run the Python code of a page, or the script that it is a part of.
PYTHON_IS_RUN_BY = {
    "README.md": "tests/unit/test_project.py",
    "clients/python/README.md": "tests/unit/test_client_readme.py",
    "docs/clients.md": "tests/unit/test_project_examples.py",
    "docs/events.md": "tests/unit/test_events_page.py",
    "docs/webhook.md": "tests/unit/test_project_documents.py",
}
#: Options of every command.
COMMON = {"--json", "--status-address", "--sender-address", "--help", "--version"}


def is_campaign(block: Block) -> bool:
    """Return whether a block in TOML is a campaign file and no settings."""
    return "name" in tomllib.loads(block.text)


@pytest.mark.parametrize(
    "block", [block for block in blocks("toml") if is_campaign(block)], ids=str
)
def test_a_campaign_file_shown_can_be_sent(block: Block, tmp_path: Path) -> None:
    """Every campaign file of a page is read as `closeout send` reads it."""
    for name in re.findall(r'_file = "(.+)"', block.text):
        (tmp_path / name).write_text("Hello")
    (tmp_path / "campaign.toml").write_text(block.text, encoding="utf-8")
    read = read_campaign_file(tmp_path / "campaign.toml")
    offline.compile_content(read.channel, read.body)


@pytest.mark.parametrize(
    "block", [block for block in blocks("toml") if not is_campaign(block)], ids=str
)
def test_settings_shown_are_accepted(block: Block, tmp_path: Path) -> None:
    """Both services take every settings file of a page."""
    (tmp_path / "closeout.toml").write_text(block.text)
    environment = {"CLOSEOUT_CONFIG": str(tmp_path / "closeout.toml")}
    settings.load(Settings, environment)
    settings.load(settings_model(installed_channels()), environment)


@pytest.mark.parametrize("block", blocks("csv"), ids=str)
def test_a_recipients_file_shown_has_an_address_in_each_row(block: Block, tmp_path: Path) -> None:
    """Every recipients file of a page is read as `closeout send` reads it."""
    (tmp_path / "people.csv").write_text(block.text, encoding="utf-8")
    read = read_recipients_file(tmp_path / "people.csv")
    recipients = [recipient for _, recipient in read.recipients()]
    assert len(recipients) == block.text.count("\n") - 1
    assert all("@" in recipient.address for recipient in recipients)


def test_the_envelope_shown_is_that_of_a_webhook() -> None:
    """The page about webhooks shows every entry of an envelope, in its order."""
    (block,) = (block for block in blocks("json") if block.page == "docs/webhook.md")
    shown = json.loads(block.text)
    content = EmailContent(
        subject="Welcome, {{ first_name }}", text="...", html="", from_="news@example.com"
    )
    message = Message(
        shown["campaign_id"],
        shown["sequence"],
        shown["address"],
        shown["recipient_key"],
        shown["fields"],
        "0" * 32,
    )
    assert json.loads(body_of(content).render(message)) == shown


def test_the_refusal_of_a_variable_is_as_shown() -> None:
    """The page about content shows the words about a misspelt variable."""
    (block,) = (block for block in blocks("text") if block.page == "docs/content.md")
    body = pb.EmailContent(subject="Hi {{ frist_name }}", text="Hello")
    setattr(body, "from", "news@example.com")
    (unknown,) = offline.compile_content("smtp", body).unknown_variables(["first_name"])
    assert f"{unknown}\n" == block.text


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_code_shown_compiles_and_a_test_runs_it(block: Block) -> None:
    """Code of a page is code, and the page has a test that runs it."""
    ast.parse("async def shown():\n" + textwrap.indent(block.text, "    "), str(block))
    test = (ROOT / PYTHON_IS_RUN_BY[block.page]).read_text()
    assert Path(block.page).name in test


def test_every_setting_named_exists() -> None:
    """A variable in a page is a setting of one of the services or channels."""
    models: dict[str, type[pydantic.BaseModel]] = {
        "status": StatusSettings,
        "sender": SenderSettings,
        "log": LogSettings,
        **{name: channel.settings_model for name, channel in installed_channels().items()},
    }
    known = {
        f"{settings.PREFIX}{table}_{name}".upper()
        for table, model in models.items()
        for name in model.model_fields
    }
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"CLOSEOUT_[A-Z_]*[A-Z](?![A-Z_…])", page.read_text(encoding="utf-8")
        )
    }
    assert named - known == {"CLOSEOUT_CONFIG", *CLIENT_VARIABLES}


@pytest.mark.parametrize("shown", sorted(inline_commands()))
def test_a_command_in_the_text_exists_with_its_options(shown: str) -> None:
    """What a sentence names can be typed: the command, and each of its options."""
    _, name, *words = shlex.split(shown)
    group = typer.main.get_command(app)
    options = COMMON | {option for param in group.params for option in param.opts}
    if not name.startswith("-") and name != "COMMAND":
        command = group.commands[name]  # type: ignore[attr-defined] # it is a group
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options |= {option for param in command.params for option in param.opts}
    used = {
        word.partition("=")[0] for word in (name, *words) if word.startswith("-") and word != "-"
    }
    assert used <= options


@pytest.mark.parametrize("index", ["README.md", "llms.txt"])
def test_every_page_is_reached_from_the_indexes(index: str) -> None:
    """A reader of the README, or a program that reads llms.txt, finds every page."""
    targets = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / index).read_text(encoding="utf-8")))
    local = {target for target in targets if "://" not in target}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= local
    assert [target for target in sorted(local) if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_page_says_first_for_whom_it_is(page: Path) -> None:
    """Nobody reads a page that was written for somebody else."""
    if page.name == "campaign-file.md":
        return  # it is generated, and names its command
    assert page.read_text(encoding="utf-8").splitlines()[2].startswith("This page is for ")
