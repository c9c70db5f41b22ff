"""The OpenAPI document of the status service: from the rules, the contract and its comments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pool import DescriptorPool

from openapi_schemas import Schemas, comments_of, first_sentence
from service_runtime.caller import Scope
from status_service.access.scopes import SCOPES
from status_service.http_api.conditions import REVISION, answers_campaign
from status_service.http_api.paths import PathTemplate
from status_service.http_api.query import SECRETS
from status_service.http_api.rules import packaged_rules
from status_service.http_api.transcoder import method_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from status_service.http_api.rules import Rule

_INFO = {
    "title": "Closeout status service",
    "version": "v1",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "description": (
        "Owns the state of campaigns: create, start, report results, read, watch, repair."
        " The calls are those of gRPC, with the same checks, errors, keys and limits.\n\n"
        "Numbers of 64 bits (format int64) are texts, since many programs read numbers of JSON"
        " with 53 bits only; numbers are taken as well. Enums are open: keep a value that you"
        " do not know. Requests may name fields as the contract does (campaign_id) or in"
        " lowerCamelCase (campaignId), as answers do. An unknown field or query parameter is"
        " refused. A body is JSON of at most 4 MiB. HEAD is answered where GET is."
    ),
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key, as in `Bearer closeout_…`. Not needed while no key was ever made.",
}
_DETAIL = {
    "type": "object",
    "description": (
        "ErrorInfo (reason, domain, metadata), BadRequest (fieldViolations) or RetryInfo"
        " (retryDelay)."
    ),
    "properties": {
        "@type": {
            "type": "string",
            "examples": ["type.googleapis.com/google.rpc.ErrorInfo"],
        },
        "reason": {"type": "string", "description": "What programs compare; see docs/errors.md."},
        "domain": {"type": "string", "const": "closeout"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "fieldViolations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "description": {"type": "string"},
                },
            },
        },
        "retryDelay": {"type": "string"},
    },
    "required": ["@type"],
}
_STATUS = {
    "type": "object",
    "description": "google.rpc.Status: why a call failed.",
    "properties": {
        "code": {"type": "integer", "description": "The canonical code of gRPC."},
        "message": {"type": "string", "description": "What is wrong and what to do, for people."},
        "details": {"type": "array", "items": _DETAIL},
    },
    "required": ["code", "message", "details"],
}
_ERROR = {
    "description": "The call failed; every status of 400 and above has this form.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}}},
}
_ETAG = {"description": "The revision of the campaign.", "schema": {"type": "string"}}


def document(files: FileDescriptorSet) -> str:
    """Return the document as JSON.

    Args:
        files: the contract with its source information.
    """
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    rules = packaged_rules()
    methods = {rule: method_of(rule, pool) for rule in rules}
    comments = comments_of(files)
    sent = {
        name
        for rule, method in methods.items()
        if rule.has_body
        for name in _within(method.input_type)
    }
    schemas = Schemas(comments, sent)
    paths: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for rule, method in methods.items():
        name = f"{rule.service.rpartition('.')[2]}_{rule.call}"
        name = f"{name}_{rule.method.lower()}" if name in taken else name
        taken.add(name)
        operation = {"operationId": name, **_operation(rule, method, schemas, comments)}
        paths.setdefault(_path(rule, method), {})[rule.method.lower()] = operation
    services = dict.fromkeys(rule.service for rule in rules)
    described = {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "tags": [
            {"name": name.rpartition(".")[2], "description": comments[name]} for name in services
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": _BEARER},
            "responses": {"Error": _ERROR},
            "schemas": {**dict(sorted(schemas.found.items())), "Status": _STATUS},
        },
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _within(message: Descriptor) -> Iterator[str]:
    """Yield the names of a message and of all messages in its fields."""
    yield message.full_name
    for field in message.fields:
        if field.message_type is not None:
            yield from _within(field.message_type)


def _path(rule: Rule, method: MethodDescriptor) -> str:
    path = rule.path
    for field in _path_fields(rule, method):
        path = path.replace(f"{{{field.name}}}", f"{{{field.json_name}}}")
    return path


def _path_fields(rule: Rule, method: MethodDescriptor) -> list[FieldDescriptor]:
    names = PathTemplate(rule.path).variables
    return [method.input_type.fields_by_name[name] for name in names]


def _operation(
    rule: Rule, method: MethodDescriptor, schemas: Schemas, comments: dict[str, str]
) -> dict[str, Any]:
    comment = comments[method.full_name]
    scope = SCOPES[rule.full_method]
    # What is no scope is open, or depends on the request; the comment says so.
    needs = f"\n\nNeeds a key with scope `{scope}`." if isinstance(scope, Scope) else ""
    in_path = _path_fields(rule, method)
    parameters = [
        {"name": field.json_name, "in": "path", "required": True, "schema": schemas.of_field(field)}
        for field in in_path
    ]
    if not rule.has_body:
        names = {field.name for field in in_path}
        fields = [field for field in method.input_type.fields if field.name not in names]
        parameters += _query(fields, schemas)
    operation = {
        "tags": [rule.service.rpartition(".")[2]],
        "summary": first_sentence(comment),
        "description": comment + needs,
        "parameters": [*parameters, *_headers(rule, method)],
        "responses": _responses(rule, method, schemas),
    }
    if rule.has_body:
        body = schemas.reference(method.input_type, without=PathTemplate(rule.path).variables)
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def _query(fields: Iterable[FieldDescriptor], schemas: Schemas) -> Iterator[dict[str, Any]]:
    """Yield the parameters of a request without body."""
    for field in fields:
        if field.name in SECRETS:
            continue
        schema = schemas.of_field(field)
        parameter: dict[str, Any] = {"name": field.json_name, "in": "query", "schema": schema}
        if schema.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        yield parameter


def _headers(rule: Rule, method: MethodDescriptor) -> Iterator[dict[str, Any]]:
    """Yield the headers that make a call conditional, or go on with a stream."""
    if rule.has_body:
        if REVISION in method.input_type.fields_by_name:
            text = 'The ETag that the campaign must have, as in `"12"`; otherwise 412.'
            yield _header("If-Match", text)
    elif method.server_streaming:
        yield _header("Last-Event-ID", "The id of the last event that was read.")
    elif answers_campaign(method.output_type):
        yield _header("If-None-Match", "An ETag that is known; 304 if it is the present one.")


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"},
    }


def _responses(rule: Rule, method: MethodDescriptor, schemas: Schemas) -> dict[str, Any]:
    answer = schemas.reference(method.output_type)
    error = {"default": {"$ref": "#/components/responses/Error"}}
    if method.server_streaming:
        text = (
            "Events: `id` is the revision, `data` the answer in JSON on one line. A comment is"
            " sent every 15 s. The stream ends after the last change, or with an event `error`"
            " whose data is a Status."
        )
        events = {"text/event-stream": {"schema": {"type": "string"}}}
        done = {"description": "The event of Last-Event-ID was the last one."}
        return {"200": {"description": text, "content": events}, "204": done, **error}
    success: dict[str, Any] = {
        "description": "OK",
        "content": {"application/json": {"schema": answer}},
    }
    if not answers_campaign(method.output_type):
        return {"200": success, **error}
    success["headers"] = {"ETag": _ETAG}
    unchanged = {} if rule.has_body else {"304": {"description": "The ETag is known."}}
    return {"200": success, **unchanged, **error}
