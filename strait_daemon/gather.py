"""Gathers what comes in while a flush is under way into the next flush: an idle caller waits for nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

import structlog

from strait_daemon.ending import end

MOST_ITEMS: Final = 500
MOST_BYTES: Final = 4 * 1024 * 1024
# A batch of so many items says that more are on their way, and that nobody here is alone and waiting.
BUSY_ITEMS: Final = 16
_STOP_SECS: Final = 3.0

Item = TypeVar("Item")
Answer = TypeVar("Answer")
# An answer that is none yet: the item comes again after a moment, while others go on.
LATER: Final = type("Later", (Exception,), {})()
LATER_SECS: Final = 0.1
# What a waiter hears: one answer per item; an exception in place of an answer is that item's own failure. None means
# that the gatherer was abandoned before it could answer.
Answered: TypeAlias = Callable[[Sequence[Answer | Exception] | None], None]

log = structlog.get_logger(__name__)


class Gatherer(Generic[Item, Answer]):
    """Hands items to `flush` in batches of about 500 items and (beyond the first post) 4 MiB, and tells their posters.

    `flush` gives one answer per item, in order; what it raises becomes the answer of every item of the batch. `weigh`
    says how many bytes an item carries. Batches are flushed one after the other, in the order the items came; a post is
    never split over two, but what is answered `LATER` is flushed again after a moment, and its poster hears once all of
    his items have their answers. With `linger_secs` the flush after a busy one waits so long for company; after a small
    one, and when a full batch waits already, it starts at once.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]],
        weigh: Callable[[Item], int],
        *,
        linger_secs: float = 0.0,
    ) -> None:
        self._linger_secs = linger_secs
        self._flush = flush
        self._weigh = weigh
        self._waiting: deque[tuple[Sequence[Item], Answered[Answer]]] = deque()
        self._work: asyncio.Task[None] | None = None
        # Posts of which a part comes again.
        self._again: dict[asyncio.TimerHandle, Answered[Answer]] = {}

    def post(self, items: Sequence[Item], answered: Answered[Answer]) -> None:
        """Put items into the next batch; `answered` is called once that batch has been flushed."""
        self._waiting.append((items, answered))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._drain(), name="gather")

    def add(self, item: Item) -> asyncio.Future[Answer]:
        """Post one item; the future is resolved with its answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answered(answers: Sequence[Answer | Exception] | None) -> None:
            if future.done():
                return
            if answers is None:
                future.cancel()
            elif isinstance(answers[0], Exception):
                future.set_exception(answers[0])
            else:
                future.set_result(answers[0])

        self.post((item,), answered)
        return future

    async def settle(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._again or (self._work is not None and not self._work.done()):
            if self._work is None or self._work.done():
                await asyncio.sleep(LATER_SECS / 10)
            else:
                await asyncio.wait([self._work])

    async def abandon(self) -> None:
        """Stop at once; who waits is told so."""
        if self._work is not None:
            await end(self._work, within=_STOP_SECS)
        while self._waiting:
            self._tell(self._waiting.popleft()[1], None)
        while self._again:
            timer, answered = self._again.popitem()
            timer.cancel()
            self._tell(answered, None)

    async def _drain(self) -> None:
        while self._waiting:
            posts = self._take()
            items = [item for part, _ in posts for item in part]
            answers: Sequence[Answer | Exception]
            try:
                answers = await self._flush(items)
            except asyncio.CancelledError:
                for _, answered in posts:
                    self._tell(answered, None)
                raise
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                answers = [error] * len(items)
            at = 0
            for part, answered in posts:
                self._answer(part, answered, answers[at : at + len(part)])
                at += len(part)
            if self._linger_secs and len(items) >= BUSY_ITEMS and sum(len(p) for p, _ in self._waiting) < MOST_ITEMS:
                await asyncio.sleep(self._linger_secs)

    def _answer(self, part: Sequence[Item], answered: Answered[Answer], answers: Sequence[Answer | Exception]) -> None:
        """Tell a poster, or post what has no answer yet once more."""
        later = [at for at, answer in enumerate(answers) if answer is LATER]
        if not later:
            self._tell(answered, answers)
            return

        def heard(more: Sequence[Answer | Exception] | None) -> None:
            whole = None if more is None else list(answers)
            for at, answer in zip(later, more or (), strict=more is not None):
                whole[at] = answer  # type: ignore[index]
            answered(whole)

        def again() -> None:
            del self._again[timer]
            self.post([part[at] for at in later], heard)

        timer = asyncio.get_running_loop().call_later(LATER_SECS, again)
        self._again[timer] = answered

    def _take(self) -> list[tuple[Sequence[Item], Answered[Answer]]]:
        posts = [self._waiting.popleft()]
        count = len(posts[0][0])
        size = self._size(posts[0][0])
        while self._waiting:
            part = self._waiting[0][0]
            count += len(part)
            size += self._size(part)
            if count > MOST_ITEMS or size > MOST_BYTES:
                break
            posts.append(self._waiting.popleft())
        return posts

    def _size(self, part: Sequence[Item]) -> int:
        return sum(map(self._weigh, part))

    @staticmethod
    def _tell(answered: Answered[Answer], answers: Sequence[Answer | Exception] | None) -> None:
        """One poster's fault must not keep the others waiting."""
        try:
            answered(answers)
        except Exception:
            log.exception("answer_failed")
