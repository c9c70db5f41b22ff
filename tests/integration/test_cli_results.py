"""``closeout results`` with the sender at hand: who got what, and who did not get it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format, struct_pb2

from closeout.sender.v1 import sender_pb2 as pb
from closeout_cli.demo.reports import report_sent
from closeout_cli.recipient_lookup import BATCH, RecipientLookup
from integration import sender_support as support
from integration.cli_support import clean_environment, finished
from integration.sender_pair import Pair, pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, with nothing in them."""
    async with pair(tmp_path) as services:
        yield services


async def closeout(both: Pair, *words: str) -> tuple[int, str, str]:
    """Run a command that finds both services."""
    found = {
        "CLOSEOUT_SENDER_STATUS_ADDRESS": both.status_address,
        "CLOSEOUT_SENDER_LISTEN": both.sender_address,
    }
    return await finished(*words, folder=both.folder, environment=clean_environment() | found)


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    return list(csv.DictReader(io.StringIO(text)))


async def one_failed(both: Pair) -> None:
    """Send a campaign of three, the second of which is refused."""
    both.channel.script = lambda message: (
        support.REFUSED if message.sequence == 2 else support.ACCEPTED
    )
    await both.create("c", 0)
    await both.sender.upload_recipients(
        campaign_id="c",
        upload_id="keys",
        batches=[
            [
                pb.Recipient(address="zoe@example.com", recipient_key="K1"),
                pb.Recipient(address="=cmd@example.com", recipient_key="-2\n\x1b[2J"),
                pb.Recipient(address="sam@example.com"),
            ]
        ],
    )
    await both.sender.start_campaign(campaign_id="c")
    await both.ended("c")


async def waiting(both: Pair, messages: int) -> None:
    """Start a campaign of which no message has a result, since its provider does not answer."""
    await both.hold_calls()
    await both.begin("c", messages)
    await support.eventually(lambda: both.channel.flying == 4)


async def test_each_result_says_whose_it_is(both: Pair) -> None:
    """Plain, as CSV and as JSON; nothing in a recipient's key moves the cursor or is a formula."""
    await one_failed(both)
    code, out, err = await closeout(both, "results", "c")
    assert (code, err) == (0, "")
    first, second, third = out.splitlines()
    assert first.startswith("1\tK1\tzoe@example.com\tSENT\t")
    assert second.startswith("2\t-2\\n [2J\t=cmd@example.com\tFAILED\t")
    assert "\tno such user\t" in second
    assert third.startswith("3\t\tsam@example.com\tSENT\t")

    _, out, err = await closeout(both, "results", "c", "--csv", "--outcome", "failed")
    assert err == ""
    assert out.startswith("sequence,recipient_key,address,outcome,attempt,code,detail,")
    (row,) = rows(out)
    assert (row["recipient_key"], row["address"]) == ("'-2\n\x1b[2J", "'=cmd@example.com")
    assert (row["sequence"], row["outcome"], row["code"]) == ("2", "FAILED", "550")

    _, out, _ = await closeout(both, "results", "c", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(one["recipient_key"], one["address"]) for one in lines] == [
        ("K1", "zoe@example.com"),
        ("-2\n\x1b[2J", "=cmd@example.com"),
        ("", "sam@example.com"),
    ]
    assert list(lines[0])[:4] == ["sequence", "recipient_key", "address", "outcome"]


async def test_the_other_columns_of_the_recipients_come_with_their_results(both: Pair) -> None:
    """As CSV columns by name, as an object in JSON; over many calls of the sender."""
    total = 45
    await both.create("c", 0)
    await both.sender.upload_recipients(
        campaign_id="c",
        upload_id="fields",
        batches=[
            [
                pb.Recipient(
                    address=f"p{number}@example.com",
                    fields=json_format.ParseDict(
                        {"points": number, "code": "=1", "likes": ["a", 1.5]}, struct_pb2.Struct()
                    ),
                )
                for number in range(1, total + 1)
            ]
        ],
    )
    await both.sender.start_campaign(campaign_id="c")
    await both.ended("c")
    await both.finished("c")
    code, out, err = await closeout(both, "results", "c", "--csv", "--with-fields")
    assert (code, err) == (0, "")
    found = rows(out)
    assert list(found[0])[-4:] == ["finish_time", "fields.code", "likes", "points"]
    assert [(row["address"], row["points"]) for row in found] == [
        (f"p{number}@example.com", str(number)) for number in range(1, total + 1)
    ]
    assert {(row["fields.code"], row["likes"]) for row in found} == {("'=1", '["a", 1.5]')}
    _, out, _ = await closeout(both, "results", "c", "--json", "--with-fields")
    assert json.loads(out.splitlines()[44])["fields"] == {
        "points": 45,
        "code": "=1",
        "likes": ["a", 1.5],
    }
    words = ("results", "c", "--csv", "--with-fields", "--outcome", "failed")
    code, out, err = await closeout(both, *words)
    assert (code, out.count("\n"), err) == (0, 1, "")
    code, _, err = await closeout(both, "results", "c", "--with-fields")
    assert (code, "--with-fields needs --csv or --json" in err) == (2, True)


async def test_without_recipients_the_sender_is_not_asked(both: Pair) -> None:
    """The columns are gone in every form, and a sender that is away is not noticed."""
    await one_failed(both)
    await both.finished("c")
    await both.stop_sender()
    for words in ((), ("--csv",), ("--json",)):
        code, out, err = await closeout(both, "results", "c", "--no-recipients", *words)
        assert (code, err) == (0, "")
        assert "zoe" not in out
        assert "recipient_key" not in out


async def test_each_missing_message_says_whose_it_is(both: Pair) -> None:
    """Ranges for people, single messages as CSV or when asked for, over many batches."""
    total = 2 * BATCH + 5
    await waiting(both, total)
    code, out, err = await closeout(both, "results", "c", "--missing")
    assert (code, out, err) == (0, f"1\t{total}\n", "")

    code, out, err = await closeout(both, "results", "c", "--missing", "--csv")
    assert (code, err) == (0, "")
    assert out.startswith("sequence,recipient_key,address\r\n")
    expected = [(str(n), f"p{n - 1}@example.com") for n in range(1, total + 1)]
    assert [(row["sequence"], row["address"]) for row in rows(out)] == expected

    code, out, err = await closeout(both, "results", "c", "--missing", "--output", "m.csv")
    assert (code, out, err) == (0, "", f"closeout: m.csv: {total} messages\n")
    assert len(rows((both.folder / "m.csv").read_text())) == total

    _, out, _ = await closeout(both, "results", "c", "--missing", "--recipients")
    assert out.splitlines()[1].split() == ["2", "p1@example.com"]
    _, out, _ = await closeout(both, "results", "c", "--missing", "--recipients", "--json")
    assert json.loads(out.splitlines()[2]) == {
        "sequence": 3,
        "recipient_key": "",
        "address": "p2@example.com",
    }
    _, out, _ = await closeout(both, "results", "c", "--missing", "--csv", "--no-recipients")
    assert out == f"first,last\r\n1,{total}\r\n"


async def test_results_of_another_sender_come_without_recipients(both: Pair) -> None:
    """One line on standard error says why; what is known is there, and it is no failure."""
    await both.status.create_campaign(campaign_id="theirs")
    await both.status.start_campaign(campaign_id="theirs", total=3)
    await report_sent(both.status, "theirs", [1], reporter="another sender")
    why = (
        "closeout: recipients are left out: not a campaign of the sender at"
        f" {both.sender_address}\n"
    )
    code, out, err = await closeout(both, "results", "theirs")
    assert (code, err) == (0, why)
    assert out.split()[:2] == ["1", "SENT"]
    code, out, err = await closeout(both, "results", "theirs", "--json")
    message = why.removeprefix("closeout: ").rstrip()
    assert (code, json.loads(err)) == (0, {"notice": {"message": message}})
    assert json.loads(out)["address"] is None
    code, out, err = await closeout(both, "results", "theirs", "--missing", "--csv")
    assert (code, out, err) == (0, "sequence,recipient_key,address\r\n2,,\r\n3,,\r\n", why)


async def test_what_answers_in_the_place_of_the_sender_is_named(both: Pair) -> None:
    """A mixed up address is said to be one."""
    await one_failed(both)
    code, out, err = await closeout(
        both, "results", "c", "--sender-address", both.status_address, "--csv"
    )
    assert code == 0
    assert [row["address"] for row in rows(out)] == ["", "", ""]
    assert err == (
        f"closeout: recipients are left out: what answers at {both.status_address}"
        " is no sender service of this version\n"
    )


async def test_a_sender_that_goes_away_half_way_is_said_once(
    both: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says from which message on; the sender is not asked again."""
    await both.create("c", 4)
    lookup = RecipientLookup(both.sender, both.sender_address, "c")
    assert list(await lookup.find([1, 2])) == [1, 2]
    await both.stop_sender()
    assert await lookup.find([3, 4]) == {}
    await both.start_sender()
    assert await lookup.find([4]) == {}
    assert capsys.readouterr().err == (
        "closeout: recipients are left out from message 3 on: the sender at"
        f" {both.sender_address} does not answer (UNAVAILABLE)\n"
    )
