"""What docs/content.md says about templates is what they do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sender_service.api import contents, trial_requests
from sender_service.campaigns import audience, trial
from sender_service.channels.errors import TemplateError
from sender_service.channels.rendering import templates
from sender_service.channels.rendering.field_check import ALWAYS
from sender_service.channels.rendering.templates import LiquidTemplate

TEXT = (Path(__file__).parents[2] / "docs" / "content.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Return what stands below a heading."""
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading: str) -> dict[str, list[str]]:
    """Return the cells of the table of a section, by the first of each row."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first: others for first, *others in cells}


def test_the_filters_are_those_of_the_document() -> None:
    """Every filter is listed, and no other."""
    listed = re.findall(r"`(\w+)`", section("Filters").split("\n\n")[0])
    assert listed == sorted(templates._PLAIN.filters)


def test_the_variables_that_are_always_there_are_listed() -> None:
    """The table names exactly those."""
    assert list(rows("Variables")) == [f"`{name}`" for name in ALWAYS]


@pytest.mark.parametrize("written", rows("Empty values"))
def test_an_empty_value_does_what_the_document_says(written: str) -> None:
    """Each row of the table is what the template does with each kind of empty value."""
    source = written.strip("`").replace("\\|", "|")
    if source.startswith("{%"):
        source = f"{source}true{{% else %}}false{{% endif %}}"
    template = LiquidTemplate("text", source)
    shown = {"x": "default", "  ": "the spaces"}
    values = ({}, {"name": ""}, {"name": "  "})
    rendered = [template.render(value) for value in values]
    assert [shown.get(text, text) for text in rendered] == rows("Empty values")[written]
    assert template.render({"name": None}) == rendered[0]


def test_the_limits_are_those_of_the_document() -> None:
    """The figures of the table are those of the code."""
    limits = {name: value for name, (value,) in rows("Limits").items()}
    mebibyte = 1024 * 1024
    assert limits["all content of a campaign"] == f"{contents.MAX_CONTENT_BYTES // 1024} KiB"
    assert limits["output of a template"] == f"{templates.OUTPUT_LIMIT_BYTES // mebibyte} MiB"
    assert limits["turns of a loop, inner loops multiplied"] == f"{templates.LOOP_LIMIT:,}"
    assert mebibyte == templates.VARIABLES_LIMIT_BYTES
    assert limits["fields of one recipient, as JSON"] == f"{audience.MAX_FIELDS_BYTES // 1024} KiB"
    assert limits["names in `recipient_fields`"] == f"{contents.MAX_RECIPIENT_FIELDS:,}"
    assert trial.SLOW_SECONDS == 1.0
    assert f"1 to {trial_requests.MAX_RECIPIENTS} addresses" in TEXT
    blocks = int(limits["blocks within blocks"])
    LiquidTemplate("text", "{% if a %}" * blocks + "{% endif %}" * blocks)
    with pytest.raises(TemplateError, match="nesting"):
        LiquidTemplate("text", "{% if a %}" * (blocks + 1) + "{% endif %}" * (blocks + 1))
