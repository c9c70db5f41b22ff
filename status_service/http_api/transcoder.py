"""Routes of HTTP for the calls of servicers, made from rules."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, NoMatchFound

from service_runtime.access_interceptor import RECHECK_SECONDS, AccessCheck
from service_runtime.call_limits import CallLimits
from service_runtime.http_errors import error_response, not_allowed
from status_service.http_api.calls import Call, UnaryCall, message_of
from status_service.http_api.event_stream import EventStream, streaming
from status_service.http_api.paths import PathTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool
    from starlette.datastructures import URLPath
    from starlette.types import Receive, Scope, Send

    from service_runtime.access import Access
    from service_runtime.access_interceptor import Scopes
    from status_service.http_api.rules import Rule


def transcoded(
    rules: Iterable[Rule],
    servicers: Mapping[str, object],
    *,
    access: Access,
    scopes: Scopes,
    recheck_seconds: float = RECHECK_SECONDS,
    limits: CallLimits | None = None,
) -> list[BaseRoute]:
    """Return routes for all rules of the services in ``servicers``.

    Args:
        rules: see :mod:`.rules`.
        servicers: those of gRPC, by full name of the service.
        access: knows callers.
        scopes: what each method needs.
        recheck_seconds: how often a stream asks whether its caller is still one.
        limits: what callers may have at once; None: limits of its own.

    Raises:
        ValueError: a rule can't be served: a defect.
    """
    limits = limits or CallLimits()
    check = AccessCheck(access, scopes, recheck_seconds=recheck_seconds, limits=limits)
    calls: dict[str, dict[str, Call]] = {}
    for rule in rules:
        if rule.service in servicers:
            call = _call(rule, servicers[rule.service], check, limits)
            if calls.setdefault(rule.path, {}).setdefault(rule.method, call) is not call:
                raise ValueError(f"two rules have {rule.method} {rule.path}")
    return [TranscodedRoute(PathTemplate(path), by_method) for path, by_method in calls.items()]


def method_of(rule: Rule, pool: DescriptorPool | None = None) -> MethodDescriptor:
    """Return the method that a rule names.

    Args:
        rule: the rule.
        pool: has the contract; None: the generated code that is imported.

    Raises:
        ValueError: there is none, it reads a stream, or the path names no text of it.
    """
    try:
        known = pool or descriptor_pool.Default()
        method = known.FindServiceByName(rule.service).methods_by_name[rule.call]
    except KeyError as error:
        raise ValueError(f"{rule.service} has no {rule.call}") from error
    if method.client_streaming:
        raise ValueError(f"{rule.full_method} reads a stream, which HTTP has not")
    for name in PathTemplate(rule.path).variables:
        field = method.input_type.fields_by_name.get(name)
        if field is None or field.type != field.TYPE_STRING or field.is_repeated:
            raise ValueError(f"{rule.path}: {name} is no text of {method.input_type.name}")
    return method


def _call(rule: Rule, servicer: object, check: AccessCheck, limits: CallLimits) -> Call:
    method = method_of(rule)
    answer = getattr(servicer, rule.call)
    lasting = method.server_streaming
    behaviour = streaming(answer) if lasting else _unary(answer)
    guarded = check.guard(behaviour, rule.full_method, lasting=lasting)
    return Call(rule, method.input_type, guarded, limits)


def _unary(answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def answered(taken: Any, context: Any) -> Any:
        with ExitStack() as held:
            return await answer(await message_of(*taken, held=held), context)

    return answered


class TranscodedRoute(BaseRoute):
    """All that rules have for one path.

    Args:
        template: of the path.
        calls: by method of HTTP.
    """

    def __init__(self, template: PathTemplate, calls: Mapping[str, Call]) -> None:
        self._template = template
        #: As Starlette calls the template of a route.
        self.path = template.template
        self.calls = dict(calls)
        if "GET" in self.calls:
            self.calls["HEAD"] = self.calls["GET"]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request is for this path, and with one of its methods."""
        if scope["type"] != "http":
            return Match.NONE, {}
        raw_path = scope.get("raw_path", b"").decode("latin-1")
        variables = self._template.match(raw_path)
        if variables is None:
            return Match.NONE, {}
        known = scope["method"] in self.calls
        return (Match.FULL if known else Match.PARTIAL), {"path_params": variables}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Refuse: routes of the contract have no names.

        Raises:
            NoMatchFound: always.
        """
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matches."""
        request = Request(scope, receive)
        call = self.calls.get(request.method)
        if call is None:
            refused = not_allowed(request.method, ", ".join(sorted(self.calls)))
            await error_response(refused)(scope, receive, send)
            return
        lasting = method_of(call.rule).server_streaming
        answer = (EventStream if lasting else UnaryCall)(call, request.path_params)
        await answer(request, scope, receive, send)
