"""Celery on Redis, measured from inside its own environment. Usage: REDIS_URL WHAT COUNT [SIZE] -> one line of JSON.

The worker is the default one (prefork) with as many processes as cores and results switched off, its fastest setting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import redis
from celery import Celery

URL = os.environ.get("PEER_REDIS") or sys.argv[1]
PAYLOAD = {"greeting": "Hello from Strait!", "number": 12345}

app = Celery("celery_peer", broker=URL)
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=100, broker_connection_retry_on_startup=True)


@app.task(name="noop")
def noop(greeting: str, number: int) -> None:  # noqa: ARG001 - what a task is given
    _count.incr("done")


_count = redis.Redis.from_url(URL)


def fill(count: int) -> float:
    began = monotonic()
    with app.producer_pool.acquire() as producer:
        for _ in range(count):
            noop.apply_async(kwargs=PAYLOAD, producer=producer)
    return monotonic() - began


def drain(count: int) -> dict[str, float]:
    _count.flushdb()
    fill(count)
    words = [
        "-m",
        "celery",
        "-A",
        "celery_peer",
        "worker",
        "-c",
        str(os.cpu_count()),
        "-l",
        "ERROR",
        "--without-gossip",
    ]
    here = str(Path(__file__).resolve().parent)
    worker = subprocess.Popen(
        [sys.executable, *words, "--without-mingle", "--without-heartbeat"],
        env={**os.environ, "PEER_REDIS": URL, "C_FORCE_ROOT": "1", "PYTHONPATH": here},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        warm = wait(count // 20)
        began = monotonic()
        wait(count)
        return {"rate": (count - warm) / (monotonic() - began)}
    finally:
        worker.terminate()
        worker.wait(30)


def wait(wanted: int) -> int:
    deadline = monotonic() + 300
    while (done := int(_count.get("done") or 0)) < wanted:
        if monotonic() > deadline:
            raise TimeoutError(f"{done} of {wanted}")
        sleep(0.01)
    return done


def main(what: str, count: int) -> dict[str, float]:
    if what == "drain":
        return drain(count)
    return {"rate": count / fill(count)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[2], int(sys.argv[3]))))
