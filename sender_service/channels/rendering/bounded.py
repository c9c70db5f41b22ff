"""A campaign's content, compiled and rendered within limits of time and memory.

What is light, as nearly everything is, is done in this process: content that is short, or
took a rendering process a moment to compile, by templates with the light budget. All else
is done by a rendering process, and no message of another campaign waits for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from sender_service.channels.contract import content_to_json
from sender_service.channels.errors import ChannelError, bare
from sender_service.channels.rendering import limits, threads
from sender_service.channels.rendering.content import content_variables
from sender_service.channels.rendering.field_check import UnknownVariable, unknown_variables
from sender_service.channels.rendering.limits import OverBudgetError
from sender_service.channels.rendering.worker_process import WorkerUnavailableError, value_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from sender_service.channels.contract import Channel, Content, Message, Template
    from sender_service.channels.rendering.workers import TemplateWorkers

#: Content of so many bytes, as it is stored, with so many outputs and tags, is compiled
#: here at once.
_LIGHT_BYTES = 16 * 1024
_LIGHT_MARKUPS = 300
#: Other content is compiled here if a rendering process took no longer for it, seconds.
_LIGHT_COMPILE_SECONDS = 0.1
#: So many unknown variables are named at most.
_NAMED = 20


class ReadyTemplate:
    """One message, rendered elsewhere, in the place of its template.

    Args:
        made: what the template made of the message, or the error.
        sender: as that of the template.
    """

    def __init__(self, made: object, *, sender: str) -> None:
        self._made = made
        self.sender = sender

    def render(self, message: Message, *args: object) -> Any:  # noqa: ARG002 - as the template
        """Return what was made of the message.

        Raises:
            ChannelError: that the template raised.
        """
        if isinstance(self._made, ChannelError):
            raise self._made
        return self._made


class BoundedTemplate:
    """A content that is rendered in this process, or in one of its own.

    Args:
        workers: the rendering processes.
        maker: what makes the template of a content, as ``module:function``.
        content: as it is stored.
        light: the template for this process; None: there is none, or it is not needed.
        sender: as that of the template.
    """

    def __init__(
        self,
        workers: TemplateWorkers,
        maker: str,
        content: bytes,
        light: Template | None,
        *,
        sender: str = "",
    ) -> None:
        self._workers = workers
        self._maker = maker
        self._content = content
        #: The template with the light budget; None once it has met its limits.
        self.light = light
        self._sender = getattr(light, "sender", sender)
        # The jobs of one campaign come one after the other, so that others have a turn.
        self._turn = asyncio.Lock()

    async def ready(self, message: Message) -> ReadyTemplate:
        """Render a message, beside the event loop; what a template raises is kept for later.

        Raises:
            WorkerUnavailableError: no process can do it now.
        """
        try:
            made = await self._do("prepared", message)
        except WorkerUnavailableError:
            raise
        except ChannelError as error:
            made = bare(error)
        return ReadyTemplate(made, sender=self._sender)

    async def preview(self, message: Message) -> str:
        """Return what a recipient would get, readable.

        Raises:
            TemplateError: it can't be rendered, or goes beyond a limit.
            WorkerUnavailableError: no process can do it now.
        """
        preview: str = await self._do("preview", message)
        return preview

    async def _do(self, what: str, message: Message) -> Any:
        if self.light is not None:
            try:
                return await threads.run(getattr(self.light, what), message)
            except OverBudgetError:
                self.light = None
        async with self._turn:
            return await self._do_elsewhere(what, message)

    async def _do_elsewhere(self, what: str, message: Message) -> Any:
        header = rendering_request(what, self._maker, message)
        return value_of(await self._workers.call(header, self._content))


def rendering_request(what: str, maker: str, message: Message) -> dict[str, Any]:
    """Return the request that a method of a template renders a message."""
    values = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    values["fields"] = dict(message.fields)
    return {"op": what, "maker": maker, "message": values}


async def compiled(
    workers: TemplateWorkers, channel: Channel, content: Content
) -> BoundedTemplate | Template:
    """Compile a content for its channel, in a process of its own unless it is short.

    A channel without ``template_maker`` compiles in a thread, and renders without one.

    Raises:
        ChannelError: the channel can't use the content.
        WorkerUnavailableError: no process can do it now.
    """
    maker: str = getattr(channel, "template_maker", "")
    if not maker:
        return await threads.run(channel.compile, content)
    stored = content_to_json(content).encode()
    if not is_short(stored):
        header, _ = await workers.call({"op": "compile", "maker": maker}, stored)
        if header["seconds"] > _LIGHT_COMPILE_SECONDS:
            return BoundedTemplate(workers, maker, stored, None, sender=header["sender"])
    light = await threads.run(_compile_light, channel, content)
    return BoundedTemplate(workers, maker, stored, light)


async def unknown(
    workers: TemplateWorkers, content: Content, fields: Collection[str]
) -> tuple[list[UnknownVariable], int]:
    """Return the first variables that are no field of the recipients, and how many there are.

    Raises:
        TemplateError: a template is broken, or goes beyond a limit.
        WorkerUnavailableError: no process can do it now.
    """
    stored = content_to_json(content).encode()
    if is_short(stored):
        found = await threads.run(lambda: unknown_variables(content_variables(content), fields))
        return list(found[:_NAMED]), len(found)
    request = {"op": "unknown", "fields": list(fields), "most": _NAMED}
    header, body = await workers.call(request, stored)
    return [UnknownVariable(*one) for one in json.loads(body)], header["count"]


def is_short(stored: bytes) -> bool:
    """Return whether content, as it is stored, is so short that it is compiled at once."""
    markups = stored.count(b"{{") + stored.count(b"{%")
    return len(stored) <= _LIGHT_BYTES and markups <= _LIGHT_MARKUPS


def _compile_light(channel: Channel, content: Content) -> Template:
    with limits.light():
        return channel.compile(content)
