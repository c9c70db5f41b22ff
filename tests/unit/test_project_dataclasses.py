"""What a dataclass of a service promises: it has no unknown attributes, and a value stays."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cached_property
from typing import Any

import pytest

SERVICES = ("status_service", "sender_service")
#: Those that change in place. All others are values: tasks and threads share them.
CHANGING = {
    *("ManualCompletion", "Origin", "FrameReceipt", "Recorded", "_Campaign", "_Kept"),
    *("DeliveryPlan", "_Answer", "Handover", "Progress", "_Progress", "Batch", "Tally"),
    *("Place", "Silence", "SharedProvider", "_Trouble", "RelayedShard", "RelayedCampaign"),
}
#: Those that take any attribute: there is one for each call, or for each page.
OPEN = {"ManualCompletion", "Board", "Visit", "_Asked", "_Kept"}


def dataclasses_of(service: str) -> Iterator[type[Any]]:
    """Yield the dataclasses of a service; migrations and entry points have none."""
    package = importlib.import_module(service)
    for module in pkgutil.walk_packages(package.__path__, f"{service}."):
        if ".migrations" in module.name or module.name.endswith("__main__"):
            continue
        for _, each in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if is_dataclass(each) and each.__module__ == module.name:
                yield each


def can_be_slotted(kind: type[Any]) -> bool:
    """Return whether nothing in a class needs attributes that it does not declare."""
    return not any(isinstance(each, cached_property) for each in vars(kind).values())


@pytest.mark.parametrize("service", SERVICES)
def test_a_value_stays_as_it_was_made(service: str) -> None:
    """Nobody who was given a value sees it change under another one's hands."""
    found = list(dataclasses_of(service))
    changing = [each.__name__ for each in found if not each.__dataclass_params__.frozen]
    # As often as by their names: two classes of one name are two.
    assert sorted(changing) == sorted(CHANGING & {each.__name__ for each in found})


@pytest.mark.parametrize("service", SERVICES)
def test_a_dataclass_takes_no_attribute_that_it_does_not_declare(service: str) -> None:
    """One that is misspelled raises AttributeError; it is not set beside the right one."""
    slotted = {each for each in dataclasses_of(service) if "__slots__" in vars(each)}
    without = {each for each in dataclasses_of(service) if can_be_slotted(each)} - slotted
    assert {each.__name__ for each in without} <= OPEN
    assert slotted
