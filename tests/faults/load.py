"""A steady stream of triggers against a daemon that may be falling over: keeps what was accepted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import httpx

from tests.support.daemon import client_for
from tests.support.sizes import size
from tests.support.waiting import eventually

# Triggers a second, of all threads together. In a soak so few that a machine which others slow down carries them out as well:
# the rate before a fault is then what was asked for, and not what the machine had to give just then.
RATE: Final = size(ci=200.0, soak=60.0)


@dataclass
class Load:
    """What has been accepted so far, what was said to the rest, and how many got no answer."""

    accepted: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def __str__(self) -> str:
        return f"{len(self.accepted)} accepted, {dict(self.refused)} refused, {self.lost} unanswered"

    def wait_for(self, more: int, seconds: float = 15) -> None:
        """Wait until so many more runs have been accepted."""
        goal = len(self.accepted) + more
        eventually(lambda: len(self.accepted) >= goal, seconds, lambda: f"{goal} wanted; {self}")


@contextmanager
def triggering(port: int, slug: str = "job", threads: int = 4) -> Iterator[Load]:
    """Trigger one job from several threads for as long as the block; what was missed is not made up for."""
    load, stop = Load(), threading.Event()

    def work() -> None:
        due = monotonic()
        with client_for(port) as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"/v1/jobs/{slug}/trigger", json={})
                except httpx.TransportError:
                    load.lost += 1
                    stop.wait(0.02)
                    continue
                if answer.status_code == 201:
                    load.accepted.append(answer.json()["id"])
                    due = max(due + threads / RATE, monotonic())
                    stop.wait(due - monotonic())
                    continue
                load.refused[f"{answer.status_code} {answer.json()['detail']}"] += 1
                stop.wait(0.02)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield load
    finally:
        stop.set()
        for worker in workers:
            worker.join(40)
