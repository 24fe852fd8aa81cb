"""The OpenAPI 3.1 document, made from the route table and the very types that the routes decode and encode."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from strait_core import wire
from strait_core.errors import (
    AuthError,
    DeadlineError,
    ForbiddenError,
    GoneError,
    HeadTooLargeError,
    RateLimitedError,
    StraitError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaError,
    ValidationError,
)
from strait_core.schemas import refine
from strait_daemon.api.operation import Operation
from strait_daemon.api.problems import INTERNAL, STATUSES

OPENAPI: Final = "3.1.1"
_REF: Final = "#/components/schemas/{name}"
_TAGS: Final = {
    "jobs": "What can be run: an endpoint, its policy, its limits.",
    "runs": "Executions of jobs.",
    "budgets": "What projects may spend in a day.",
    "sdk": "What the endpoint of a run may say and ask while its attempt goes on; by the run token.",
    "workflows": "Steps that depend on one another: jobs, approvals, events, sleeps, workflows inside.",
    "manifests": "Many definitions of a project at once, all or nothing.",
    "schedules": "When jobs run by themselves, and what every tick came to.",
    "ops": "How the server itself is.",
}
_PATH_PARAMETERS: Final = {
    "job": "The job: its id or its slug.",
    "run": "The run's id.",
    "workflow": "The workflow: its id or its slug.",
    "version": "The version's number.",
    "a": "The number of the version before.",
    "b": "The number of the version after.",
    "schedule": "The schedule: its id, or the id or the slug of its job or its workflow.",
    "calendar": "The calendar: its id or its slug.",
    "worker": "The worker's id.",
    "delivery": "The delivery's id.",
    "event": "The event: its id, or its key.",
    "prefix": "How the keys of the events begin.",
    "project": "The project's id.",
    "ref": "The ref of the step.",
    "approval": "The approval's id.",
    "key": "1 to 256 characters of A-Z a-z 0-9 . _ : -",
}
_REQUEST_ID: Final = {
    "description": "The request's id: yours, when you sent a sane one, else a new one.",
    "schema": {"type": "string"},
}
_RETRY_AFTER: Final = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
_REPLAYED: Final[dict[str, Any]] = {
    "description": "`true`: the key was used before, and nothing was done again.",
    "schema": {"type": "string"},
}
_MORE_HEADERS: Final[Mapping[int, Mapping[str, Any]]] = {
    200: {
        "Idempotency-Replayed": {**_REPLAYED, "required": False},
        "Strait-Deduplicated": {
            "description": "`true`: a run of the same payload within the job's window stands for this trigger.",
            "required": False,
            "schema": {"type": "string"},
        },
        "Strait-Dry-Run": {
            "description": "`true`: nothing was stored.",
            "required": False,
            "schema": {"type": "string"},
        },
    },
    202: {},
    503: {"Retry-After": _RETRY_AFTER},
}
_ABOUT_KEY: Final = (
    "A key of your own, up to 256 characters (X-Idempotency-Key says the same): a repetition with the same key and body"
    " does nothing again and is told what the first was told; another body is refused. It holds for 24 hours, for a"
    " trigger until 24 hours after its run has ended."
)
_ABOUT_INTERNAL: Final = "The server failed; its log has the reason under the request id."
_ABOUT_ERRORS: Final[dict[type[StraitError], str]] = {
    AuthError: "No credential, or a wrong one.",
    ForbiddenError: "The run token is another run's.",
    GoneError: "The run is over.",
    DeadlineError: "The body stopped coming.",
    TooLargeError: "The body is over its bound.",
    HeadTooLargeError: "The request line and the headers are over their bound.",
    UnsupportedMediaError: "The body is not JSON in UTF-8.",
    ValidationError: "The query or the body is wrong; `errors` lists every fault.",
    UnavailableError: "The database does not answer now.",
}


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document; operations that are not listed are left out."""
    listed = [operation for operation in operations if operation.listed]
    types = [t for operation in listed for t in _types_of(operation)] + [wire.Problem]
    unique = list({repr(t): t for t in types}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    refine(components)
    refs = {repr(t): schema for t, schema in zip(unique, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, refs)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Strait",
            "version": version,
            "summary": "A durable job orchestrator.",
            "description": "Errors are RFC 9457 problems with a stable `code`. Times are RFC 3339, in UTC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "x-problems": _problems(),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "internalSecret": {"type": "http", "scheme": "bearer", "description": "The server's INTERNAL_SECRET."},
                "runToken": {"type": "http", "scheme": "bearer", "description": "X-Run-Token of the attempt."},
            },
        },
    }


def _problems() -> list[dict[str, Any]]:
    """Every code that an error may carry: what `type` of a problem points to on the page."""
    known = [
        {"code": kind.code, "status": status, "about": (kind.__doc__ or "").split("\n")[0]}
        for kind, status in STATUSES.items()
    ]
    return [*known, {"code": INTERNAL, "status": 500, "about": _ABOUT_INTERNAL}]


def _types_of(operation: Operation) -> Iterator[Any]:
    if _is_structured(operation.returns):
        yield from _each(operation.returns)
    yield from operation.also.values()
    if operation.body is not None:
        yield operation.body.shape


def _each(returns: Any) -> tuple[Any, ...]:
    """The types of a body: it is one of them."""
    return returns if isinstance(returns, tuple) else (returns,)


def _is_structured(returns: Any) -> bool:
    return returns is not None and returns is not str


def _operation(operation: Operation, refs: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary.split(". ")[0].rstrip("."),
        "description": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation, refs),
        "security": [{"runToken" if operation.by_token else "internalSecret": []}] if operation.secured else [],
    }
    if operation.body is not None:
        made["requestBody"] = {
            "required": operation.body.required,
            "description": f"At most {operation.body.most // 1024} KiB.",
            "content": {"application/json": {"schema": refs[repr(operation.body.shape)]}},
        }
    return made


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        about = _PATH_PARAMETERS[name]
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": {"type": "string"}}
    for param in operation.query:
        schema = {"type": "array", "items": dict(param.schema)} if param.many else dict(param.schema)
        yield {"name": param.name, "in": "query", "required": False, "description": param.about, "schema": schema}
    if any(param.name == "project_id" for param in operation.query):
        yield _header("X-Project-Id", "The project; the parameter `project_id` says the same.")
    if operation.if_match:
        yield _header("If-Match", "Do it only while the object's ETag is this one.")
    if operation.once:
        yield _header("Idempotency-Key", _ABOUT_KEY)
    if operation.media == "text/event-stream":
        yield _header("Last-Event-ID", "The id of the last event that you know: go on behind it.")
    yield _header("X-Request-Id", "An id of your own for this request: up to 128 printable characters.")


def _header(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}


def _responses(operation: Operation, refs: dict[str, Any]) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": _REQUEST_ID}
    if operation.etag:
        headers["ETag"] = {"description": "This version of the object.", "schema": {"type": "string"}}
    answer: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase, "headers": headers}
    if operation.once and not operation.also:
        headers["Idempotency-Replayed"] = {**_REPLAYED, "required": False}
    if operation.returns is not None:
        schema: dict[str, Any] = {"type": "string"}
        if _is_structured(operation.returns):
            branches = [refs[repr(one)] for one in _each(operation.returns)]
            schema = branches[0] if len(branches) == 1 else {"anyOf": branches}
        answer["content"] = {operation.media: {"schema": schema}}
    if operation.text:
        answer["content"]["text/plain"] = {"schema": {"type": "string"}}
    responses = {str(operation.status): answer}
    for status, kind in sorted(_errors(operation).items()):
        responses[str(status)] = _problem(kind, status)
    for status, returns in operation.also.items():
        content: dict[str, Any] = {"application/json": {"schema": refs[repr(returns)]}}
        if str(status) in responses:
            content |= responses[str(status)]["content"]
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": {"X-Request-Id": _REQUEST_ID, **_MORE_HEADERS[status]},
            "content": content,
        }
    return responses


def _errors(operation: Operation) -> dict[int, type[StraitError]]:
    """The errors that an operation may answer with, by status code; 500 comes with a plain StraitError."""
    kinds: set[type[StraitError]] = {*operation.raises, ValidationError, UnavailableError, HeadTooLargeError}
    if operation.secured:
        kinds.add(AuthError)
    if operation.by_token:
        kinds |= {ForbiddenError, GoneError}
    if operation.body is not None:
        kinds |= {DeadlineError, TooLargeError, UnsupportedMediaError}
    return {STATUSES[kind]: kind for kind in kinds} | {500: StraitError}


def _problem(kind: type[StraitError], status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": _REQUEST_ID}
    if issubclass(kind, UnavailableError | RateLimitedError):
        headers["Retry-After"] = _RETRY_AFTER
    if kind is AuthError:
        headers["WWW-Authenticate"] = {"description": "`Bearer`.", "schema": {"type": "string"}}
    about = _ABOUT_ERRORS.get(kind) or (kind.__doc__ or "").split("\n")[0]
    if status == 500:
        about = _ABOUT_INTERNAL
    return {
        "description": about,
        "headers": headers,
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
