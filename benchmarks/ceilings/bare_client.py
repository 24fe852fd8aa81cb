"""The bare loop of the daemon's HTTP client: as many requests in flight, the same headers, no database, no runs.

    python -m benchmarks.ceilings.bare_client URL CONCURRENCY COUNT

The first 5 % warm up and are not counted. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import monotonic, process_time

import aiohttp
import uvloop

# As many and as long as the daemon sends.
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "strait/0.1.0",
    "Accept": "application/json, */*;q=0.5",
    "X-Job-ID": "job_01kj0000000000000000000000",
    "X-Run-ID": "run_01kj0000000000000000000000",
    "Idempotency-Key": "run_01kj0000000000000000000000",
    "X-Attempt": "1",
    "X-Run-Token": "e" * 220,
    "traceparent": "00-00000000000000000000000000000000-0000000000000000-01",
}
BODY = b'{"greeting":"Hello from Strait!","number":12345}'


async def drain(url: str, concurrency: int, count: int) -> dict[str, float]:
    """Send `count` requests, `concurrency` at a time; rate and CPU of what follows the warm-up."""
    left, done = count, 0
    warm = count // 20
    start = (monotonic(), process_time())

    async def keep_calling(session: aiohttp.ClientSession) -> None:
        nonlocal left, done, start
        while left > 0:
            left -= 1
            async with session.post(url, data=BODY, headers=HEADERS) as answer:
                await answer.read()
            done += 1
            if done == warm:
                start = (monotonic(), process_time())

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await asyncio.gather(*(keep_calling(session) for _ in range(concurrency)))
    secs, cpu = monotonic() - start[0], process_time() - start[1]
    return {"rate": (count - warm) / secs, "cpu_us": cpu / (count - warm) * 1e6}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drain(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
