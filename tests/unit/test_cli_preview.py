"""``closeout send --preview`` and what is checked before anything is created: no service."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from closeout.errors import InvalidArgumentError
from closeout_cli import failures
from closeout_cli.__main__ import main
from closeout_cli.campaign_file import read_campaign_file
from closeout_cli.content_check import refused_content

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "examples"
CAMPAIGN = """
name = "Letter"
[content]
subject = "Hello {{ first_name }}"
text = "Hello {{ first_name }},\\nyour plan is {{ plan }}."
html = "<p>Hello {{ first_name }}</p>"
from = "Shop <news@example.com>"
reply_to = "help@example.com"
list_unsubscribe = "https://example.com/u/{{ recipient_key }}"
[content.headers]
X-Campaign = "letter"
"""
PEOPLE = """\
id,email,First name,plan
1,nobody,No,free
2,zoe@example.com,Zoë,pro
3,sam@example.com,,
4,ZOE@example.com,Zoe,pro
5,sam@EXAMPLE.COM,Sam,pro
6,,,
7,kim@example.com,,pro
"""


class Files:
    """A campaign file and a recipients file, and the command on them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def send(
        self, *words: str, campaign: str = CAMPAIGN, people: str = PEOPLE
    ) -> tuple[int, str, str]:
        """Run ``closeout send``; return exit code, output and errors without our folder."""
        (self.folder / "c.toml").write_text(campaign, encoding="utf-8")
        (self.folder / "people.csv").write_text(people, encoding="utf-8")
        code = main(["send", "c.toml", "--recipients", "people.csv", *words])
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.fixture
def files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Files:
    monkeypatch.chdir(tmp_path)
    # Nothing answers there: whoever needs a service fails.
    monkeypatch.setenv("CLOSEOUT_SENDER_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("CLOSEOUT_SENDER_STATUS_ADDRESS", "127.0.0.1:1")
    return Files(tmp_path, capsys)


def test_a_preview_shows_rows_headers_and_text(files: Files) -> None:
    """The rows are counted with reasons and gaps; every header and the text are shown."""
    code, out, err = files.send("--preview")
    assert (code, err) == (
        0,
        "closeout: people.csv: column 'First name' is first_name in templates\n",
    )
    assert out.splitlines() == [
        "people.csv: 7 rows, 3 accepted, 2 duplicate, 2 invalid",
        "  line 2: nobody: An email address must have an @-sign.",
        "  line 5: ZOE@example.com: the address of line 3 in other letter case",
        "  line 6: sam@EXAMPLE.COM: the address of line 4 in other letter case",
        "  line 7: no address",
        "2 of 3 recipients have an empty first_name",
        "1 of 3 recipients have an empty plan",
        "",
        "The message to row 2 (line 3):",
        "",
        "From: Shop <news@example.com>",
        "To: zoe@example.com",
        "Reply-To: help@example.com",
        "Subject: Hello Zoë",
        "X-Campaign: letter",
        "List-Unsubscribe: <https://example.com/u/2>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "",
        "Hello Zoë,",
        "your plan is pro.",
        "",
        "HTML: 16 characters (--open shows it in a browser)",
    ]


def test_a_subject_stays_on_its_line(files: Files) -> None:
    """A line break in a value can't look like another header."""
    people = 'email,first_name,plan\na@example.com,"Zoë\nBcc: x@example.com",pro\n'
    code, out, _ = files.send("--preview", people=people)
    assert code == 0
    assert "Subject: Hello Zoë Bcc: x@example.com" in out.splitlines()


@pytest.mark.parametrize("wanted", ["7", "KIM@example.com"])
def test_the_recipient_can_be_chosen(files: Files, wanted: str) -> None:
    """By the number of its row, or by its address."""
    code, out, _ = files.send("--preview", "--recipient", wanted)
    assert code == 0
    assert "The message to row 7 (line 8):" in out
    assert "To: kim@example.com" in out


def test_a_recipient_who_gets_nothing_is_shown_with_the_reason(files: Files) -> None:
    """The row can be looked at, and it is said that nothing would be sent."""
    code, out, _ = files.send("--preview", "--recipient", "1")
    assert code == 0
    assert "It would not be sent: An email address must have an @-sign." in out
    _, out, _ = files.send("--preview", "--recipient", "6")
    assert "It would not be sent: no address" in out


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("8", "no row 8; it has 7 rows"), ("x@example.com", "no recipient x@example.com; it has 7")],
)
def test_a_recipient_who_is_not_there_is_refused(files: Files, wanted: str, message: str) -> None:
    """The text says how many there are."""
    code, out, err = files.send("--preview", "--recipient", wanted)
    assert (code, out) == (2, "")
    assert message in err


def test_a_preview_is_one_json_document(files: Files) -> None:
    """With --json it has everything, the HTML too."""
    code, out, _ = files.send("--preview", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["rows"], found["accepted"], found["duplicate"], found["invalid"]) == (7, 3, 2, 2)
    assert found["rejected_rows"][0]["line"] == 2
    assert found["empty"] == {"first_name": 2, "plan": 1}
    assert found["recipient"]["address"] == "zoe@example.com"
    assert {"name": "Reply-To", "value": "help@example.com"} in found["headers"]
    assert (found["subject"], found["html"]) == ("Hello Zoë", "<p>Hello Zoë</p>")
    assert found["text"].splitlines() == ["Hello Zoë,", "your plan is pro."]


def test_the_html_opens_in_a_browser(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in a file that the browser is given; without a browser the file is named."""
    opened: list[str] = []
    browsers: list[Callable[[str], bool]] = [lambda _: True, lambda _: False]

    def open_page(address: str) -> bool:
        opened.append(address)
        return browsers.pop(0)(address)

    monkeypatch.setattr("webbrowser.open", open_page)
    monkeypatch.setattr("tempfile.tempdir", str(files.folder))
    code, _, err = files.send("--preview", "--open")
    assert (code, "no browser" in err) == (0, False)
    assert Path(opened[0].removeprefix("file://")).read_text() == "<p>Hello Zoë</p>"
    code, _, err = files.send("--preview", "--open")
    assert code == 0
    assert f"no browser was found; the HTML is in {opened[1].removeprefix('file://')}" in err
    code, _, err = files.send("--preview", "--open", campaign=CAMPAIGN.replace("html", "#"))
    assert (code, len(opened)) == (0, 2)
    assert "the message has no HTML" in err


def test_an_unknown_variable_is_shown_where_it_is(files: Files) -> None:
    """Each with its file, line, column and a mark, what was probably meant, and the ways on."""
    campaign = CAMPAIGN.replace("{{ first_name }}", "{{ frist_name }}").replace("plan }", "qqq }")
    code, out, err = files.send(campaign=campaign)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    meant = "people.csv has no column frist_name; did you mean first_name?"
    assert lines[1:-1] == [
        f"closeout: c.toml [content] subject:1:10: {meant}",
        "  Hello {{ frist_name }}",
        "           ^",
        f"c.toml [content] text:1:10: {meant}",
        "  Hello {{ frist_name }},",
        "           ^",
        "c.toml [content] text:2:17: people.csv has no column qqq",
        "  your plan is {{ qqq }}.",
        "                  ^",
        f"c.toml [content] html:1:13: {meant}",
        "  <p>Hello {{ frist_name }}</p>",
        "              ^",
    ]
    assert lines[-1] == (
        "nothing was sent: correct it, give it a default, as in"
        " {{ frist_name | default: 'friend' }}, or send a gap in its place with"
        " --allow-unknown-variables"
    )
    code, out, _ = files.send("--preview", "--allow-unknown-variables", campaign=campaign)
    assert code == 0
    assert "Subject: Hello" in out.splitlines()


def test_misspelt_variables_are_refused(files: Files) -> None:
    """Sixty slips of the finger, in each template and form, all before anything is sent."""
    chance = random.Random(7)  # noqa: S311 - the same slips in every run
    columns = ["first_name", "last_name", "company", "renewal_date"]
    people = f"email,{','.join(columns)}\na@example.com,A,B,C,D\n"
    for _ in range(60):
        column = chance.choice(columns)
        slip = misspelt(chance, column)
        if slip in columns:
            continue
        use = chance.choice(["{{ %s }}", "{{ %s | upcase }}", "{{%s}}", "{{ %s.size }}"]) % slip
        key = chance.choice(["subject", "text", "html"])
        good = {"subject": "Hi", "text": "Hello {{ first_name }}", "html": "<p>Hi</p>"}
        content = {**good, key: f"{good[key]} {use}"}
        campaign = "\n".join(
            ["name = 'x'", "[content]", "from = 'a@example.com'"]
            + [f"{name} = '{value}'" for name, value in content.items()]
        )
        code, out, err = files.send(campaign=campaign, people=people)
        assert (code, out) == (2, ""), use
        assert f"people.csv has no column {slip}" in err, use


def misspelt(chance: random.Random, name: str) -> str:
    """Return a name with one letter changed, left out, doubled, or swapped with the next."""
    at = chance.randrange(len(name) - 1)
    before, letter, after = name[:at], name[at], name[at + 1 :]
    return chance.choice(
        [
            before + chance.choice("abcdefghijklmnopqrstuvwxyz") + after,
            (before + after).lstrip("_"),
            before + letter + letter + after,
            before + after[0] + letter + after[1:],
            before + letter.upper() + after,
        ]
    )


def test_an_unknown_variable_with_a_default_is_a_remark(files: Files) -> None:
    """It is sent, since the file provides for it, but everybody gets the same."""
    campaign = CAMPAIGN.replace("first_name }}", "frist_name | default: 'friend' }}")
    code, out, err = files.send("--preview", campaign=campaign)
    assert code == 0
    assert "Subject: Hello friend" in out
    assert (
        "closeout: c.toml [content] subject:1:10: people.csv has no column frist_name;"
        " did you mean first_name?; everybody gets the same there\n"
    ) in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Hello {{ first_name }}<", "{{ first_name | upcaze }}<", "html:1:20: unknown filter"),
        ('subject = "Hello {{ first_name }}"\n', "", "c.toml [content] subject: missing\n"),
        ('from = "Shop <news@example.com>"\n', "", "c.toml [content] from: missing\n"),
        ("news@example.com", "news", "c.toml [content] from: "),
        ('"letter"', '"ä\\nb"', "c.toml [content.headers] X-Campaign: "),
        ("[content]", 'channel = "webhook"\n[content]\njson = "{}"\n#', "excludes"),
    ],
)
def test_a_mistake_in_the_content_is_named_by_its_key(
    files: Files, old: str, new: str, message: str
) -> None:
    """One line says which file and which key, before anything is created."""
    assert old in CAMPAIGN
    code, out, err = files.send(campaign=CAMPAIGN.replace(old, new))
    assert (code, out) == (2, "")
    assert message in err


def test_a_template_that_fails_for_one_recipient_shows_its_place(files: Files) -> None:
    """A filter that can't take the value of the one who is shown."""
    campaign = CAMPAIGN.replace("is {{ plan }}", "is {{ plan | divided_by: 0 }}")
    code, out, err = files.send("--preview", campaign=campaign)
    assert (code, out) == (2, "")
    assert "c.toml [content] text" in err


def test_a_refusal_of_the_sender_shows_the_same(files: Files) -> None:
    """A channel that only its sender knows: its place in the content is one in our files."""
    files.send("--preview")
    file = read_campaign_file(Path("c.toml"))
    error = InvalidArgumentError(
        "template email.text at line 2, column 14: unknown filter 'upcaze'",
        reason="TEMPLATE_INVALID",
        metadata={"field": "email.text", "line": "2", "column": "14"},
    )
    refused = refused_content(file, error)
    assert str(refused) == "c.toml [content] text:2:14: unknown filter 'upcaze'"
    assert refused.more == ("  your plan is {{ plan }}.", "               ^")
    unplaced = InvalidArgumentError(
        "template email.text: too long",
        reason="TEMPLATE_INVALID",
        metadata={"field": "email.text"},
    )
    assert str(refused_content(file, unplaced)) == "c.toml [content] text: too long"


def test_nobody_to_send_to_creates_nothing(files: Files) -> None:
    """Without one usable address no service is asked, and the reasons are shown."""
    people = "email,first_name,plan\nnobody,a,b\n,c,d\n"
    code, out, err = files.send(people=people)
    assert (code, out) == (2, "")
    first, *reasons = err.splitlines()
    assert first.startswith("closeout: none of the 2 rows of people.csv can be sent to; nothing")
    assert reasons == [
        "  line 2: nobody: An email address must have an @-sign.",
        "  line 3: no address",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preview", "--test", "me@example.com"], "use either --preview or --test"),
        (["--preview", "--watch"], "--watch follows a campaign"),
        (["--open"], "--open needs --preview"),
        (["--recipient", "1"], "--recipient needs --preview or --test"),
        (["--only-new", "--again"], "use either --only-new or --again"),
        (["--now", "--start-time", "2099-01-01"], "use either --now or --start-time"),
        (["--start-time", "soon"], "'soon' is not a time"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    files: Files, words: list[str], message: str
) -> None:
    """One line, before anything else is done."""
    code, out, err = files.send(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_past_start_is_refused_before_anything_is_created(files: Files) -> None:
    """A mistyped year sends nothing."""
    code, out, err = files.send("--start-time", "2020-01-01T00:00+00:00")
    assert (code, out) == (2, "")
    assert "is past; nothing was created" in err


def test_the_examples_can_be_previewed(files: Files) -> None:
    """The example campaign is in order, Liquid in subject, text and HTML included."""
    words = (str(EXAMPLES / "welcome.toml"), "--recipients", str(EXAMPLES / "recipients.csv"))
    assert main(["send", *words, "--preview"]) == failures.OK
    out, err = files._capsys.readouterr()
    assert err == ""
    assert "recipients.csv: 2,000 rows, 1,935 accepted, 40 duplicate, 25 invalid" in out
    assert "Subject: Jürgen, your Lantern Pro account is ready" in out
