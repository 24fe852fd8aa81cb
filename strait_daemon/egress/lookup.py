"""Looks names up in threads of its own: a resolver that hangs holds up nobody but those who wait for it.

The loop's default threads serve everybody (long bodies, schemas), and a look-up cannot be called off: one that the
caller has given up goes on until the system lets go of it. So at most `threads` of them run at once, a name occupies
one thread however many wait for it, and none of the threads keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, Final

# As many names as may hang before others have to wait for one of them.
THREADS: Final = 32


def system_addresses(host: str) -> list[str]:
    """The addresses that the system's resolver gives; OSError when there are none. Blocks."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Lookups:
    """Addresses of names, by a function that blocks; of use to one event loop."""

    def __init__(self, ask: Callable[[str], Sequence[str]] = system_addresses, threads: int = THREADS) -> None:
        self._ask = ask
        self._room = asyncio.Semaphore(threads)
        self._asked: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a name; who gives up waiting takes nothing from the others who wait for it."""
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.create_task(self._look(host), name="look-up")
            task.add_done_callback(lambda done: self._over(host, done))
        return await asyncio.shield(task)

    def _over(self, host: str, task: asyncio.Task[Sequence[str]]) -> None:
        self._asked.pop(host, None)
        if not task.cancelled():
            task.exception()  # whoever still waits has it; nobody needs to

    async def _look(self, host: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        async with self._room:
            answer: asyncio.Future[Sequence[str]] = loop.create_future()
            Thread(target=self._run, args=(loop, answer, host), name="look-up", daemon=True).start()
            return await answer

    def _run(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Sequence[str]], host: str) -> None:
        told: Callable[[Any], None]
        value: Any
        try:
            told, value = answer.set_result, self._ask(host)
        except Exception as error:  # noqa: BLE001 - handed to who waits
            told, value = answer.set_exception, error

        def tell() -> None:
            if not answer.done():
                told(value)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell)
