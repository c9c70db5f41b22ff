"""The rules of google.api.Http: which method and path make which call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = "status.http.yaml"
#: Beside this module in an installation, beside the contract in a clone.
_PACKAGED = Path(__file__).with_name(_NAME)
_CLONED = Path(__file__).parents[2] / "protos" / "closeout" / "status" / "v1" / _NAME
_METHODS = ("get", "put", "post", "delete", "patch")
_KNOWN = {*_METHODS, "selector", "body", "additional_bindings"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to make a call.

    Attributes:
        service: full name of its service.
        call: its name there.
        method: of HTTP, in capitals.
        path: the template, as in ``/v1/campaigns/{campaign_id}:start``.
        has_body: whether the body is the request, but for what the path has; else the
            query has it.
    """

    service: str
    call: str
    method: str
    path: str
    has_body: bool

    @property
    def full_method(self) -> str:
        """The name that gRPC has for the call."""
        return f"/{self.service}/{self.call}"


@cache
def packaged_rules() -> tuple[Rule, ...]:
    """Return the rules of the status service.

    Raises:
        ValueError: the file has something that this module can't serve.
    """
    place = _PACKAGED if _PACKAGED.exists() else _CLONED
    return tuple(read_rules(place.read_text(encoding="utf-8")))


def read_rules(text: str) -> list[Rule]:
    """Return the rules of a gRPC API configuration, additional bindings behind their rule.

    Raises:
        ValueError: it has something that this module can't serve; the text says what.
    """
    document = yaml.safe_load(text)
    if document.get("type") != "google.api.Service" or document.get("config_version") != 3:  # noqa: PLR2004
        raise ValueError("expected type google.api.Service with config_version 3")
    return [
        _rule(written["selector"], binding)
        for written in document["http"]["rules"]
        for binding in _bindings(written)
    ]


def _bindings(written: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield written
    yield from written.get("additional_bindings", ())


def _rule(selector: str, binding: Mapping[str, Any]) -> Rule:
    methods = [method for method in _METHODS if method in binding]
    body = binding.get("body", "")
    if len(methods) != 1 or body not in {"", "*"} or set(binding) - _KNOWN:
        raise ValueError(f"{selector}: a rule has one of {', '.join(_METHODS)}, and no body or '*'")
    service, _, call = selector.rpartition(".")
    (method,) = methods
    return Rule(service, call, method.upper(), binding[method], body == "*")
