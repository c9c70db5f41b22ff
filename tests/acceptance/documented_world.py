"""A terminal in a folder as the documents assume it: both services, a mail server, files."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from acceptance.documents import ROOT, blocks
from acceptance.processes import ANY_HTTP, PATIENCE_SECONDS, wait_until
from acceptance.terminal import end, forked_in_terminal, in_terminal
from closeout import StatusClient
from closeout.status.v1.status_pb2 import Result
from closeout_cli.recipients_file import read_recipients_file
from providers.curl_stand_in import path_with_curl
from providers.held_port import HeldPort
from providers.smtp_provider import write_steps

#: What a shell gives a meaning to, beside quotes.
_SHELL = set("|&;<>()$`~*?#")
USER, PASSWORD = "news@example.com", "right"
#: What a mail server says to a wrong password.
REFUSED_LOGIN = "535 5.7.8 Username and Password not accepted"
_ROOT_ENV = "sudo env CLOSEOUT_CONFIG=/etc/closeout/closeout.toml /opt/closeout/bin/"


def environment_of(folder: Path) -> dict[str, str]:
    """Return our environment without settings, with a home and temporary files of its own."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("CLOSEOUT_")
    }
    return inherited | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), path_with_curl(folder)]),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder),
        "TERM": "xterm",
        "NO_COLOR": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        **ANY_HTTP,
    }


class World:
    """The folder, the mail server and the services; what it started ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment_of(folder)
        #: The id of a campaign that has ended, with a message that FAILED.
        self.ended = ""
        #: The id of a campaign that waits for its mail server.
        self.waiting = ""
        self._ports = (HeldPort(), HeldPort(), HeldPort())
        self._processes: list[subprocess.Popen[bytes]] = []
        #: The commands of ``closeout`` that a shell has started.
        self._ran: set[str] = set()
        for name in ("examples", "protos"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "generated").mkdir()
        self._write_files()

    @property
    def status_address(self) -> str:
        """Where the status service is."""
        return self._ports[0].address

    @property
    def sender_address(self) -> str:
        """Where the sender service is."""
        return self._ports[1].address

    @property
    def http_address(self) -> str:
        """Where the status service has HTTP."""
        return self._ports[2].address

    def _write_files(self) -> None:
        """Write the campaign and the people of the README, and a campaign in which one fails."""
        (campaign,) = (block for block in blocks("toml") if block.page == "README.md")
        (people,) = (block for block in blocks("csv") if block.page == "README.md")
        (self.folder / "welcome.toml").write_text(campaign.text, encoding="utf-8")
        (self.folder / "people.csv").write_text(people.text, encoding="utf-8")
        assert read_recipients_file(self.folder / "people.csv").rows == people.text.count("\n") - 1
        other = re.sub(r'^name = ".*"', 'name = "Other"', campaign.text)
        (self.folder / "other.toml").write_text(other, encoding="utf-8")
        rows = [f"person{number}@example.com" for number in range(19)]
        (self.folder / "other.csv").write_text(
            "\n".join(["email", "refuse550+ann@example.com", *rows, ""]), encoding="utf-8"
        )

    def _start_mail_server(self) -> None:
        server = ROOT / "tests" / "providers" / "smtp_provider.py"
        steps = self.folder / "steps.json"
        write_steps(steps)
        words = [sys.executable, str(server), "--steps", str(steps), "--seen"]
        words += [str(self.folder / "seen"), "--login", f"{USER}:{PASSWORD}"]
        port = self.start(shlex.join(words), "provider listening on ").rpartition(":")[2]
        (self.folder / "closeout.toml").write_text(f"[smtp]\nport = {port}\n")
        settings = (ROOT / "deploy" / "closeout.toml").read_text()
        settings = self._here(settings.replace('"smtp.example.com"', f'"127.0.0.1"\nport = {port}'))
        (self.folder / "deploy").mkdir()
        (self.folder / "deploy" / "closeout.toml").write_text(
            re.sub(r"/var/lib/closeout-(status|sender)", str(self.folder / "data"), settings)
        )
        self.environment |= {
            "CLOSEOUT_STATUS_LISTEN": self.status_address,
            "CLOSEOUT_SENDER_LISTEN": self.sender_address,
            "CLOSEOUT_STATUS_HTTP_LISTEN": self.http_address,
        }

    def take_setting(self, command: str) -> None:
        """Do what an assignment of a variable does, with our mail server and its password."""
        name, _, value = command.removeprefix("export ").partition("=")
        given = value.replace("smtp.example.com", "127.0.0.1").replace("...", PASSWORD)
        self.environment[name] = given

    def use_databases(self) -> None:
        """Name the databases of `closeout up --data-dir data` in the settings."""
        for service in ("status", "sender"):
            name = f"CLOSEOUT_{service.upper()}_DATABASE_URL"
            self.environment[name] = f"sqlite:///{self.folder}/data/{service}.db"

    def add_recipient(self) -> None:
        """Add a line to the people of the README."""
        with (self.folder / "people.csv").open("a", encoding="utf-8") as people:
            people.write("kim@example.com,Kim\n")

    def refuse_login(self, *, refused: bool) -> None:
        """Have the mail server refuse the login, or take it again."""
        rules = {"auth": REFUSED_LOGIN} if refused else {}
        write_steps(self.folder / "steps.json", **rules)

    def start(self, command: str, *lines: str) -> str:
        """Start what goes on until it is stopped; return its last line once it printed all."""
        output = self.folder / f"output-{len(self._processes)}"
        with output.open("wb") as stdout, output.with_suffix(".errors").open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - a command of our documents
                ["/bin/sh", "-c", f"exec env {command}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self._processes.append(process)

        def printed() -> list[str]:
            read = output.read_text().splitlines()
            return read if all(any(line in text for text in read) for line in lines) else []

        try:
            wait_until(lambda: printed() or process.poll() is not None, what=command)
            assert printed(), f"{command}: {output.with_suffix('.errors').read_text()}"
        except AssertionError:
            end(process, signal.SIGTERM)
            raise
        return printed()[-1]

    def stop_last(self) -> int:
        """Stop what was started last, as Ctrl-C does, and return its exit code."""
        process = self._processes[-1]
        os.killpg(process.pid, signal.SIGTERM)
        return process.wait(PATIENCE_SECONDS)

    def run(self, command: str, campaign: str = "") -> tuple[int, str]:
        """Run a command of the documents here; every question is answered with yes.

        Each command of ``closeout`` is started by a shell the first time, and forked later.
        """
        ids = {"": "", "ended": self.ended, "waiting": self.waiting}
        identity = ids[campaign] if campaign in ids else self._open_campaign()
        here = self._here(command, identity)
        program, *words = shlex.split(here)
        if program == "closeout":
            if words[0] in self._ran and not _SHELL & set(here):
                return forked_in_terminal(words, self.folder, self.environment, b"y\n")
            self._ran.add(words[0])
        return in_terminal(here, self.folder, self.environment, b"y\n")

    def wait_for_problem(self) -> None:
        """Return once the status service knows what the waiting campaign waits for."""
        with StatusClient(self.status_address) as status:
            wait_until(
                lambda: status.get_campaign(campaign_id=self.waiting).problems,
                what="a problem of the campaign",
            )

    def _here(self, command: str, identity: str = "") -> str:
        """Return a command for this folder, its services and its campaigns."""
        for written, here in (
            (_ROOT_ENV, "env CLOSEOUT_CONFIG=root/etc/closeout/closeout.toml "),
            ("sudo ", ""),
            (" /etc/", " root/etc/"),
            ("127.0.0.1:20051", self.status_address),
            ("127.0.0.1:20052", self.sender_address),
            ("127.0.0.1:20080", self.http_address),
        ):
            command = command.replace(written, here)
        return re.sub(r"\bID\b|\bwelcome-[0-9a-f]{8}\b", identity, command)

    def _open_campaign(self) -> str:
        """Make a campaign of another sender, of which one result is missing."""
        identity = f"open-{uuid.uuid4().hex}"
        with StatusClient(self.status_address) as status:
            status.create_campaign(campaign_id=identity, display_name="Open", channel="mine")
            status.start_campaign(campaign_id=identity, total=2)
            sent = [Result(sequence=1, outcome=Result.SENT, attempt=1)]
            status.report(sent, campaign_id=identity, reporter="test")
        return identity

    def __enter__(self) -> Self:
        """Start the mail server."""
        self._start_mail_server()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End what still runs; the services end with `closeout up`."""
        for process in reversed(self._processes):
            end(process, signal.SIGTERM)
        for port in self._ports:
            port.close()
