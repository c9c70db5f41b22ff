"""Settings: their sources, their precedence, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from service_runtime import settings
from service_runtime.errors import StartupError
from service_runtime.settings import Section, load
from status_service.settings import Settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's closeout.toml does not affect the tests."""
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    """Without environment and file a service has its defaults."""
    assert load(Settings, {}) == Settings()
    assert load(Settings, {}).status.listen == "127.0.0.1:50051"


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
        ("[statsu]\nlisten = 1\n", "unknown table [statsu]; did you mean status?"),
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
