"""Look-ups of names: bounded threads of their own, one for a name, and nobody waits for one that hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from strait_daemon.egress.lookup import Lookups, system_addresses
from tests.support.rig import eventually


class Resolver:
    """Blocks on names that begin with `hang` until it is let go; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = self.most = 0
        self.go = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, host: str) -> Sequence[str]:
        with self._lock:
            self.asked.append(host)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if host.startswith("hang"):
                self.go.wait(30)
            if host.startswith("none"):
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
            return [f"address of {host}"]
        finally:
            with self._lock:
                self.now -= 1


@pytest_asyncio.fixture
async def resolver() -> AsyncIterator[Resolver]:
    """A resolver that is let go when the test ends."""
    made = Resolver()
    yield made
    made.go.set()


async def test_a_name_that_hangs_takes_nothing_from_the_default_threads(resolver: Resolver):
    """A hundred names hang, in no more threads than allowed; what the loop's own threads do goes on at once."""
    lookups = Lookups(resolver, threads=4)
    waiting = [asyncio.create_task(lookups(f"hang-{n}")) for n in range(100)]
    await eventually(lambda: resolver.now == 4)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 20) == "done"
    assert resolver.most == 4
    resolver.go.set()
    assert [list(found) for found in await asyncio.gather(*waiting)] == [[f"address of hang-{n}"] for n in range(100)]
    assert resolver.most == 4


async def test_a_name_takes_one_thread_however_many_wait(resolver: Resolver):
    """One that gives up leaves the others waiting; the answer is for all of them, and is not kept."""
    lookups = Lookups(resolver, threads=2)
    waiting = [asyncio.create_task(lookups("hang")) for _ in range(50)]
    await eventually(lambda: resolver.now == 1)
    waiting.pop().cancel()
    assert list(await asyncio.wait_for(lookups("quick"), 20)) == ["address of quick"]
    resolver.go.set()
    assert {tuple(found) for found in await asyncio.gather(*waiting)} == {("address of hang",)}
    await lookups("hang")
    assert resolver.asked == ["hang", "quick", "hang"]


async def test_who_has_given_up_holds_its_thread_until_the_system_answers(resolver: Resolver):
    """Asked again and again, a name that hangs still takes one thread only."""
    lookups = Lookups(resolver, threads=2)
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookups("hang"), 0.01)
    assert resolver.asked == ["hang"]
    assert list(await asyncio.wait_for(lookups("quick"), 20)) == ["address of quick"]


async def test_what_the_system_refuses_is_told(resolver: Resolver):
    """As the error it is; to everybody who waits, and nobody else hears of it."""
    lookups = Lookups(resolver)
    answers = await asyncio.gather(*(lookups("none") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [socket.gaierror] * 3
    assert "127.0.0.1" in system_addresses("localhost")
