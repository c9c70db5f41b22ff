"""The sizes at which the model is checked, and the mistakes that it must find."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_PROTOCOL = Path(__file__).parent / "protocol.pml"
#: The deepest run of a world that is checked here has about 200 steps.
_DEPTH = 10_000
#: A model checker that needs more than this has met a larger world than was meant, MiB.
_MEMORY_MIB = 12_000


@dataclass(frozen=True, slots=True)
class World:
    """How much may happen; all orders of it are tried.

    Attributes:
        messages: of the campaign.
        kills: of instances and of processes of the status service, in all.
        expiries: leases that run out while their owner lives.
        wishes: calls that pause, resume, cancel or repair.
    """

    messages: int
    kills: int
    expiries: int
    wishes: int

    def __str__(self) -> str:
        """Say it in words of the table that is printed."""
        return (
            f"{self.messages} messages, {self.kills} kills, {self.expiries} expired leases,"
            f" {self.wishes} wishes"
        )

    def options(self) -> list[str]:
        """Return the macros of the model."""
        return [
            f"-DN={self.messages}",
            f"-DKILLS={self.kills}",
            f"-DEXPIRIES={self.expiries}",
            f"-DWISHES={self.wishes}",
        ]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A bug of the protocol, a macro of the model.

    Attributes:
        macro: what puts it in.
        title: what is wrong, in a few words.
        finds: the assertion that must fail.
    """

    macro: str
    title: str
    finds: str


#: Checked by the tests: seconds.
SMALL = World(messages=2, kills=1, expiries=0, wishes=1)
#: The mistakes show in this one.
FAULTY = World(messages=2, kills=1, expiries=1, wishes=2)
#: Checked by ``make model``: minutes.
WORLDS = (
    World(messages=2, kills=0, expiries=1, wishes=3),
    World(messages=2, kills=1, expiries=1, wishes=1),
    World(messages=2, kills=2, expiries=0, wishes=2),
    World(messages=3, kills=1, expiries=0, wishes=2),
)
#: Each shows first as the assertion named here.
MISTAKES = (
    Mistake("BUG_STATE_WITHOUT_REVISION", "a state without a revision", "known_revision==highest"),
    Mistake("BUG_COMPLETION_OUTSIDE", "completion outside the transaction", "completions==1"),
    Mistake("BUG_INTENT_AFTER_SENDING", "the intent after the send", "handed[message]==1"),
    Mistake("BUG_TAKEOVER_WITHOUT_FENCE", "a takeover without a fence", "handed[message]==1"),
    Mistake(
        "BUG_ACKNOWLEDGED_BEFORE_COMMIT",
        "an acknowledgement before the commit",
        "(set& ~(rows))==0",
    ),
    Mistake("BUG_END_OF_STREAM_IS_THE_END", "the end of a stream taken for done", "state!=1"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """What Spin found.

    Attributes:
        violation: the assertion that failed; empty: none.
        states: how many were reached.
        complete: all orders were tried.
    """

    violation: str
    states: int
    complete: bool


def check(
    world: World, folder: Path, mistake: Mistake | None = None, *, optimised: bool = True
) -> Check:
    """Try all orders of a world.

    Args:
        world: how much may happen.
        folder: an empty one, for what is compiled.
        mistake: what to put in.
        optimised: compile longer and run faster, for large worlds.

    Raises:
        CalledProcessError: the model or what is made of it can't be compiled.
    """
    macros = world.options() + ([f"-D{mistake.macro}"] if mistake else [])
    _run(["spin", "-a", *macros, str(_PROTOCOL)], folder)
    level = "-O2" if optimised else "-O0"
    limits = ["-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={_MEMORY_MIB}"]
    _run(["gcc", level, "-w", *limits, "-o", "pan", "pan.c"], folder)
    return _found(_run(["./pan", f"-m{_DEPTH}", "-b", "-n"], folder))


def _found(report: str) -> Check:
    lines = report.splitlines()
    violation = ""
    states, errors = 0, -1
    for line in lines:
        if "assertion violated" in line:
            violation = line.split("assertion violated", 1)[1].strip().partition(" (at depth")[0]
            violation = violation.removeprefix("(").removesuffix(")")
        elif line.startswith("pan:1:") and not violation:
            violation = line.removeprefix("pan:1:").strip()
        elif "states, stored" in line:
            states = int(line.split()[0])
        elif "errors:" in line:
            errors = int(line.rsplit("errors:", 1)[1])
    complete = errors == 0 and not any("Search not completed" in line for line in lines)
    return Check(violation, states, complete)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(  # noqa: S603 - our own arguments
        command, cwd=folder, text=True, capture_output=True, check=False
    )
    # The checker itself ends with another code when it found something.
    if command[0] != "./pan" and done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, command, done.stdout, done.stderr or done.stdout
        )
    return done.stdout
