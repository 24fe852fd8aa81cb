"""The ceiling of the single trigger: Starlette and msgspec on uvicorn, concurrent requests gathered into one INSERT.

It checks nothing, knows no jobs, no authorization and no ready order; each request is answered after its own commit.

    python -m benchmarks.ceilings.batched_trigger DATABASE_URL PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import psycopg
import uvicorn
from psycopg.types.json import Jsonb
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TABLE = """
CREATE TABLE IF NOT EXISTS prototype_runs (
    id uuid PRIMARY KEY, job_id uuid NOT NULL, status text NOT NULL, priority smallint NOT NULL,
    created_at timestamptz NOT NULL, payload text NOT NULL
)"""
INSERT = """
INSERT INTO prototype_runs SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb)
    AS b(id uuid, job_id uuid, status text, priority smallint, created_at timestamptz, payload text)"""
JOB = uuid4()


class Trigger(msgspec.Struct):
    """A request."""

    payload: msgspec.Raw = msgspec.Raw(b"{}")
    priority: int = 0


class Run(msgspec.Struct):
    """A row, and the answer."""

    id: UUID
    job_id: UUID
    status: str
    priority: int
    created_at: datetime
    payload: str


_decode = msgspec.json.Decoder(Trigger).decode
_encode = msgspec.json.Encoder().encode


class Prototype:
    """Gathers what arrives while an INSERT is under way into the next one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: deque[tuple[Run, asyncio.Future[None]]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._conn: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    @asynccontextmanager
    async def lifespan(self, _app: Starlette):
        self._conn = await psycopg.AsyncConnection.connect(self._url, autocommit=True, prepare_threshold=1)
        await self._conn.execute(TABLE)
        yield
        await self._conn.close()

    async def trigger(self, request: Request) -> Response:
        body = _decode(await request.body())
        run = Run(uuid4(), JOB, "queued", body.priority, datetime.now(UTC), bytes(body.payload).decode())
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append((run, stored))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._drain())
        await stored
        return Response(_encode(run), 201, media_type="application/json")

    async def _drain(self) -> None:
        assert self._conn is not None
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(500, len(self._waiting)))]
            await self._conn.execute(INSERT, {"batch": Jsonb([run for run, _ in batch], dumps=_encode)})
            for _, stored in batch:
                stored.set_result(None)


if __name__ == "__main__":
    prototype = Prototype(sys.argv[1])
    app = Starlette(routes=[Route("/trigger", prototype.trigger, methods=["POST"])], lifespan=prototype.lifespan)
    uvicorn.run(
        app, port=int(sys.argv[2]), http="httptools", loop="uvloop", ws="none", log_config=None, access_log=False,
        server_header=False, date_header=False, backlog=2048,
    )  # fmt: skip
