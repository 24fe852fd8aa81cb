"""What comes in while a flush is under way goes out with the next one; nobody waits for a timer, or for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from strait_daemon.gather import BUSY_ITEMS, LATER, MOST_BYTES, MOST_ITEMS, Gatherer


class Sink:
    """Takes batches of numbers; answers each with its double, or fails as a test says."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: BaseException | None = None
        self.at_once = 0

    async def flush(self, items: list[int]) -> Sequence[int | Exception]:
        self.at_once += 1
        assert self.at_once == 1, "two flushes at once"
        try:
            self.batches.append(items)
            await self.go.wait()
            if self.error is not None:
                raise self.error
            return [ValueError(item) if item < 0 else item * 2 for item in items]
        finally:
            self.at_once -= 1


def gatherer(sink: Sink, weight: int = 1) -> Gatherer[int, int]:
    """A gatherer whose items all weigh the same."""
    return Gatherer(sink.flush, lambda _item: weight)


async def test_the_first_goes_at_once_and_the_rest_together() -> None:
    """No timer: one alone is flushed alone; what gathers behind it is one batch, in order."""
    sink = Sink()
    sink.go.clear()
    gathering = gatherer(sink)
    first = gathering.add(1)
    while not sink.batches:
        await asyncio.sleep(0)
    rest = [gathering.add(n) for n in range(2, 50)]
    sink.go.set()
    assert await asyncio.gather(first, *rest) == [n * 2 for n in range(1, 50)]
    assert sink.batches == [[1], list(range(2, 50))]


@pytest.mark.parametrize(
    ("count", "weight", "most"),
    [(3 * MOST_ITEMS + 1, 1, MOST_ITEMS), (50, MOST_BYTES // 10, 10), (5, MOST_BYTES * 2, 1)],
    ids=["items", "bytes", "each too heavy"],
)
async def test_batches_are_bounded(count: int, weight: int, most: int) -> None:
    """In items and in bytes; an item that is too heavy by itself travels alone."""
    sink = Sink()
    gathering = gatherer(sink, weight)
    assert await asyncio.gather(*map(gathering.add, range(count))) == [n * 2 for n in range(count)]
    assert max(map(len, sink.batches)) == most
    assert sum(map(len, sink.batches)) == count


async def test_each_hears_its_own_answer() -> None:
    """An exception in place of an answer is one item's; what the flush raises is everybody's; the next batch is new."""
    sink = Sink()
    gathering = gatherer(sink)
    answers = await asyncio.gather(*map(gathering.add, [1, -2, 3]), return_exceptions=True)
    assert [repr(answer) for answer in answers] == ["2", "ValueError(-2)", "6"]
    sink.error = OSError("away")
    answers = await asyncio.gather(*map(gathering.add, [1, 2]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OSError, OSError]
    sink.error = None
    assert await gathering.add(4) == 8


async def test_a_waiter_that_goes_away_takes_nobody_along() -> None:
    """Its item is flushed all the same, and the others hear their answers."""
    sink = Sink()
    sink.go.clear()
    gathering = gatherer(sink)
    waiting = [asyncio.ensure_future(gathering.add(n)) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    sink.go.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert (answers[0], answers[2]) == (0, 4)
    assert [n for batch in sink.batches for n in batch] == [0, 1, 2]


async def test_a_poster_that_fails_takes_nobody_along() -> None:
    """A callback that raises is logged; the others of its batch, and the next batch, are answered."""
    sink = Sink()
    gathering = gatherer(sink)
    heard: list[object] = []

    def broken(_answers: object) -> None:
        raise RuntimeError("as the test wants")

    gathering.post((1,), broken)
    gathering.post((2, 3), heard.append)
    assert await gathering.add(4) == 8
    assert heard == [[4, 6]]


async def test_settle_waits_for_all_and_abandon_for_nothing() -> None:
    """After settle everything has been answered; after abandon every waiter is cancelled and nothing runs on."""
    sink = Sink()
    gathering = gatherer(sink)
    await gathering.settle()
    waiting = [gathering.add(n) for n in range(MOST_ITEMS * 2)]
    await gathering.settle()
    assert all(future.done() for future in waiting)
    sink.go.clear()
    waiting = [gathering.add(n) for n in range(MOST_ITEMS * 2)]
    await asyncio.sleep(0)
    await gathering.abandon()
    assert all(future.cancelled() for future in waiting)
    sink.go.set()
    assert await gathering.add(1) == 2


async def lingering_after(count: int, linger_secs: float) -> tuple[Sink, Gatherer[int, int]]:
    """A gatherer that lingers and has just flushed so many items."""
    sink = Sink()
    gathering = Gatherer(sink.flush, lambda _item: 1, linger_secs=linger_secs)
    sink.go.clear()
    first = [gathering.add(n) for n in range(count)]
    while not sink.batches:
        await asyncio.sleep(0)
    last = gathering.add(1)
    sink.go.set()
    await asyncio.gather(*first)
    if count < BUSY_ITEMS:
        await last
    return sink, gathering


async def test_after_a_busy_flush_the_next_waits_for_company() -> None:
    """What comes within the time to linger goes with the batch that waits."""
    sink, gathering = await lingering_after(BUSY_ITEMS, 0.05)
    assert await gathering.add(2) == 4
    assert sink.batches[1] == [1, 2]


async def test_who_is_alone_waits_for_no_company() -> None:
    """After a small flush the next one starts at once."""
    async with asyncio.timeout(5):
        sink, _ = await lingering_after(BUSY_ITEMS - 1, 3_600)
    assert sink.batches[1] == [1]


async def test_a_full_batch_does_not_linger() -> None:
    """There is no more company to wait for."""
    sink = Sink()
    gathering = Gatherer(sink.flush, lambda _item: 1, linger_secs=3_600)
    sink.go.clear()
    busy = [gathering.add(n) for n in range(BUSY_ITEMS)]
    while not sink.batches:
        await asyncio.sleep(0)
    full = [gathering.add(n) for n in range(MOST_ITEMS)]
    sink.go.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*busy, *full)
    assert len(sink.batches[1]) == MOST_ITEMS
    await gathering.abandon()


class Hesitant(Sink):
    """Says of odd numbers that they come later, until it knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()

    async def flush(self, items: list[int]) -> Sequence[int | Exception]:
        found = await super().flush(items)
        late = [one for one in items if one % 2 and one not in self.known]
        self.known |= set(late)
        return [LATER if item in late else answer for item, answer in zip(items, found, strict=True)]


async def test_what_comes_later_keeps_nobody_waiting() -> None:
    """It is flushed again, alone; its poster hears once of all his items, and settling waits for that."""
    sink, heard = Hesitant(), list[object]()
    gathering = gatherer(sink)
    gathering.post((1, 2, 3), heard.append)
    assert await gathering.add(4) == 8
    assert heard == []
    await gathering.settle()
    assert heard == [[2, 4, 6]]
    assert sink.batches == [[1, 2, 3, 4], [1, 3]]


async def test_what_would_come_later_is_given_up_too() -> None:
    """Who waits for it is told so, once."""
    sink, heard = Hesitant(), list[object]()
    gathering = gatherer(sink)
    gathering.post((1, 2), heard.append)
    assert await gathering.add(4) == 8
    await gathering.abandon()
    assert heard == [None]
    await gathering.settle()
