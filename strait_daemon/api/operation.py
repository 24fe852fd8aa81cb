"""A route as data: how it is reached, what it reads, what it answers. The app and the OpenAPI document both read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from strait_core.errors import StraitError
from strait_core.job import check_project
from strait_daemon.api.body import Body
from strait_daemon.api.query import Param, read_query, wrong_request
from strait_daemon.tokens import Claims

if TYPE_CHECKING:
    from strait_daemon.api.context import Api

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
EVENTS: Final = b"text/event-stream"

encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Reply:
    """An answer; with `chunks` it goes on behind `body`."""

    status: int
    body: bytes = b""
    media: bytes = JSON
    headers: Headers = ()
    chunks: AsyncGenerator[bytes] | None = None


def reply(value: Any, status: int = 200, headers: Headers = ()) -> Reply:
    """An answer whose body is `value` as JSON."""
    return Reply(status, encode(value), JSON, headers)


class Call:
    """One request, authorized and parsed."""

    __slots__ = ("body", "claims", "headers", "query", "receive", "request_id", "scope")

    def __init__(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = headers
        self.request_id = request_id
        self.query: Mapping[str, Any] = {}
        self.body: Any = None
        # Whom the request speaks for, where an operation takes a run token.
        self.claims: Claims | None = None

    @property
    def path(self) -> dict[str, str]:
        """The path's parameters."""
        params: dict[str, str] = self.scope["path_params"]
        return params

    @property
    def project(self) -> str | None:
        """The project that `?project_id=` or `X-Project-Id` names; None = all of them."""
        asked = self.query.get("project_id")
        header = self.headers.get(b"x-project-id")
        if header is None:
            return asked
        named = header.decode("latin-1")
        if check_project(named):
            raise wrong_request("the header X-Project-Id is not a project id")
        if asked is not None and asked != named:
            raise wrong_request("?project_id= and X-Project-Id name different projects")
        return named


Handler = Callable[["Api", Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    `returns` is the type of the answer's body (a tuple: one of these; None: it has none; `text`: it may be plain text
    instead), `also` maps
    further status codes to theirs, `raises` names the errors besides those that follow from the rest: 401 where
    `secured`, 422 from the query, 408, 413 and 415 from a body, 500 and 503 always. `by_token`: it takes a run token in
    place of the server's secret (401, 403, 410). `once`: it honours Idempotency-Key. An operation that is not `listed`
    stays out of the OpenAPI document.
    """

    method: str
    path: str
    handle: Handler
    name: str
    summary: str
    tag: str = ""
    status: int = 200
    returns: Any = None
    media: str = "application/json"
    text: bool = False
    also: Mapping[int, Any] = field(default_factory=dict)
    raises: tuple[type[StraitError], ...] = ()
    query: tuple[Param, ...] = ()
    body: Body | None = None
    etag: bool = False
    if_match: bool = False
    once: bool = False
    secured: bool = True
    by_token: bool = False
    listed: bool = True

    def read_query(self, raw: bytes) -> dict[str, Any]:
        """The parameters of a query string that is not empty."""
        return read_query(raw, self.query)
