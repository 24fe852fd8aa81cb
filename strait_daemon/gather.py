"""Gathers what comes in while a flush is under way into the next flush. No timer: an idle caller waits for nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

MOST_ITEMS: Final = 500
MOST_BYTES: Final = 4 * 1024 * 1024

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gatherer(Generic[Item, Answer]):
    """Hands items to `flush` in batches of at most 500 items and (beyond the first) 4 MiB, and resolves their waiters.

    `flush` gives one answer per item, in order; an answer that is an exception is raised to its waiter, and what
    `flush` itself raises to every waiter of the batch. `weigh` says how many bytes an item carries. Batches are flushed
    one after the other, in the order the items came.
    """

    def __init__(
        self, flush: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]], weigh: Callable[[Item], int]
    ) -> None:
        self._flush = flush
        self._weigh = weigh
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._work: asyncio.Task[None] | None = None

    def add(self, item: Item) -> asyncio.Future[Answer]:
        """Put an item into the next batch; the future is resolved once that batch has been flushed."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._drain(), name="gather")
        return future

    async def settle(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    async def abandon(self) -> None:
        """Stop at once; waiters are cancelled."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
        while self._waiting:
            self._waiting.popleft()[1].cancel()

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._take()
            items = [item for item, _ in batch]
            try:
                answers = await self._flush(items)
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    _resolve(future, answer)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch = [self._waiting.popleft()]
        size = self._weigh(batch[0][0])
        while self._waiting and len(batch) < MOST_ITEMS:
            size += self._weigh(self._waiting[0][0])
            if size > MOST_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch


def _resolve(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
