"""PgQueuer measured from inside its own environment. Usage: DATABASE_URL WHAT COUNT [BATCH] -> one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from time import monotonic, process_time

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

PAYLOAD = b'{"greeting":"Hello from Strait!","number":12345}'
# Their own benchmark drains with five consumers in one process.
CONSUMERS = 5
CALLERS = 32


async def install(url: str) -> Queries:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    if not await queries.has_table("pgqueuer"):
        await queries.install()
    return queries


async def drain(url: str, count: int, batch: int) -> dict[str, float]:
    queries = await install(url)
    for at in range(0, count, 1_000):
        size = min(1_000, count - at)
        await queries.enqueue(["noop"] * size, [PAYLOAD] * size, [0] * size)
    done, warm = 0, count // 20
    start = (0.0, 0.0)

    async def consume() -> None:
        consumer = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

        @consumer.entrypoint("noop")
        async def noop(job: Job) -> None:  # noqa: ARG001 - what a handler is given
            nonlocal done, start
            done += 1
            if done == warm:
                start = (monotonic(), process_time())
            if done == count:
                for each in consumers:
                    each.shutdown.set()

        consumers.append(consumer)
        await consumer.run(batch_size=batch, mode=QueueExecutionMode.continuous)

    consumers: list[PgQueuer] = []
    await asyncio.gather(*(consume() for _ in range(CONSUMERS)))
    left = sum(entry.count for entry in await queries.queue_size())
    assert left == 0, f"{left} jobs left"
    secs, cpu = monotonic() - start[0], process_time() - start[1]
    return {"rate": (count - warm) / secs, "cpu_us": cpu / (count - warm) * 1e6}


async def single(url: str, count: int, _: int) -> dict[str, float]:
    await install(url)
    async with asyncpg.create_pool(url, min_size=10, max_size=10) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        left = count

        async def keep_calling() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await queries.enqueue("noop", PAYLOAD)

        began = monotonic()
        await asyncio.gather(*(keep_calling() for _ in range(CALLERS)))
        return {"rate": count / (monotonic() - began)}


async def batch(url: str, count: int, size: int) -> dict[str, float]:
    queries = await install(url)
    began = monotonic()
    for _ in range(count // size):
        await queries.enqueue(["noop"] * size, [PAYLOAD] * size, [0] * size)
    return {"rate": count / (monotonic() - began)}


if __name__ == "__main__":
    url, what, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    print(json.dumps(uvloop.run({"drain": drain, "single": single, "batch": batch}[what](url, count, size))))
