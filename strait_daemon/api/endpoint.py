"""From ASGI to an operation and back: credentials, query, body, handler, and every error in the one envelope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from strait_core.errors import ForbiddenError, MethodNotAllowedError, NotFoundError, StraitError
from strait_daemon.api.auth import Gate
from strait_daemon.api.body import Disconnected
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Headers, Operation, Receive, Reply, Scope, Send
from strait_daemon.api.problems import internal, known_error, problem

MAX_REQUEST_ID: Final = 128
# A reader that takes nothing for so long is let go.
SEND_SECS: Final = 30.0
PIECE: Final = 64 * 1024
# Where a request's scope has what hangs up on its client at once.
HANG_UP: Final = "strait.hang_up"

SECURITY: Final[Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class RequestIds:
    """A short id for each request: a prefix of this app and a count."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0

    def of(self, sent: bytes | None) -> str:
        """The client's own id when it is up to 128 printable characters, else a new one."""
        if sent is not None and 0 < len(sent) <= MAX_REQUEST_ID and all(0x21 <= byte <= 0x7E for byte in sent):
            return sent.decode("ascii")
        self._count += 1
        return f"req_{self._prefix}{self._count:x}"


class Endpoint:
    """All operations of one path, as an ASGI application."""

    def __init__(self, operations: Mapping[str, Operation], api: Api, gate: Gate, request_ids: RequestIds) -> None:
        self._operations = operations
        self._api = api
        self._gate = gate
        self._request_ids = request_ids
        methods = {*operations, "OPTIONS"} | ({"HEAD"} if "GET" in operations else set())
        self._allow = ((b"allow", ", ".join(sorted(methods)).encode()),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_ids.of(headers.get(b"x-request-id"))
        call = Call(scope, receive, headers, request_id)
        try:
            answer = await self._answer(call)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - the one place where an unexpected error becomes an answer
            answer = self._failed(error, call)
        await write(answer, call, send)

    async def _answer(self, call: Call) -> Reply:
        method = call.scope["method"]
        operation = self._operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            if method == "OPTIONS":
                return Reply(204, headers=self._allow)
            error = MethodNotAllowedError(f"{method} does not work here")
            return problem(error, call.request_id, self._allow)
        if operation.by_token:
            await self._admit(call)
        elif operation.secured:
            client = call.scope["client"]
            await self._gate.check(call.headers.get(b"authorization"), client[0] if client else "")
        raw = call.scope["query_string"]
        if raw:
            call.query = operation.read_query(raw)
        if operation.body is not None:
            call.body = await operation.body.read(call.headers, call.receive)
        return await operation.handle(self._api, call)

    async def _admit(self, call: Call) -> None:
        """Let in who speaks for the run that the path names; whether its attempt goes on, the handler sees."""
        client, header = call.scope["client"], call.headers.get(b"authorization")
        now = self._api.deps.clock.now()
        call.claims = await self._gate.check_token(header, client[0] if client else "", now)
        if call.claims.sub != call.path["run"]:
            raise ForbiddenError("the run token is another run's", hint="use the token that came with this run")

    def _failed(self, error: Exception, call: Call) -> Reply:
        known = known_error(error)
        log = self._api.deps.log
        if known is None:
            scope = call.scope
            log.error(
                "request_failed",
                request_id=call.request_id,
                method=scope["method"],
                path=scope["path"],
                exc_info=error,
            )
            return internal(call.request_id)
        if known is not error:
            said = str(error).partition("\n")[0]
            log.warning("database_away", request_id=call.request_id, error=f"{type(error).__name__}: {said}")
        return problem(known, call.request_id)


class NotFound:
    """What answers every path that has no route."""

    def __init__(self, request_ids: RequestIds) -> None:
        self._request_ids = request_ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            # A websocket is refused by closing it before it is accepted.
            await send({"type": "websocket.close", "code": 1000})
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        call = Call(scope, receive, headers, self._request_ids.of(headers.get(b"x-request-id")))
        error: StraitError = NotFoundError("there is nothing at this path", hint="see /docs for every route")
        await write(problem(error, call.request_id), call, send)


async def write(answer: Reply, call: Call, send: Send) -> None:
    """Send an answer with what every answer carries: its length, the request id, the security headers."""
    headers = [(b"content-type", answer.media)] if answer.body or answer.chunks is not None else []
    if answer.chunks is None and answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    given = {name for name, _ in answer.headers}
    headers.append((b"x-request-id", call.request_id.encode()))
    headers += [pair for pair in SECURITY if pair[0] not in given] if given else SECURITY
    headers += answer.headers
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.chunks is None:
        await send({"type": "http.response.body", "body": answer.body})
    elif call.scope["method"] == "HEAD":
        await answer.chunks.aclose()
        await send({"type": "http.response.body", "body": b""})
    else:
        await _write_chunks(answer, answer.chunks, call, send)


async def _write_chunks(answer: Reply, chunks: AsyncGenerator[bytes], call: Call, send: Send) -> None:
    """Send chunks until there are no more, the client goes, or it stops reading."""
    writing = asyncio.create_task(_pump(answer, chunks, send), name="stream-out")
    reading = asyncio.create_task(_until_gone(call.receive), name="stream-in")
    reading.add_done_callback(lambda _: writing.cancel())
    try:
        await writing
    except asyncio.CancelledError:
        # Else it is this request that is canceled.
        if not reading.done():
            raise
    except TimeoutError:
        call.scope.get(HANG_UP, _nothing)()
        # The server hears of it before it wonders why the answer ends here.
        await asyncio.sleep(0)
    finally:
        reading.cancel()


def _nothing() -> None:
    """Hang up on nobody, where the server offers no way to."""


async def _pump(answer: Reply, chunks: AsyncGenerator[bytes], send: Send) -> None:
    try:
        # What has been sent is not held while nothing happens: a stream may begin with a large run.
        first, answer.body = answer.body, b""
        await _send_chunk(first, send)
        del first
        async for chunk in chunks:
            await _send_chunk(chunk, send)
            del chunk
        await send({"type": "http.response.body", "body": b""})
    finally:
        # Closed here and now, so that whatever the generator holds is let go with the client.
        await chunks.aclose()


async def _send_chunk(chunk: bytes, send: Send) -> None:
    """Send it piece by piece: a slow line may take its time for a large one, as long as each piece gets through."""
    for at in range(0, len(chunk), PIECE):
        async with asyncio.timeout(SEND_SECS):
            await send({"type": "http.response.body", "body": chunk[at : at + PIECE], "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
