"""The feed: the moves of all runs and workflow runs, read once for everybody who listens in this process.

Signals name the runs that moved. What moved is read from the database, so that moves nobody saw in between are told as
well, each once and in the order of the run. Signals may be lost: every two seconds what has been told is compared with
the feed of changes, in which nothing is. The last events are kept for those who come back soon; what
others have missed is read from there too (`feed_past.py`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic
from typing import Any, Final
from uuid import UUID

from strait_core import ids
from strait_core.errors import StraitError, UnavailableError
from strait_core.path import Step
from strait_core.run import Event
from strait_core.store import changes, feed
from strait_core.store.changes import ALL_ENTRIES, Place, StoredChange
from strait_core.store.faults import Broken
from strait_core.store.feed import Flow, FlowStep
from strait_core.store.pool import Pool
from strait_core.workflow.states import RunStatus
from strait_daemon.api import feed_events, feed_past
from strait_daemon.api.feed_events import Filter, Mark, OfRun, Told
from strait_daemon.api.looks import Look, Looks
from strait_daemon.api.watchers import Watchers
from strait_daemon.bus import Bus, Everything
from strait_daemon.clock import Clock

# Events kept for who comes back, and those that one listener may be behind before it is dropped.
KEPT: Final = 20_000
BEHIND: Final = 5_000
# Runs that are read at once: together they may not hold up the streams that read with them.
BATCH: Final = 1_000
# Positions of the feed of changes that one statement compares; a row of it holds up to a thousand runs.
STRETCH: Final = 100
# So many that wait to be read are enough: no more are looked for meanwhile.
MOST_WAITING: Final = 10_000
COMPARE_SECS: Final = 2.0
# How long a change may take to be published, while the database has just been away.
LATE: Final = timedelta(seconds=30)
# Clocks of daemons may differ by so much.
_SLACK: Final = timedelta(seconds=1)
_PATIENCE_SECS: Final = 10.0
_AGAIN_SECS: Final = 1.0
_KNOWN: Final = 50_000
_EVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(eq=False, slots=True)
class Listener:
    """One stream of the feed: what it wants (None = everything), and what it has not been sent yet.

    `is_live` from when on it is offered events. Of those that come late it takes what happened after `since`. `heard`:
    the seqs of runs and workflow runs up to which it has been told otherwise. `mark`: of what it was sent last.
    """

    wants: Filter | None
    since: datetime = _EVER
    is_live: bool = True
    waiting: deque[Told] = field(default_factory=deque)
    heard: dict[UUID, int] = field(default_factory=dict)
    heard_until: float = 0.0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    mark: Mark | None = None
    is_behind: bool = False

    def offer(self, told: Told) -> None:
        """Take an event if it is wanted; who is too far behind takes none any more."""
        if not self.is_live or self.is_behind or (told.is_late and told.at < self.since):
            return
        if self.wants is not None and not self.wants(told):
            return
        if len(self.waiting) >= BEHIND:
            self.is_behind = True
        else:
            self.waiting.append(told)
        self.news.set()

    def take(self, most: int) -> bytes:
        """The frames of the next events."""
        if self.heard and monotonic() > self.heard_until:
            # Nobody tells of those moves any more.
            self.heard.clear()
        told = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        if self.heard:
            told = [one for one in told if one.seq > self.heard.get(one.about, 0)]
        return self._frames(told)

    def hear(self, told: Sequence[StoredChange], since: datetime) -> None:
        """These are told otherwise; those before `since` nobody else will tell."""
        self.heard.update((one.id, one.seq) for one in told if one.at > since)

    def send(self, told: list[Told]) -> bytes:
        """The frames of those of these events that are wanted."""
        wants = self.wants
        frames = self._frames(told if wants is None else [one for one in told if wants(one)])
        if told:
            self.mark = told[-1].mark
        return frames

    def _frames(self, told: list[Told]) -> bytes:
        if told:
            self.mark = told[-1].mark
        return b"".join([one.frame for one in told])


class Known:
    """Up to which seq moves have been told, of those that moved last, and how long the others have not moved."""

    def __init__(self) -> None:
        self._seqs: OrderedDict[UUID, tuple[int, datetime, str]] = OrderedDict()
        self.forgotten_at = _EVER

    def of(self, about: UUID) -> tuple[int, str]:
        """The seq and the state that were told last; 0 and none of what nothing is known of."""
        seq, _, status = self._seqs.get(about, (0, _EVER, ""))
        return seq, status

    def note(self, about: UUID, seq: int, at: datetime, status: str) -> None:
        """This has been told."""
        self._seqs[about] = (seq, at, status)
        self._seqs.move_to_end(about)
        if len(self._seqs) > _KNOWN:
            _, (_, at, _) = self._seqs.popitem(last=False)
            self.forgotten_at = max(self.forgotten_at, at)


class Feed:
    """All moves, as long as somebody listens."""

    def __init__(self, pool: Pool, looks: Looks, watchers: Watchers, bus: Bus, clock: Clock, log: Any) -> None:
        self._pool = pool
        self._looks = looks
        self._watchers = watchers
        self._bus = bus
        self._clock = clock
        self._log = log
        self._life = 0
        self._number = 0
        # Each with the time at which it was told.
        self._kept: deque[tuple[datetime, Told]] = deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()
        self._known = Known()
        self._began = self._told_at = _EVER
        # Positions of the feed of changes: up to where it was compared, and up to where all of it has been told.
        self._compared = self._position = 0
        # What waits to be read; of what moved without a signal, the first seq that was published.
        self._waiting: dict[UUID, None] = {}
        self._late: dict[UUID, int] = {}
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listen(self, wants: Filter | None, since: Mark | None) -> Iterator[Listener]:
        """Hear of everything from now on that is wanted; with `since` only once `missed` has told what came before."""
        if self._task is None or self._task.done():
            self._begin()
        listener = Listener(wants) if since else Listener(wants, self._clock.now())
        listener.is_live = since is None
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _begin(self) -> None:
        """Numbers begin anew with each life: while nobody listened, nothing was read."""
        self._began = self._clock.now()
        self._life = int(self._began.timestamp() * 1_000_000)
        self._number = 0
        self._kept.clear()
        self._known = Known()
        self._late.clear()
        self._waiting.clear()
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="feed")

    async def place(self) -> Mark:
        """Where the feed is, once it knows; UnavailableError when the database does not say."""
        try:
            async with asyncio.timeout(_PATIENCE_SECS):
                await self._ready.wait()
        except TimeoutError:
            raise UnavailableError("the database does not answer", retry_after=_AGAIN_SECS) from None
        return self.mark

    @property
    def mark(self) -> Mark:
        """The mark of what was told last."""
        return Mark(self._life, self._number, self._position)

    async def missed(self, since: Mark, listener: Listener) -> AsyncGenerator[bytes]:
        """The frames of what a listener has missed; from then on it is live."""
        kept = self._kept_behind(since)
        if kept is None:
            place, states = Place(since.position, ALL_ENTRIES if since.life else since.number), OrderedDict[UUID, str]()
            published, until = _EVER, monotonic() + LATE.total_seconds()
            while True:
                async for piece in feed_past.pieces(self._pool, place, states):
                    place, published = piece.changes[-1].place, piece.changes[-1].at
                    listener.hear(piece.changes, self._clock.now() - 2 * LATE)
                    yield listener.send(piece.told)
                if self._keeps_since(published) or monotonic() > until:
                    break
                await asyncio.sleep(_AGAIN_SECS / 2)
                # Who waits long is told at least where he is.
                yield b""
            # What is too new to have been published has been told lately, or is told from here on.
            lately = self._clock.now() - LATE
            kept = [told for at, told in self._kept if at > lately]
            listener.is_live, listener.heard_until = True, monotonic() + 2 * LATE.total_seconds()
            async for piece in feed_past.pieces(self._pool, place, states):
                listener.hear(piece.changes, _EVER)
                yield listener.send(piece.told)
        listener.is_live = True
        yield listener.send([one for one in kept if one.seq > listener.heard.get(one.about, 0)])

    def _keeps_since(self, at: datetime) -> bool:
        """Whether no event is dropped already that was told after that."""
        return len(self._kept) < KEPT or self._kept[0][0] < at

    def _kept_behind(self, since: Mark) -> list[Told] | None:
        """The events behind a mark of this life; None when they are not all kept."""
        oldest = self._kept[0][1].mark.number if self._kept else self._number + 1
        if since.life != self._life or not oldest <= since.number + 1 <= self._number + 1:
            return None
        return [told for _, told in self._kept if told.mark.number > since.number]

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        with self._bus.watch_all() as everything:
            next_at = 0.0
            while self._listeners:
                if not self._waiting:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(max(0.0, next_at - monotonic())):
                            await everything.moved.wait()
                part: list[UUID] = []
                try:
                    if monotonic() >= next_at:
                        await self._compare()
                        next_at = monotonic() + COMPARE_SECS
                    await self._read(everything, part)
                except (*Broken, TimeoutError, StraitError) as error:
                    # What waits is read with the next ones.
                    self._log.debug("feed_missed", error=type(error).__name__)
                    await asyncio.sleep(_AGAIN_SECS)
                except Exception as error:  # noqa: BLE001 - one run that cannot be told must not silence all others
                    self._log.warning("feed_failed", error=f"{type(error).__name__}: {error}", runs=len(part))
                    self._forget(part)
                    await asyncio.sleep(_AGAIN_SECS)

    async def _compare(self) -> None:
        """Find what has moved without a signal."""
        async with asyncio.timeout(_PATIENCE_SECS), self._pool.connection() as conn:
            head = await changes.head(conn)
            if not self._ready.is_set():
                self._compared = self._position = head
                self._ready.set()
            while self._compared < head and len(self._late) < MOST_WAITING:
                upto = min(head, self._compared + STRETCH)
                for about, first, last in await feed.moved_between(conn, self._compared, upto):
                    if last > self._known.of(about)[0]:
                        self._late.setdefault(about, first)
                self._compared = upto
        self._waiting.update(dict.fromkeys(self._late))

    async def _read(self, everything: Everything, part: list[UUID]) -> None:
        """Tell of some of what has moved; `part` is filled with these."""
        if everything.moved.is_set() or self._waiting:
            if not self._waiting:
                # Signals gather until the beat: a burst of moves of one run is one look.
                await self._looks.eve(self._watchers.count)

            def take() -> list[UUID]:
                if len(self._waiting) < MOST_WAITING:
                    self._waiting.update(dict.fromkeys(everything.take()))
                part[:] = islice(self._waiting, BATCH)
                return part

            looks = await self._looks.all(take)
            self._told_at = self._clock.now()
            for run_id in part:
                if run_id in looks:
                    self._tell_run(looks[run_id])
            await self._tell_flows([run_id for run_id in part if run_id not in looks])
            self._forget(part)
        if not self._late:
            self._position = self._compared

    def _forget(self, part: Sequence[UUID]) -> None:
        for about in part:
            self._waiting.pop(about, None)
            self._late.pop(about, None)

    def _tell_run(self, look: Look) -> None:
        run, course = look
        known, _ = self._known.of(run.id)
        steps, events, late = self._unheard(look, known), OfRun(run), run.id in self._late
        for step in steps:
            # A promotion bears the time for which it was planned.
            is_late = late or (step.at < self._began - _SLACK and step.event != Event.PROMOTE)
            self._tell(events.event(self._next_mark(), step, is_late=is_late))
        if steps or known:
            self._known.note(run.id, max(known, run.standing.seq), course.steps[-1].at, run.standing.status)

    def _unheard(self, look: Look, known: int) -> list[Step]:
        """The steps that have not been told, of a run of which so much is known.

        Nothing is known of one that is older than the feed, or was forgotten because it had not moved for long. What is
        not told then because it may have been before is found again if it had not: by its changes.
        """
        (run, course), since = look, self._since
        if known or run.standing.created_at >= since:
            return [step for step in course.steps if step.seq > known]
        first = self._late.get(run.id) or next((step.seq for step in course.steps if step.at > since), None)
        if first is None:
            return []
        # A promotion, as above.
        while first > 1 and any(step.seq == first - 1 and step.event == Event.PROMOTE for step in course.steps):
            first -= 1
        return [step for step in course.steps if step.seq >= first]

    @property
    def _since(self) -> datetime:
        """What happened before has been published, or told and forgotten."""
        return max(self._began - LATE, self._known.forgotten_at)

    async def _tell_flows(self, run_ids: list[UUID]) -> None:
        if not run_ids:
            return
        async with asyncio.timeout(_PATIENCE_SECS), self._pool.connection() as conn:
            flows = await feed.flows(conn, run_ids)
        for flow in flows:
            known, status = self._known.of(flow.id)
            for step in self._unheard_of_flow(flow, known, status):
                is_late = flow.id in self._late or step.at < self._began - _SLACK
                self._tell(feed_events.of_flow(self._next_mark(), flow, step, is_late=is_late))
            self._known.note(flow.id, max(known, flow.seq), flow.at, flow.status)

    def _unheard_of_flow(self, flow: Flow, known: int, status: str) -> list[FlowStep]:
        """The states that have not been told, of a workflow run of which so much is known."""
        if known or flow.id >= ids.first_at(self._since):
            return flow.since(known, status) if flow.seq >= known else []
        # An older one that runs may have run all along: it also moves with its steps.
        return flow.since(0, "")[-1:] if flow.status is not RunStatus.RUNNING else []

    def _next_mark(self) -> Mark:
        return Mark(self._life, self._number + 1, self._position)

    def _tell(self, told: Told) -> None:
        self._number = told.mark.number
        self._kept.append((self._told_at, told))
        for listener in self._listeners:
            listener.offer(told)
