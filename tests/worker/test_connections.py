"""Connections that are kept, and what an endpoint may say on them when nobody asked."""

from __future__ import annotations

import asyncio

from strait_core.run import Status
from tests.support.rig import Rig
from tests.support.scripted import Visit, scripted
from tests.worker.test_endings import once

NONSENSE = b"HTTP/1.1 500 Poison\r\nContent-Length: 6\r\n\r\npoison"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def test_what_is_said_unasked_is_nobodys_answer(rig: Rig) -> None:
    """An endpoint that sends another response on an idle connection: the next run gets a connection of its own."""
    spoken, heard = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.say(ANSWER)
        if not spoken.is_set():
            await heard.wait()
            await visit.say(NONSENSE)
            spoken.set()
            await visit.hung_up()

    async with scripted(script) as endpoint:
        first, _ = await once(rig, endpoint.url)
        heard.set()
        await spoken.wait()
        # The daemon's part runs in this loop too: by now it has read what came.
        for _ in range(20):
            await asyncio.sleep(0)
        second, _ = await once(rig, endpoint.url, slug="second")
    assert (first["status"], second["status"]) == (Status.COMPLETED, Status.COMPLETED)
    assert len(endpoint.visits) == 2


async def test_a_body_that_turns_into_nonsense_ends_the_attempt_at_once(rig: Rig) -> None:
    """A response that begins well and goes on in bytes that are no chunk: a fault of the endpoint, not a timeout."""

    async def script(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n")
        # A packet of its own: the head has been read when the rest comes.
        await asyncio.sleep(0.02)
        await visit.say(b"this is no chunk\r\n")
        await visit.hung_up()

    async with scripted(script) as endpoint:
        run, attempt = await once(rig, endpoint.url, max_attempts=1, timeout_secs=300)
    assert (run["status"], run["error_class"]) == (Status.DEAD_LETTER, "protocol")
    assert attempt["total_ms"] < 10_000
