"""Settings: their sources, their precedence, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from closeout import from_environment
from sender_service.channels.registry import installed_channels
from sender_service.settings import Settings as SenderOnly
from sender_service.settings import settings_model
from service_runtime import settings
from service_runtime.errors import StartupError
from service_runtime.setting_names import CLIENT_VARIABLES, known_settings
from service_runtime.settings import Section, SettingsError, load
from status_service.settings import Settings

SENDER = settings_model(installed_channels())
KNOWN = [(table, field) for table, fields in known_settings().items() for field in fields]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's closeout.toml does not affect the tests."""
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    """Without environment and file a service has its defaults."""
    assert load(Settings, {}) == Settings()
    assert load(Settings, {}).status.listen == "127.0.0.1:20051"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable overrides the same field of the file; other fields of the file apply."""
    file = tmp_path / "my.toml"
    file.write_text('[status]\nlisten = "127.0.0.1:1"\nqueue_frames = 7\n[log]\nlevel = "debug"\n')
    environment = {"CLOSEOUT_CONFIG": str(file), "CLOSEOUT_STATUS_LISTEN": "127.0.0.1:2"}
    loaded = load(Settings, environment)
    assert (loaded.status.listen, loaded.status.queue_frames) == ("127.0.0.1:2", 7)
    assert loaded.log.level == "debug"


def test_the_file_of_the_working_folder_is_read(tmp_path: Path) -> None:
    """closeout.toml in the working folder is read by default."""
    (tmp_path / "closeout.toml").write_text("[status]\ngrace_seconds = 1.5\n")
    assert load(Settings, {}).status.grace_seconds == 1.5


def test_a_channel_may_have_an_underscore_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a channel ``my_sms`` are not those of a section ``my``."""

    class Sms(Section):
        """A table of settings."""

        url: str = ""

    class WithSms(pydantic.BaseModel):
        """Settings with that table."""

        my_sms: Sms = Sms()

    monkeypatch.setattr(settings, "sections", lambda: ["status", "my", "my_sms"])
    assert load(WithSms, {"CLOSEOUT_MY_SMS_URL": "x"}).my_sms.url == "x"


def test_settings_of_the_other_service_and_of_others_are_passed_over(tmp_path: Path) -> None:
    """One file and one environment serve both services."""
    (tmp_path / "closeout.toml").write_text('[sender]\nlisten = "x"\n[smtp]\nhost = "y"\n')
    environment = {"CLOSEOUT_SENDER_LISTEN": "z", "CLOSEOUT_SMTP_PORT": "25", "HOME": "/"}
    assert load(Settings, environment) == Settings()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"CLOSEOUT_STATUS_LISTN": "x"},
            "CLOSEOUT_STATUS_LISTN: unknown setting; did you mean CLOSEOUT_STATUS_LISTEN?",
        ),
        (
            {"CLOSEOUT_STATSU_LISTEN": "x"},
            "unknown setting CLOSEOUT_STATSU_LISTEN; did you mean CLOSEOUT_STATUS_LISTEN?",
        ),
        ({"CLOSEOUT_ZZZ": "x"}, "unknown setting CLOSEOUT_ZZZ"),
        ({"CLOSEOUT_STATUS": "x"}, "unknown setting CLOSEOUT_STATUS"),
        (
            {"CLOSEOUT_STATUS_QUEUE_FRAMES": "many"},
            "CLOSEOUT_STATUS_QUEUE_FRAMES: Input should be a valid integer",
        ),
        ({"CLOSEOUT_STATUS_QUEUE_FRAMES": "0"}, "CLOSEOUT_STATUS_QUEUE_FRAMES: Input should be"),
        ({"CLOSEOUT_STATUS_GRACE_SECONDS": "-1"}, "(got '-1')"),
        ({"CLOSEOUT_LOG_LEVEL": "loud"}, "CLOSEOUT_LOG_LEVEL: Input should be 'debug'"),
        ({"CLOSEOUT_CONFIG": "no-such-file.toml"}, "settings file no-such-file.toml: "),
        ({"CLOSEOUT_CONFIG": "."}, "settings file .: "),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(environment: dict[str, str], expected: str) -> None:
    """The message is one line with the variable and the expected value or name."""
    with pytest.raises(StartupError) as caught:
        load(Settings, environment)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[status]\nlistn = 1\n", "[status] listn: unknown setting; did you mean listen?"),
        ("[statsu]\nlisten = 1\n", "unknown table [statsu]; did you mean [status]?"),
        ("listen = 1\n", "unknown table [listen]"),
        ("[status]\nlisten = 5\n", "[status] listen: Input should be a valid string (got 5)"),
        ("[status]\nlisten = [\n", "closeout.toml: "),
        ("status = 5\n", "unknown table [status]"),
        ("\xff", "closeout.toml: "),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """The message is one line with the file, the table and the field."""
    (tmp_path / "closeout.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(StartupError) as caught:
        load(Settings, {})
    assert expected in str(caught.value)
    assert str(caught.value).startswith("settings file closeout.toml: ")
    assert "\n" not in str(caught.value)


def problems(environment: dict[str, str], model: type[pydantic.BaseModel] = SENDER) -> list[str]:
    """Return the problems of an environment."""
    with pytest.raises(SettingsError) as caught:
        load(model, environment)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)


def suggested(name: str, model: type[pydantic.BaseModel] = SENDER) -> str:
    """Return what is suggested for a variable."""
    (line,) = problems({name: "x"}, model)
    return line.partition("; ")[2]


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    """Variables and the file: each problem has its line, and the right ones are no problem."""
    (tmp_path / "closeout.toml").write_text('[smtp]\nport = "x"\n[lgo]\nlevel = "info"\n')
    found = problems(
        {
            "CLOSEOUT_SENDER_LISTEN": "nonsense",
            "CLOSEOUT_SENDER_SHARD_SIZE": "0",
            "CLOSEOUT_SENDER_GRACE_SECONDS": "1",
            "CLOSEOUT_SMTP_HOTS": "x",
            "CLOSEOUT_ZZZ": "x",
        }
    )
    assert [line.partition(": ")[0] for line in found[:1]] == ["settings file closeout.toml"]
    assert sorted(line.split("; ")[0].split(" (got")[0] for line in found) == [
        "CLOSEOUT_SENDER_LISTEN: expected HOST:PORT, as in 127.0.0.1:20051",
        "CLOSEOUT_SENDER_SHARD_SIZE: Input should be greater than or equal to 1",
        "CLOSEOUT_SMTP_HOTS: unknown setting",
        (
            "settings file closeout.toml: [smtp] port: Input should be a valid integer,"
            " unable to parse string as an integer"
        ),
        "settings file closeout.toml: unknown table [lgo]",
        "unknown setting CLOSEOUT_ZZZ",
    ]


@pytest.mark.parametrize("model", [Settings, SENDER], ids=["status", "sender"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLOSEOUT_SMPT_HOST", "CLOSEOUT_SMTP_HOST"),
        ("CLOSEOUT_MAIL_HOST", "CLOSEOUT_SMTP_HOST"),
        ("CLOSEOUT_EMAIL_PASS", "CLOSEOUT_SMTP_PASSWORD"),
        ("CLOSEOUT_SEDNER_STATUS_ADDRESS", "CLOSEOUT_SENDER_STATUS_ADDRESS"),
        ("CLOSEOUT_HOST", "CLOSEOUT_SMTP_HOST"),
        ("CLOSEOUT_LISTEN", "CLOSEOUT_STATUS_LISTEN or CLOSEOUT_SENDER_LISTEN"),
    ],
)
def test_both_services_name_the_neighbour_of_an_unknown_table(
    name: str, meant: str, model: type[pydantic.BaseModel]
) -> None:
    """The settings of both services and of all channels are looked through."""
    names = suggested(name, model).removeprefix("did you mean ").removesuffix("?")
    assert sorted(names.split(" or ")) == sorted(meant.split(" or "))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLOSEOUT_SMTP_PROT", "CLOSEOUT_SMTP_PORT"),
        ("CLOSEOUT_SMTP_TLS", "CLOSEOUT_SMTP_SECURITY"),
        ("CLOSEOUT_SMTP_SSL", "CLOSEOUT_SMTP_SECURITY"),
        ("CLOSEOUT_SMTP_USER", "CLOSEOUT_SMTP_USERNAME"),
        ("CLOSEOUT_SMTP_PASS", "CLOSEOUT_SMTP_PASSWORD"),
        ("CLOSEOUT_SMTP_SERVER", "CLOSEOUT_SMTP_HOST"),
        ("CLOSEOUT_SMTP_LEVEL", "CLOSEOUT_LOG_LEVEL"),
        ("CLOSEOUT_WEBHOOK_TOKEN", "CLOSEOUT_WEBHOOK_AUTHORIZATION"),
        ("CLOSEOUT_SENDER_DATABASE", "CLOSEOUT_SENDER_DATABASE_URL"),
        ("CLOSEOUT_SENDER_PORT", "CLOSEOUT_SENDER_LISTEN"),
    ],
)
def test_a_usual_wrong_guess_names_the_setting_that_is_meant(name: str, meant: str) -> None:
    """What people call a setting elsewhere leads to its name here."""
    assert suggested(name) == f"did you mean {meant}?"


@pytest.mark.parametrize("name", ["CLOSEOUT_SMTP_FROM", "CLOSEOUT_FROM"])
def test_the_senders_address_is_found_in_the_campaign_file(name: str) -> None:
    """From is no setting; the message says where it is written."""
    assert suggested(name) == ("the sender's address is `from` in [content] of the campaign file")


@pytest.mark.parametrize(("table", "field"), KNOWN)
def test_a_slip_of_a_finger_names_its_setting(table: str, field: str) -> None:
    """Two letters swapped, a letter missing or doubled, in the table or the field."""
    whole = f"{table}_{field}"
    model = Settings if table == "status" else SENDER
    for place in range(1, len(whole) - 1, 2):
        if "_" in whole[place : place + 2]:
            continue
        for slip in (
            whole[:place] + whole[place + 1] + whole[place] + whole[place + 2 :],
            whole[:place] + whole[place + 1 :],
            whole[:place] + whole[place] + whole[place:],
        ):
            if slip == whole:
                continue
            name = f"CLOSEOUT_{slip}".upper()
            assert suggested(name, model) == f"did you mean CLOSEOUT_{whole.upper()}?", name


def test_no_value_that_may_be_a_secret_is_shown(tmp_path: Path) -> None:
    """A wrong type of a password, and a URL that is none: the text has not the secret."""
    (tmp_path / "closeout.toml").write_text("[smtp]\npassword = 4711\n")
    text = "\n".join(
        problems({"CLOSEOUT_SENDER_DATABASE_URL": "mysql://u:4711@h/d"})
        + problems({"CLOSEOUT_SENDER_DATABASE_URL": "u:4711@h"})
        + problems({"CLOSEOUT_SENDER_HEARTBEAT_SECONDS": "29"})
    )
    assert "[smtp] password: Input should be a valid string" in text
    assert "[sender]: lease_seconds must be at least 3 times heartbeat_seconds" in text
    assert "4711" not in text


@pytest.mark.parametrize("model", [Settings, SENDER])
def test_variables_of_clients_are_no_settings(model: type[pydantic.BaseModel]) -> None:
    """A service that finds them in its environment leaves them alone."""
    environment = dict.fromkeys(CLIENT_VARIABLES, "on")
    assert load(model, environment) == load(model, {})


def test_the_variables_of_clients_are_those_that_they_read() -> None:
    """The list that services have is that of the client."""
    read: list[str] = []

    class Noting(dict[str, str]):
        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            read.append(key)
            return default

    from_environment(Noting())
    assert sorted(read) == sorted(CLIENT_VARIABLES)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLOSEOUT_API_KY", "CLOSEOUT_API_KEY"),
        ("CLOSEOUT_APIKEY", "CLOSEOUT_API_KEY"),
        ("CLOSEOUT_API_KEYFILE", "CLOSEOUT_API_KEY_FILE"),
        ("CLOSEOUT_TLS_CA", "CLOSEOUT_TLS_CA_FILE"),
        ("CLOSEOUT_TLS_CERTIFICATE", "CLOSEOUT_TLS_CERTIFICATE_FILE"),
        ("CLOSEOUT_TSL", "CLOSEOUT_TLS"),
    ],
)
def test_a_typo_in_a_variable_of_clients_is_caught(name: str, meant: str) -> None:
    """As one in a setting: with the name that was probably meant, and without the value."""
    with pytest.raises(SettingsError) as caught:
        load(Settings, {name: "closeout_secret"})
    assert caught.value.problems == (f"unknown setting {name}; did you mean {meant}?",)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"tls_key_file": "k"}, "set both or none"),
        ({"tls_certificate_file": "c"}, "set both or none"),
        ({"tls_client_ca_file": "a"}, "needs tls_certificate_file and tls_key_file"),
    ],
)
def test_files_of_tls_belong_together(table: dict[str, str], says: str) -> None:
    """What TLS can't do with is known at the start."""
    for model, section in ((Settings, "STATUS"), (SENDER, "SENDER")):
        found = {f"CLOSEOUT_{section}_{name.upper()}": value for name, value in table.items()}
        with pytest.raises(SettingsError, match=says):
            load(model, found)


def test_the_key_of_the_sender_is_never_shown() -> None:
    """Neither by the repr of its settings nor by an error about it."""
    environment = {"CLOSEOUT_SENDER_STATUS_API_KEY": "closeout_secret"}
    loaded = load(SENDER, environment)
    assert "closeout_secret" not in f"{loaded!r} {loaded}"
    environment |= {"CLOSEOUT_SENDER_STATUS_TLS": "perhaps", "CLOSEOUT_SENDER_LISTEN": "x"}
    with pytest.raises(SettingsError) as caught:
        load(SENDER, environment)
    assert "closeout_secret" not in str(caught.value)


def test_whether_the_status_service_is_called_by_tls_can_be_left_open() -> None:
    """An empty variable says nothing; on and off are what they say."""
    for text, meant in (("", None), ("on", True), ("off", False)):
        loaded = load(SenderOnly, {"CLOSEOUT_SENDER_STATUS_TLS": text})
        assert loaded.sender.status_tls is meant
