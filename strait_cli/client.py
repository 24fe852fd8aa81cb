"""The HTTP side: one sync client, retries that cannot do a thing twice, and problems turned into the error tree.

Every POST carries an idempotency key, so a request whose answer was lost is repeated safely. All retries of one call
together last at most five seconds; what takes longer is the user's to decide.
"""

from __future__ import annotations

import json
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

# httpx brings a command of its own, with click, rich and pygments: half of its import time, and never used here.
# None in sys.modules makes that one import fail, which httpx is prepared for.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx  # noqa: E402 - see above

from strait_cli import __version__, exact  # noqa: E402
from strait_cli.errors import ProblemError  # noqa: E402
from strait_cli.paths import is_loopback  # noqa: E402
from strait_core.errors import (  # noqa: E402
    AuthError,
    ConflictError,
    Fault,
    GoneError,
    HeadTooLargeError,
    MethodNotAllowedError,
    NotFoundError,
    PreconditionError,
    RateLimitedError,
    StraitError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaError,
    ValidationError,
)

RETRY_SECS: Final = 5.0
# A refused connection is usually a daemon that is not there: a restart is bridged, a person is not kept waiting.
_CONNECT_RETRY_SECS: Final = 2.0
_FIRST_DELAY: Final = 0.1
PAGE: Final = 200
# So many pages are "all of it": a list that is longer is for `export`.
MOST_PAGES: Final = 500

E = TypeVar("E", bound=StraitError)
Query = Mapping[str, str | int | list[str] | None]

_ERRORS: Final[Mapping[int, type[StraitError]]] = {
    404: NotFoundError,
    405: MethodNotAllowedError,
    409: ConflictError,
    410: GoneError,
    412: PreconditionError,
    413: TooLargeError,
    415: UnsupportedMediaError,
    431: HeadTooLargeError,
    429: RateLimitedError,
}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where requests go and as whom; `timeout` is in seconds for one request."""

    server: str
    key: str | None
    key_origin: str
    project: str | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A try that did not work out: what to raise if it was the last, and whether and when another makes sense."""

    error: StraitError
    again: bool
    bound: float = RETRY_SECS
    after: float | None = None


class Client:
    """Requests to one Strait server."""

    def __init__(self, connection: Connection, *, trace: Callable[[str], None] | None = None) -> None:
        self.connection = connection
        self._trace = trace
        headers = {"User-Agent": f"strait/{__version__}", "Accept": "application/json"}
        if connection.key:
            headers["Authorization"] = f"Bearer {header_text(connection.key)}"
        if connection.project:
            headers["X-Project-Id"] = header_text(connection.project)
        self.http = httpx.Client(
            base_url=connection.server,
            headers=headers,
            timeout=httpx.Timeout(connection.timeout, connect=min(connection.timeout, 5.0)),
            # Certificates take 30 ms to load; without TLS nobody reads them.
            verify=connection.server.startswith("https://"),
            # A proxy has no business between here and this very machine, least of all with the key.
            trust_env=not is_loopback(connection.server),
        )

    def get(self, path: str, query: Query | None = None) -> Any:
        """The body of a GET."""
        return self.call("GET", path, query=query)

    def post(
        self,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        actor: str | None = None,
    ) -> Any:
        """The body of a POST's answer; `key` is the caller's own idempotency key, `actor` who asks for it."""
        return self.call("POST", path, body=body, key=key or str(uuid.uuid4()), actor=actor)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The body of a PUT's answer."""
        return self.call("PUT", path, body=body)

    def patch(self, path: str, body: bytes | Mapping[str, Any]) -> Any:
        """The body of a PATCH's answer."""
        return self.call("PATCH", path, body=body)

    def delete(self, path: str) -> None:
        """A DELETE."""
        self.call("DELETE", path)

    def pages(self, path: str, query: Query | None = None, *, limit: int) -> Pages:
        """A list, page by page as it is read, at most `limit` objects."""
        return Pages(self, path, dict(query or {}), limit)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | Mapping[str, Any] | None = None,
        key: str | None = None,
        once: bool = False,
        actor: str | None = None,
    ) -> Any:
        """One API call with its retries (none with `once`); the decoded body or its text, None when there is none."""
        return _body(self.send(method, path, query=query, body=body, key=key, once=once, actor=actor))

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | Mapping[str, Any] | None = None,
        key: str | None = None,
        once: bool = False,
        actor: str | None = None,
    ) -> httpx.Response:
        """The same, with the answer as it came; raises what a failure means."""
        content = json.dumps(body).encode() if isinstance(body, Mapping) else body
        headers = {"Content-Type": "application/json"} if content is not None else {}
        if key:
            headers["Idempotency-Key"] = header_text(key)
        if actor:
            headers["X-Actor"] = header_text(actor)
        request = self.http.build_request(method, path, params=_query(query), content=content, headers=headers)
        began, delay = time.monotonic(), _FIRST_DELAY
        while True:
            outcome = self._once(request)
            if isinstance(outcome, httpx.Response):
                return outcome
            # Jitter, so that many clients of a server that comes back do not arrive at once.
            pause = max(outcome.after or 0.0, delay * random.uniform(0.75, 1.25))  # noqa: S311 - not a secret
            if once or not outcome.again or time.monotonic() - began + pause > outcome.bound:
                raise outcome.error from outcome.error.__cause__
            self._say(f"{method} {path} failed ({outcome.error.message}); again in {pause:.1f} s")
            time.sleep(pause)
            delay *= 2

    def _once(self, request: httpx.Request) -> httpx.Response | Failure:
        began = time.monotonic()
        try:
            response = self.http.send(request)
        except httpx.TransportError as error:
            return self.transport_failure(error, request)
        took = (time.monotonic() - began) * 1000
        self._say(f"{request.method} {request.url} {response.status_code} {took:.0f} ms")
        if response.is_success:
            return response
        return Failure(self.problem(response), response.status_code in {429, 503}, after=_retry_after(response.headers))

    def transport_failure(self, error: httpx.TransportError, request: httpx.Request) -> Failure:
        """What a broken connection means: unreachable, or reached and lost."""
        server = self.connection.server
        reason = str(error).partition("] ")[2] or str(error) or type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            hint = "start one: strait dev; or name another: --server URL"
            return Failure(
                _caused(UnavailableError(f"cannot reach {server}: {reason.lower()}", hint=hint), error),
                again=True,
                bound=_CONNECT_RETRY_SECS,
            )
        if isinstance(error, httpx.TimeoutException):
            hint = "allow more: --request-timeout SECS"
            message = f"{server} did not answer within {self.connection.timeout:g} s"
            return Failure(_caused(UnavailableError(message, hint=hint), error), again=False)
        # The request may have been carried out: only what may safely happen twice is repeated.
        safe = request.method == "GET" or "Idempotency-Key" in request.headers
        return Failure(_caused(UnavailableError(f"the connection to {server} broke: {reason}"), error), again=safe)

    def problem(self, response: httpx.Response) -> StraitError:
        """An error answer as an error of the tree, the server's own words in it."""
        body = _problem_body(response)
        status = response.status_code
        detail = str(body.get("detail") or body.get("title") or f"{self.connection.server} answered HTTP {status}")
        hint = body.get("hint")
        error = _error_for(status, detail, hint if isinstance(hint, str) else None, body, self.connection)
        if isinstance(error, RateLimitedError | UnavailableError):
            error.retry_after = _retry_after(response.headers)
        request_id = body.get("request_id") or response.headers.get("x-request-id")
        return _caused(error, ProblemError(status, str(body.get("code") or error.code), request_id))

    def _say(self, text: str) -> None:
        if self._trace:
            self._trace(text)


def _body(response: httpx.Response) -> Any:
    if not response.content:
        return None
    return (
        response.text if response.headers.get("content-type", "").startswith("text/") else exact.loads(response.content)
    )


class Pages(Iterator[dict[str, Any]]):
    """The objects of a list; after the last, `more` says whether the server has others beyond the limit."""

    def __init__(self, client: Client, path: str, query: dict[str, Any], limit: int) -> None:
        self._client = client
        self._path = path
        self._query = query
        self._left = self.limit = limit
        self._page: list[dict[str, Any]] = []
        self._cursor: str | None = None
        self._begun = False
        self.more = False

    def __next__(self) -> dict[str, Any]:
        """The next object; fetches another page when this one is used up."""
        while not self._page:
            if self._left <= 0 or (self._begun and self._cursor is None):
                self.more = self._cursor is not None
                raise StopIteration
            self._fetch()
        self._left -= 1
        return self._page.pop(0)

    def _fetch(self) -> None:
        query = {**self._query, "limit": min(self._left, PAGE), "cursor": self._cursor}
        if "include" in query:
            query["limit"] = min(self._left, 20)
        answer = self._client.get(self._path, query)
        self._page, self._cursor, self._begun = list(answer["data"]), answer.get("next_cursor"), True


def header_text(text: str) -> str:
    """Text fit for a header; anything else is refused here rather than sent."""
    if not text.isascii() or not text.isprintable():
        raise ValidationError([Fault("", "keys and ids are printable ASCII, on one line")])
    return text


def _query(query: Query | None) -> dict[str, Any]:
    return {name: value for name, value in (query or {}).items() if value not in (None, [], "")}


def _caused(error: E, cause: Exception) -> E:
    error.__cause__ = cause
    return error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _problem_body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        # A proxy's page, or another program on that port.
        return {}
    return body if isinstance(body, dict) else {}


def _error_for(status: int, detail: str, hint: str | None, body: dict[str, Any], connection: Connection) -> StraitError:
    if status in {401, 403}:
        return AuthError(detail, hint=_key_hint(connection))
    if status in {400, 422}:
        return ValidationError(_faults(body), detail, hint=hint)
    if status in _ERRORS:
        return _ERRORS[status](detail, hint=hint)
    if status >= 500:
        return UnavailableError(detail, hint=hint)
    return StraitError(detail, hint=hint or f"is {connection.server} a Strait server?")


def _faults(body: dict[str, Any]) -> list[Fault]:
    items = body.get("errors")
    if not isinstance(items, list):
        return []
    return [Fault(str(one.get("pointer", "")), str(one.get("message", ""))) for one in items if isinstance(one, dict)]


def _key_hint(connection: Connection) -> str:
    if not connection.key:
        return "give the daemon's INTERNAL_SECRET: --api-key, STRAIT_API_KEY, or strait context create"
    return f"the key sent came from {connection.key_origin}; strait config explain shows what else there is"
