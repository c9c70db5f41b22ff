"""The channels of this process: found by entry point, built once, shared by campaigns."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
from typing import TYPE_CHECKING

import structlog

from sender_service.channels.contract import ENTRY_POINT_GROUP
from sender_service.channels.errors import ChannelNotConfiguredError
from sender_service.channels.rendering.workers import TemplateWorkers
from sender_service.errors import ChannelNotFoundError, ChannelUnconfiguredError
from service_runtime.errors import StartupError
from service_runtime.sampled_log import SampledLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sender_service.channels.contract import Channel
    from sender_service.settings import Settings
    from service_runtime.settings import Section

log = structlog.get_logger()

#: What a channel must have; a sender that finds out later would hold up its campaigns.
_CONTRACT = (
    "at_least_once",
    "max_in_flight",
    "retry",
    "from_settings",
    "settings_model",
    "check_address",
    "compile",
    "send",
    "check",
    "close",
)
_ARGUMENTS = {"send": ("self", "template", "message", "handover"), "check": ("self", "handover")}

#: Names that are tables of settings already.
_RESERVED = frozenset({"sender", "status", "log"})


def installed_channels() -> dict[str, type[Channel]]:
    """Return the channel classes of all installed packages, by name.

    Raises:
        StartupError: one can't be imported, or its name is taken.
    """
    channels: dict[str, type[Channel]] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        name = entry_point.name
        try:
            channel = entry_point.load()
        except (ImportError, AttributeError) as error:
            raise StartupError(
                f"channel {name} ({entry_point.value}) can't be loaded: {error}"
            ) from error
        missing = _missing(channel)
        if missing:
            raise StartupError(
                f"channel {name} ({entry_point.value}) has no {', '.join(missing)}: it was made"
                " for another version; install one that fits, or remove its package"
            )
        if name in _RESERVED or channels.get(name, channel) is not channel:
            raise StartupError(f"channel {name} ({entry_point.value}): the name is taken")
        channels[name] = channel
    return channels


def _missing(channel: object) -> list[str]:
    """Return what a class lacks of the contract, as far as can be seen before it is built."""
    missing = [name for name in _CONTRACT if not hasattr(channel, name)]
    for name, arguments in _ARGUMENTS.items():
        if name not in missing and not _takes(getattr(channel, name), arguments):
            missing.append(f"{name} with {arguments[-1]}")
    return missing


def _takes(method: Callable[..., object], arguments: tuple[str, ...]) -> bool:
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        return False
    return True


def channel_problems(
    channels: Mapping[str, type[Channel]], sections: Mapping[str, Section]
) -> list[str]:
    """Return why channels can't be used for which settings are made; connects nothing.

    Args:
        channels: the classes, by name.
        sections: the tables of settings that are right, by name.
    """
    problems = []
    for name, channel in channels.items():
        table = sections.get(name)
        if table is None or not table.model_fields_set:
            continue  # wrong, or not in use
        try:
            channel.from_settings(table)
        except ChannelNotConfiguredError as error:
            problems.append(f"[{name}] {error}")
    return problems


class ChannelRegistry:
    """One instance of every channel, its limit of calls at once, and the log of its defects.

    Args:
        channels: the classes, by name.
        settings: has a table for each.

    Attributes:
        callers_workers: the process that renders what callers try out.
        campaigns_workers: those that render messages of campaigns.
    """

    def __init__(self, channels: Mapping[str, type[Channel]], settings: Settings) -> None:
        # Apart, so that neither waits for the templates of the other.
        self.callers_workers = TemplateWorkers(1)
        self.campaigns_workers = TemplateWorkers(2)
        self._channels: dict[str, Channel] = {}
        self._unconfigured: dict[str, str] = {}
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._defects: dict[str, SampledLog] = {}
        for name, channel in channels.items():
            try:
                built = channel.from_settings(settings.of_channel(channel))
            except ChannelNotConfiguredError as error:
                self._unconfigured[name] = str(error)
                continue
            self._channels[name] = built
            self._limits[name] = asyncio.Semaphore(built.concurrency)
            self._defects[name] = SampledLog("channel_failed")

    def get(self, name: str) -> Channel:
        """Return the channel.

        Raises:
            ChannelNotFoundError: none of this name is installed.
            ChannelUnconfiguredError: it lacks a setting.
        """
        if name in self._channels:
            return self._channels[name]
        if name in self._unconfigured:
            raise ChannelUnconfiguredError(name, self._unconfigured[name])
        raise ChannelNotFoundError(name, installed=[*self._channels, *self._unconfigured])

    @property
    def configured(self) -> tuple[str, ...]:
        """The names of the channels that can be used, in order."""
        return tuple(sorted(self._channels))

    def limit(self, name: str) -> asyncio.Semaphore:
        """Return what bounds the calls of a channel at once, over all campaigns."""
        return self._limits[name]

    def defects(self, name: str) -> SampledLog:
        """Return what logs the defects of a channel, over all campaigns."""
        return self._defects[name]

    async def close(self, seconds: float) -> None:
        """End the rendering processes, and close every channel.

        What takes longer than ``seconds``, all together, is left.
        """
        await self.callers_workers.close()
        await self.campaigns_workers.close()
        try:
            async with asyncio.timeout(seconds):
                for channel in self._channels.values():
                    await channel.close()
        except TimeoutError:
            log.warning(
                "channels_not_closed",
                seconds=seconds,
                action="the process ends without it; see why the provider hangs",
            )
