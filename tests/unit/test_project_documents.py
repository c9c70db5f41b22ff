"""The documents list what the code has: every error, setting, event and invariant."""

from __future__ import annotations

import base64
import enum
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pydantic
import pytest

import sender_service.errors
import sender_service.settings
import status_service.errors
import status_service.settings
from closeout.status.v1.error_reason_pb2 import ErrorReason
from sender_service.channels.contract import ENTRY_POINT_GROUP
from sender_service.channels.webhook.channel import WebhookChannel, WebhookSettings
from service_runtime import errors, grpc_requests, http_errors
from service_runtime.settings import PREFIX

DOCS = Path(__file__).resolve().parents[2] / "docs"
REASONS = sorted(set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"})
TABLES: dict[str, type[pydantic.BaseModel]] = {
    "status": status_service.settings.StatusSettings,
    "sender": sender_service.settings.SenderSettings,
    "log": status_service.settings.LogSettings,
    **{
        channel.name: channel.load().settings_model
        for channel in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    },
}
SETTINGS = [(table, name) for table, model in TABLES.items() for name in model.model_fields]


def rows(document: str, columns: int) -> list[list[str]]:
    """Return the rows of all tables of a document that have ``columns`` columns."""
    lines = (DOCS / document).read_text().splitlines()
    table = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in table if len(row) == columns]


def errors_of(kind: type[errors.ServiceError]) -> set[type[errors.ServiceError]]:
    """Return ``kind`` and all classes derived from it."""
    return {kind}.union(*(errors_of(derived) for derived in kind.__subclasses__()))


def code_of(reason: str) -> str:
    """Return the code of a reason in docs/errors.md."""
    (code,) = (row[1] for row in rows("errors.md", 4) if row[0] == f"`{reason}`")
    return code


def written(value: Any) -> str:
    """Return a default in the notation of docs/settings.md."""
    if isinstance(value, pydantic.SecretStr):
        return "empty"
    if isinstance(value, enum.Enum):
        return f"`{value.value}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, int):
        return f"`{value}`"
    return f"`{value}`" if value else "empty"


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_its_line(reason: str) -> None:
    """Every reason is documented with its code, its cause and what to do."""
    assert [all(row) for row in rows("errors.md", 4) if row[0] == f"`{reason}`"] == [True]


def test_the_table_of_errors_lists_nothing_else() -> None:
    """The document has no removed reason."""
    listed = [row[0].strip("`") for row in rows("errors.md", 4)[2:]]
    assert sorted(listed) == REASONS


@pytest.mark.parametrize(
    "error", sorted(errors_of(errors.ServiceError), key=lambda kind: (kind.reason, str(kind)))
)
def test_every_error_has_a_known_reason_and_its_documented_code(
    error: type[errors.ServiceError],
) -> None:
    """Every error has a reason of the contract, and the documented code."""
    assert code_of(error.reason) == f"`{error.code.name}`"


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_raised_by_a_service(reason: str) -> None:
    """Every reason of the contract has an error class."""
    elsewhere = {
        grpc_requests.MethodNotFoundError,
        http_errors.PathNotFoundError,
        http_errors.TooManyConnectionsError,
    }
    raised = {error.reason for error in errors_of(errors.ServiceError) | elsewhere}
    assert reason in raised


@pytest.mark.parametrize(("table", "name"), SETTINGS)
def test_every_setting_has_its_line(table: str, name: str) -> None:
    """Every setting is documented with its variable and its default."""
    field = TABLES[table].model_fields[name]
    lines = [row for row in rows("settings.md", 4) if row[1] == f"`{PREFIX}{table}_{name}`".upper()]
    assert [(row[0], row[2], bool(row[3])) for row in lines] == [
        (f"`{name}`", written(field.get_default(call_default_factory=True)), True)
    ]


def test_the_tables_of_settings_list_nothing_else() -> None:
    """The document has no removed setting."""
    listed = {
        row[1].strip("`") for row in rows("settings.md", 4) if row[1].startswith(f"`{PREFIX}")
    }
    assert listed == {f"{PREFIX}{table}_{name}".upper() for table, name in SETTINGS}


@pytest.mark.parametrize("secret", ["plain", "whsec_" + base64.b64encode(b"behind it").decode()])
def test_the_check_of_signatures_shown_takes_our_requests(secret: str) -> None:
    """The code of docs/webhook.md accepts signed requests, and nothing else."""
    (source,) = re.findall(r"```python\n(.+?)```", (DOCS / "webhook.md").read_text(), re.DOTALL)
    code: dict[str, Any] = {}
    exec(source, code)  # noqa: S102 - our own document
    channel = WebhookChannel(
        WebhookSettings(url="https://example.com/", secret=pydantic.SecretStr(secret))
    )
    key = b"behind it" if secret.startswith("whsec_") else b"plain"
    headers = channel._headers(b"{}", "0" * 32)
    assert code["is_genuine"](headers, b"{}", key)
    assert not code["is_genuine"](headers, b'{"a":1}', key)
    assert not code["is_genuine"](headers, b"{}", b"another")
    assert not code["is_genuine"](headers, b"{}", key, tolerance_seconds=-1)


def test_the_log_lines_listed_for_operators_exist() -> None:
    """Every event of docs/operations.md is logged by a service."""
    sources = "".join(
        path.read_text()
        for package in ("service_runtime", "status_service", "sender_service")
        for path in (DOCS.parent / package).rglob("*.py")
    )
    levels = {"info", "warning", "error"}
    listed = [row[0] for row in rows("operations.md", 3) if row[1] in levels]
    events = [event for cell in listed for event in re.findall(r"`([a-z_]+)`", cell)]
    assert events
    assert [event for event in events if f'"{event}"' not in sources] == []


def test_each_invariant_is_named_by_the_tests_that_show_it() -> None:
    """Every invariant of docs/reliability.md names tests that name the invariant."""
    named = {row[0]: row[2] for row in rows("reliability.md", 3) if re.match(r"[SLB]\d", row[0])}
    liveness = (f"L{n}" for n in range(1, 8))
    assert list(named) == [*(f"S{n}" for n in range(1, 19)), *liveness, "B1", "B2", "B3"]
    for invariant, links in named.items():
        for target in re.findall(r"\]\((.+?)\)", links):
            source = (DOCS / target).read_text()
            assert re.search(rf"(?i)(\b|_){invariant}(\b|_)", source), f"{invariant}: {target}"
