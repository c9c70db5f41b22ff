"""No accidental double through the command line, and ``closeout resend``.

Both services and a provider run, whose ledger is the witness.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pysqlite3 import dbapi2

from integration.sender_support import eventually
from integration.test_cli_send import CAMPAIGN, System, system

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["system"]

PEOPLE = "email,name\na@example.com,A\nb@example.com,B\n"
NEW = "c@example.com,C\n"
BOTH = ["a@example.com", "b@example.com"]


def age(system: System, by: timedelta) -> None:
    """Have every campaign of the sender begin earlier than it did."""
    connection = dbapi2.connect(system.folder / "sender.db", timeout=10)
    try:
        with connection:
            shift = round(by.total_seconds() * 1_000_000)
            connection.execute("UPDATE campaigns SET begin_time = begin_time - ?", (shift,))
    finally:
        connection.close()


async def sent(
    system: System, *words: str, campaign: str = CAMPAIGN, people: str = PEOPLE
) -> tuple[int, str, str]:
    """Send the files as they are now, and follow that; return exit code, output and errors."""
    system.write("c.toml", campaign)
    system.write("r.csv", people)
    return await system.closeout("send", "c.toml", "--recipients", "r.csv", "--watch", *words)


async def first_sent(system: System) -> None:
    """Send to two people, as every test here begins."""
    code, _, err = await sent(system)
    assert (code, err) == (0, "")
    assert system.recipients() == BOTH


async def test_the_same_files_are_the_same_campaign(system: System) -> None:
    """The same command again sends nothing, and says so, with the way to send it after all."""
    await first_sent(system)
    code, out, _ = await sent(system)
    assert code == 0
    assert "this campaign was sent before: COMPLETED " in out
    way = "to send it to the same people once more: --again --campaign-id "
    name = out.partition(way)[2].split()[0]
    assert system.recipients() == BOTH
    code, out, _ = await sent(system, "--again")
    assert (code, way in out) == (0, True)
    assert system.recipients() == BOTH
    code, out, _ = await sent(system, "--again", "--campaign-id", name)
    assert (code, "COMPLETED total=2 sent=2" in out) == (0, True)
    assert system.recipients() == sorted(BOTH * 2)


@pytest.mark.parametrize(
    ("changed", "people", "words", "found"),
    [
        (str, PEOPLE + NEW, (), "2 of these 3 people got campaign 'Letter' (letter-"),
        (lambda text: text.replace("Hello", "Hallo"), PEOPLE, (), "2 of these 2 people got "),
        (str, PEOPLE, ("--campaign-id", "mine"), "2 of these 2 people got campaign 'Letter' ("),
    ],
    ids=["one row added", "one character changed", "another campaign id"],
)
async def test_a_changed_file_is_refused_with_the_numbers(
    system: System,
    changed: Callable[[str], str],
    people: str,
    words: tuple[str, ...],
    found: str,
) -> None:
    """Nobody gets a campaign twice by a correction; the ways on are named."""
    await first_sent(system)
    code, _, err = await sent(system, *words, campaign=changed(CAMPAIGN), people=people)
    assert code == 1
    first, *more = err.splitlines()
    assert first.startswith(f"closeout: {found}")
    assert first.endswith(" ago. Nothing was sent")
    ways = "\n".join(more)
    assert all(word in ways for word in ("--again", "another id", "closeout cancel"))
    assert ("  to the other 1: --only-new" in ways) is (people != PEOPLE)
    assert system.recipients() == BOTH


async def test_the_refusal_is_json_with_its_numbers(system: System) -> None:
    """A program gets the reason, and the numbers in the metadata."""
    await first_sent(system)
    code, _, err = await sent(system, "--json", people=PEOPLE + NEW)
    error = json.loads(err)["error"]
    assert (code, error["reason"]) == (1, "AUDIENCE_REPEATED")
    assert (error["metadata"]["repeated"], error["metadata"]["total"]) == ("2", "3")


async def test_only_new_people_can_be_sent_to(system: System) -> None:
    """The refused command with --only-new goes on with its draft; one campaign more is there."""
    await first_sent(system)
    assert (await sent(system, people=PEOPLE + NEW))[0] == 1
    code, out, _ = await sent(system, "--only-new", people=PEOPLE + NEW)
    assert code == 0
    assert "2 of them are left out: these people got an earlier one, or will" in out
    assert "COMPLETED total=3 sent=1 failed=0 skipped=2 unknown=0" in out
    assert system.recipients() == [*BOTH, "c@example.com"]
    _, out, _ = await system.closeout("list")
    assert len(out.splitlines()) == 2


async def test_all_can_be_sent_to_again(system: System) -> None:
    """The refused command with --again goes on with its draft."""
    await first_sent(system)
    assert (await sent(system, people=PEOPLE + NEW))[0] == 1
    code, out, _ = await sent(system, "--again", people=PEOPLE + NEW)
    assert code == 0
    assert "COMPLETED total=3 sent=3 failed=0 skipped=0 unknown=0" in out
    assert system.recipients() == sorted([*BOTH, *BOTH, "c@example.com"])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"Letter"', '"Second letter"'),
        lambda text: f'id = "second"\n{text}',
        lambda text: f"repeat_after_days = 0\n{text}",
    ],
    ids=["another name", "another id", "repeat_after_days = 0"],
)
async def test_something_else_is_sent(system: System, change: Callable[[str], str]) -> None:
    """Another family goes to the same people, and so does a file that switches the check off."""
    await first_sent(system)
    code, out, _ = await sent(system, campaign=change(CAMPAIGN))
    assert code == 0
    assert "COMPLETED total=2 sent=2" in out
    assert system.recipients() == sorted(BOTH * 2)


async def test_an_id_is_a_family_over_a_change_of_name(system: System) -> None:
    """What the file calls its id stays the family, whatever the campaign is called."""
    with_id = f'id = "letter"\n{CAMPAIGN}'
    assert (await sent(system, campaign=with_id))[0] == 0
    code, _, err = await sent(system, campaign=with_id.replace('"Letter"', '"Second letter"'))
    assert (code, "2 of these 2 people got campaign 'Letter' (letter-" in err) == (1, True)


async def test_after_eight_days_it_is_no_repetition(system: System) -> None:
    """Seven days are the default, and the file can name another number."""
    await first_sent(system)
    age(system, timedelta(days=8))
    changed = CAMPAIGN.replace("Hello", "Hallo")
    code, _, err = await sent(system, campaign=f"repeat_after_days = 9\n{changed}")
    assert (code, "got campaign 'Letter'" in err) == (1, True)
    code, out, _ = await sent(system, campaign=changed)
    assert (code, "COMPLETED total=2 sent=2" in out) == (0, True)


async def test_a_scheduled_campaign_counts_as_well(system: System) -> None:
    """People who are about to get one count as those who got it do."""
    words = ("send", "c.toml", "--recipients", "r.csv")
    system.write("c.toml", CAMPAIGN)
    system.write("r.csv", PEOPLE)
    assert (await system.closeout(*words, "--start-time", "2099-01-01"))[0] == 0
    system.write("r.csv", PEOPLE + NEW)
    code, _, err = await system.closeout(*words, "--start-time", "2099-01-02")
    assert code == 1
    assert "2 of these 3 people will get campaign 'Letter'" in err
    assert system.recipients() == []


async def test_a_draft_keeps_nobody_who_was_taken_out_of_the_file(system: System) -> None:
    """Rows of an earlier try are not sent to silently; another id sends the file as it is."""
    await first_sent(system)
    words = ("--campaign-id", "mine")
    assert (await sent(system, *words, people=PEOPLE + NEW))[0] == 1
    code, _, err = await sent(system, *words, "--again", people=PEOPLE)
    assert code == 1
    assert "the draft mine has people of another recipients file" in err
    assert system.recipients() == BOTH
    code, _, _ = await sent(system, "--campaign-id", "mine-2", "--again", people=PEOPLE)
    assert code == 0
    assert system.recipients() == sorted(BOTH * 2)


async def test_some_of_a_campaign_are_sent_to_again(system: System) -> None:
    """The people are counted first; nothing is sent without --yes, and then only to them."""
    await first_sent(system)
    _, out, _ = await system.closeout("list")
    source = out.split()[0]
    code, _, err = await system.closeout("resend", source, "--to", "failed,unknown")
    assert code != 0
    assert "nobody whose message is failed or unknown; nothing was sent" in err
    code, out, err = await system.closeout("resend", source, "--to", "sent", given=b"")
    assert (code, out) == (1, "")
    assert "Resend to 2 people? 2 sent: they get it twice." in err
    assert "agree with --yes" in err
    assert system.recipients() == BOTH
    code, out, err = await system.closeout("resend", source, "--to", "sent", "--yes", "--watch")
    assert (code, err) == (0, "")
    assert f"campaign {source}-resend-sent: created\nstarted: 2 messages\n" in out
    assert "COMPLETED total=2 sent=2" in out
    assert system.recipients() == sorted(BOTH * 2)


async def test_a_repeated_resend_sends_nothing(system: System) -> None:
    """The same command is the same campaign, also after it has ended, and says so."""
    await first_sent(system)
    _, out, _ = await system.closeout("list")
    source = out.split()[0]
    words = ("resend", source, "--yes", "--to")
    code, _, err = await system.closeout(*words, "sent,failed", "--watch")
    assert (code, err) == (0, "")
    code, out, err = await system.closeout(*words, "failed,sent")
    assert (code, err) == (0, "")
    again = f"{source}-resend-failed-sent"
    first, second, more = out.splitlines()
    assert first == f"campaign {again}: exists already"
    assert second.startswith("this campaign was sent before: COMPLETED ")
    assert second.endswith(" ago; nothing was sent again")
    assert more.endswith(f"once more: --again --campaign-id {again}-2")
    code, out, _ = await system.closeout(*words, "failed,sent", "--json")
    answer = json.loads(out)
    assert (code, answer["started"], answer.get("created", False)) == (0, False, False)
    assert answer["message"].endswith("nothing was sent again")
    assert system.recipients() == sorted(BOTH * 2)


def execute(system: System, statement: str) -> list[tuple[str]]:
    """Run a statement in the database of the sender by hand; return the rows."""
    connection = dbapi2.connect(system.folder / "sender.db", timeout=10)
    try:
        with connection:
            return list(connection.execute(statement))
    finally:
        connection.close()


async def test_a_resend_waits_for_the_last_acknowledgement(system: System) -> None:
    """What was watched to its end can be resent at once, though the sender is a moment behind."""
    await first_sent(system)
    _, out, _ = await system.closeout("list")
    source = out.split()[0]

    async def has_ended() -> bool:
        return execute(system, "SELECT phase FROM campaigns") == [("FINISHED",)]

    await eventually(has_ended)
    execute(system, "UPDATE campaigns SET phase = 'STARTED'")
    resending = asyncio.create_task(
        system.closeout("resend", source, "--yes", "--to", "sent", "--watch")
    )
    await asyncio.sleep(1)
    assert not resending.done()
    execute(system, "UPDATE campaigns SET phase = 'FINISHED' WHERE campaign = 1")
    assert (await resending)[0] == 0
    assert system.recipients() == sorted(BOTH * 2)


async def test_a_second_resend_to_the_same_people_is_refused(system: System) -> None:
    """People who got it by another resend are counted, and the ways on are options."""
    await first_sent(system)
    _, out, _ = await system.closeout("list")
    source = out.split()[0]
    words = ("resend", source, "--yes", "--watch", "--to")
    assert (await system.closeout(*words, "sent"))[0] == 0
    code, _, err = await system.closeout(*words, "sent,failed")
    assert code == 1
    first, *more = err.splitlines()
    assert first.startswith("closeout: 2 of these 2 people got campaign 'Letter' (")
    assert first.endswith(" ago. Nothing was sent")
    ways = "\n".join(more)
    assert all(word in ways for word in ("  to all 2 of them again: --again", "closeout cancel"))
    assert "campaign file" not in ways
    assert system.recipients() == sorted(BOTH * 2)
    code, out, _ = await system.closeout(*words, "sent,failed", "--only-new")
    assert "2 of them are left out" in out
    assert system.recipients() == sorted(BOTH * 2)
    code, out, _ = await system.closeout(*words, "sent", "--again", "--campaign-id", "third")
    assert (code, "COMPLETED total=2 sent=2" in out) == (0, True)
    assert system.recipients() == sorted(BOTH * 3)
    code, _, err = await system.closeout(*words, "failed,sent", "--campaign-id", "third")
    assert (code, "campaign third exists and is not " in err) == (1, True)


async def test_a_campaign_that_goes_on_is_not_sent_again(system: System) -> None:
    """The text says how it ends."""
    system.write("c.toml", CAMPAIGN)
    system.write("r.csv", PEOPLE)
    words = ("send", "c.toml", "--recipients", "r.csv", "--campaign-id", "later")
    assert (await system.closeout(*words, "--start-time", "2099-01-01"))[0] == 0
    code, _, err = await system.closeout("resend", "later", "--to", "unsent", "--yes")
    assert code == 1
    assert "campaign later has not ended" in err
    assert "closeout cancel later ends it" in err
