"""The proxy of tests/support/proxy.py in a thread of its own, for tests that block: in front of real daemons and PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.proxy import Proxy, proxying
from tests.support.rig import proxied


@dataclass(frozen=True)
class Between:
    """A proxy whose switches may be thrown from the test's thread."""

    proxy: Proxy
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """The URL of what is behind the proxy, through it."""
        return self.proxy.url

    def do(self, switch: Callable[..., Any], *args: Any) -> None:
        """Throw a switch (`proxy.cut`, `proxy.freeze`, …) and wait until it is thrown."""
        done = threading.Event()

        def throw() -> None:
            switch(*args)
            done.set()

        self.loop.call_soon_threadsafe(throw)
        assert done.wait(10)

    def slow(self, secs: float) -> None:
        """Hold every packet up for so long."""
        self.do(setattr, self.proxy, "delay_secs", secs)


def proxy_between(url: str) -> AbstractContextManager[Between]:
    """A proxy in front of the database of that URL (over TCP), for as long as the block."""
    return _between(proxied(url))


def proxy_before(port: int) -> AbstractContextManager[Between]:
    """A proxy in front of the daemon on that port, whether there is one or not, for as long as the block."""
    return _between(proxying("127.0.0.1", port, "http://127.0.0.1:{port}", is_postgres=False))


@contextmanager
def _between(opened: AbstractAsyncContextManager[Proxy]) -> Iterator[Between]:
    found: list[Between] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        async with opened as proxy:
            found.append(Between(proxy, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="between", daemon=True)
    thread.start()
    assert ready.wait(10), "the proxy did not start"
    try:
        yield found[0]
    finally:
        found[0].loop.call_soon_threadsafe(stop.set)
        thread.join(10)
