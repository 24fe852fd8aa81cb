"""Procrastinate measured from inside its own environment. Usage: DATABASE_URL WHAT COUNT [SIZE] -> one line of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from time import monotonic, process_time

import procrastinate

logging.disable(logging.CRITICAL)
CALLERS = 32
PAYLOAD = {"greeting": "Hello from Strait!", "number": 12345}

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1], min_size=10, max_size=10),
)
seen = {"done": 0, "at": 0, "began": 0.0, "cpu": 0.0}


@app.task(queue="noop")
async def noop(greeting: str, number: int) -> None:  # noqa: ARG001 - what a task is given
    seen["done"] += 1
    if seen["done"] == seen["at"]:
        seen["began"], seen["cpu"] = monotonic(), process_time()


async def drain(count: int, concurrency: int) -> dict[str, float]:
    for at in range(0, count, 500):
        await noop.batch_defer_async(*([PAYLOAD] * min(500, count - at)))
    warm = seen["at"] = count // 20
    await app.run_worker_async(wait=False, concurrency=concurrency, install_signal_handlers=False)
    assert seen["done"] == count, f"{seen['done']} of {count}"
    secs, cpu = monotonic() - seen["began"], process_time() - seen["cpu"]
    return {"rate": (count - warm) / secs, "cpu_us": cpu / (count - warm) * 1e6}


async def single(count: int, _: int) -> dict[str, float]:
    left = count

    async def keep_calling() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await noop.defer_async(**PAYLOAD)

    began = monotonic()
    await asyncio.gather(*(keep_calling() for _ in range(CALLERS)))
    return {"rate": count / (monotonic() - began)}


async def batch(count: int, size: int) -> dict[str, float]:
    began = monotonic()
    for _ in range(count // size):
        await noop.batch_defer_async(*([PAYLOAD] * size))
    return {"rate": count / (monotonic() - began)}


async def main(what: str, count: int, size: int) -> dict[str, float]:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        return await {"drain": drain, "single": single, "batch": batch}[what](count, size)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))))
