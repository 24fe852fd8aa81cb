"""The feed: the transitions of all runs and workflow runs, read once for everybody who listens in this process.

Signals name the runs that moved. What moved is read from the database, so that moves nobody saw in between are told as
well, each once and in the order of the run. The last ten thousand events are kept for those who come back.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from strait_core import ids
from strait_core.errors import StraitError
from strait_core.ids import Prefix
from strait_core.run import Status
from strait_core.store import feed, watch
from strait_core.store.faults import Broken
from strait_core.store.pool import Pool
from strait_core.workflow.states import RunStatus
from strait_daemon.api.looks import Look, Looks
from strait_daemon.api.operation import encode
from strait_daemon.bus import Bus, Everything
from strait_daemon.clock import Clock

# Events kept for who comes back, and those that one listener may be behind before it is dropped.
KEPT: Final = 10_000
BEHIND: Final = 5_000
# Runs and workflow runs read by one statement.
BATCH: Final = 500
LOOK_SECS: Final = 5.0
_KNOWN: Final = 50_000
_ID: Final = re.compile(rb"(\d{1,17})\.(\d{1,15})\.(\d{1,14})\Z")


class FeedStatus(Struct, omit_defaults=True, kw_only=True):
    """Data of a `status` event of a run on the feed."""

    run_id: str
    status: Status
    attempt: int
    at: datetime
    job_id: str
    job_slug: str
    project_id: str
    reason: str | None = None


class FeedWorkflowStatus(Struct, kw_only=True):
    """Data of a `status` event of a workflow run on the feed."""

    workflow_run_id: str
    status: RunStatus
    at: datetime
    workflow_id: str
    workflow_slug: str
    project_id: str


class Told(NamedTuple):
    """An event of the feed: its number, what filters look at, and its frame."""

    number: int
    project_id: str
    job_id: UUID | None
    workflow_id: UUID | None
    status: str
    frame: bytes


Filter = Callable[[Told], bool]


@dataclass(eq=False, slots=True)
class Listener:
    """One stream of the feed: what it wants, and what it has not been sent yet."""

    wants: Filter
    waiting: deque[bytes] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_behind: bool = False

    def offer(self, told: Told) -> None:
        """Take an event if it is wanted; who is too far behind takes none any more."""
        if self.is_behind or not self.wants(told):
            return
        if len(self.waiting) >= BEHIND:
            self.is_behind = True
        else:
            self.waiting.append(told.frame)
        self.news.set()


class Feed:
    """All moves, as long as somebody listens."""

    def __init__(self, pool: Pool, looks: Looks, bus: Bus, clock: Clock, log: Any) -> None:
        self._pool = pool
        self._looks = looks
        self._bus = bus
        self._clock = clock
        self._log = log
        self._life = 0
        self._number = 0
        self._kept: deque[Told] = deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()
        self._known: OrderedDict[UUID, int] = OrderedDict()
        self._flows: OrderedDict[UUID, str] = OrderedDict()
        self._began = datetime.min.replace(tzinfo=UTC)
        self._task: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listen(self, wants: Filter) -> Iterator[Listener]:
        """Hear of everything from now on that is wanted."""
        listener = Listener(wants)
        if self._task is None or self._task.done():
            self._begin()
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
        self._known.clear()
        self._flows.clear()
        self._task = asyncio.create_task(self._run(), name="feed")

    def resume(self, since: tuple[int, int, int], wants: Filter) -> list[bytes] | datetime:
        """The wanted events behind the id `since` (life, number, milliseconds), or when to look from."""
        life, number, millis = since
        oldest = self._kept[0].number if self._kept else self._number + 1
        if life == self._life and oldest <= number + 1 <= self._number + 1:
            return [told.frame for told in self._kept if told.number > number and wants(told)]
        return datetime.fromtimestamp(millis / 1000, UTC)

    async def missed(self, since: datetime, wants: Filter) -> list[bytes]:
        """Where everything wanted stands that may have moved since then."""
        async with self._pool.connection() as conn:
            moved = await feed.moved_since(conn, since)
            found: list[Told] = []
            for at in range(0, len(moved), BATCH):
                part = moved[at : at + BATCH]
                for look in (await watch.looks(conn, part)).values():
                    last = look[1].steps[-1]
                    if last.at > since:
                        found += self._run_events(look, after=last.seq - 1)
                found += [self._flow_event(flow) for flow in await feed.flows(conn, part)]
        return [told.frame for told in found if wants(told)]

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        with self._bus.watch_all() as everything:
            while self._listeners:
                try:
                    async with asyncio.timeout(LOOK_SECS):
                        await everything.moved.wait()
                except TimeoutError:
                    continue
                # Signals gather until the beat: a burst of moves of one run is one look.
                await self._looks.eve()
                moved: list[UUID] = []
                try:
                    await self._read(everything, moved)
                except (*Broken, TimeoutError, StraitError) as error:
                    # Read with the next ones.
                    everything.add(moved)
                    self._log.debug("feed_missed", error=type(error).__name__)
                    await asyncio.sleep(LOOK_SECS / 5)

    async def _read(self, everything: Everything, moved: list[UUID]) -> None:
        """Tell of all that has moved; `moved` is filled with what was taken for that."""
        if everything.missed:
            await self._find_missed(everything)

        def take() -> list[UUID]:
            moved.extend(everything.take())
            return moved

        looks = await self._looks.all(take)
        for run_id in moved:
            if run_id in looks:
                self._tell_run(looks[run_id])
        flows = [run_id for run_id in moved if run_id not in looks]
        if flows:
            async with self._pool.connection() as conn:
                for at in range(0, len(flows), BATCH):
                    for flow in await feed.flows(conn, flows[at : at + BATCH]):
                        self._tell_flow(flow)

    async def _find_missed(self, everything: Everything) -> None:
        everything.missed = False
        try:
            async with self._pool.connection() as conn:
                everything.add(await feed.moved_since(conn, self._began - timedelta(seconds=1)))
        except BaseException:
            everything.miss()
            raise

    def _tell_run(self, look: Look) -> None:
        run, seq, created_at = look[0].id, look[0].standing.seq, look[0].standing.created_at
        known = self._known.get(run)
        if known is None:
            # A run that is older than the feed begins with where it stands.
            known = 0 if created_at >= self._began - timedelta(seconds=1) else seq - 1
        if seq > known:
            for told in self._run_events(look, after=known):
                self._tell(told)
            _remember(self._known, run, seq)

    def _tell_flow(self, flow: feed.Flow) -> None:
        if self._flows.get(flow.id) != flow.status:
            _remember(self._flows, flow.id, str(flow.status))
            self._tell(self._flow_event(flow))

    # ── events ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, told: Told) -> None:
        self._number = told.number
        self._kept.append(told)
        for listener in self._listeners:
            listener.offer(told)

    def _run_events(self, look: Look, *, after: int) -> Iterator[Told]:
        """The events of a run's steps behind that seq, as numbers are given out."""
        run, course = look
        run_id, job_id = ids.spell(Prefix.RUN, run.id), ids.spell(Prefix.JOB, run.job_id)
        for step in course.steps:
            if step.seq <= after:
                continue
            said = FeedStatus(
                run_id=run_id,
                status=step.status,
                attempt=step.attempt,
                at=step.at,
                job_id=job_id,
                job_slug=run.job_slug,
                project_id=run.project_id,
                reason=step.reason,
            )
            number = self._number + 1
            yield Told(number, run.project_id, run.job_id, None, step.status, self._frame(number, step.at, said))

    def _flow_event(self, flow: feed.Flow) -> Told:
        said = FeedWorkflowStatus(
            workflow_run_id=ids.spell(Prefix.WORKFLOW_RUN, flow.id),
            status=flow.status,
            at=flow.at,
            workflow_id=ids.spell(Prefix.WORKFLOW, flow.workflow_id),
            workflow_slug=flow.workflow_slug,
            project_id=flow.project_id,
        )
        number = self._number + 1
        return Told(number, flow.project_id, None, flow.workflow_id, flow.status, self._frame(number, flow.at, said))

    def _frame(self, number: int, at: datetime, data: Struct) -> bytes:
        identity = b"%d.%d.%d" % (self._life, number, int(at.timestamp() * 1_000))
        return b"event: status\nid: %s\ndata: %s\n\n" % (identity, encode(data))


def read_id(header: bytes | None) -> tuple[int, int, int] | None:
    """The life, the number and the milliseconds of a `Last-Event-ID`; None when it is none of ours."""
    match = _ID.match(header or b"")
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def _remember(known: OrderedDict[UUID, Any], run_id: UUID, value: Any) -> None:
    known[run_id] = value
    known.move_to_end(run_id)
    if len(known) > _KNOWN:
        known.popitem(last=False)
