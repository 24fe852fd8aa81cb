"""Whether the queue stays as fast as on its first day: aged, full, with a long history, under a held snapshot.

Each variant stands beside a fresh database measured just before it. `--size 20` ages and fills with
a million runs, and holds the snapshot for a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from statistics import fmean, harmonic_mean
from time import monotonic

import psycopg

from benchmarks import drains, invariants, noise, seed
from benchmarks.bed import Bed
from benchmarks.drains import Drained
from benchmarks.measure import Figure, Scale, Scenario, Target, ratio_at_least
from benchmarks.seed import SeededJob

SLOTS = 100
HOLD_SECS = (5, 60)
DRAINS = 4
SLICES, SLICE_SECS = 10, 0.15
FRESH = "fresh database"
Prepare = Callable[[Bed, str, SeededJob, Scale], AbstractContextManager[bool]]


@contextmanager
def aged(bed: Bed, url: str, job: SeededJob, scale: Scale) -> Iterator[bool]:
    """Many runs have come and gone. The yielded flag: whether runs stay queued behind those that are measured."""
    left = scale.of(50_000, 10_000) * scale.size
    while left > 0:
        size = min(left, 100_000)
        seed.more_queued(url, job, size)
        drains.null_drain(bed, url, size, slots=SLOTS)
        left -= size
    yield False


@contextmanager
def full(_bed: Bed, url: str, job: SeededJob, scale: Scale) -> Iterator[bool]:
    """Many runs are queued."""
    seed.more_queued(url, job, 1)
    seed.copies(url, scale.of(50_000, 10_000) * scale.size, ended=False)
    yield True


@contextmanager
def long_history(bed: Bed, url: str, job: SeededJob, scale: Scale) -> Iterator[bool]:
    """Many runs have ended."""
    seed.more_queued(url, job, 100)
    drains.null_drain(bed, url, 100, slots=SLOTS)
    seed.copies(url, scale.of(50_000, 10_000) * scale.size, ended=True)
    yield False


@contextmanager
def held(bed: Bed, url: str, job: SeededJob, scale: Scale) -> Iterator[bool]:
    """Somebody has forgotten a transaction, and runs come and go for so long that dead rows pile up."""
    with closing(psycopg.connect(url)) as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        conn.execute("SELECT count(*) FROM strait.runs")
        until = monotonic() + (HOLD_SECS[1] if scale.size > 1 else HOLD_SECS[0])
        while monotonic() < until:
            seed.more_queued(url, job, 20_000)
            drains.null_drain(bed, url, 20_000, slots=SLOTS)
        yield False


VARIANTS: Sequence[tuple[str, Prepare, Target]] = (
    ("after many cycles", aged, ratio_at_least(0.85)),
    ("with many queued", full, ratio_at_least(0.85)),
    ("with a long history", long_history, ratio_at_least(0.85)),
    ("under a held snapshot", held, ratio_at_least(0.6)),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A fresh database and the other, in this order."""

    rates: tuple[float, float]
    postgres_us: tuple[float, float]
    claims: tuple[float, float]


def once(bed: Bed, scale: Scale, prepare: Prepare) -> Compared:
    """Drains and claims of one by turns, so that whatever else the machine does hits both alike."""
    count = scale.of(20_000, 4_000)
    with bed.database() as old:
        job = seed.queued(old, drains.NOWHERE, 0)
        with prepare(bed, old, job, scale) as more:
            fresh, other = [], []
            for turn in range(DRAINS):
                if turn % 2 == 0:
                    fresh.append(drains.through_nobody(bed, count, slots=SLOTS))
                seed.more_queued(old, job, count)
                other.append(drains.null_drain(bed, old, count, slots=SLOTS, more=more))
                if turn % 2 == 1:
                    fresh.append(drains.through_nobody(bed, count, slots=SLOTS))
            invariants.check(old)
            with bed.database() as new:
                seed.queued(new, drains.NOWHERE, 10_000)
                seed.more_queued(old, job, 10_000)
                claims = seed.single_claims([new, old], SLICES, SLICE_SECS)
        return Compared(
            (_rate(fresh), _rate(other)),
            (fmean(each.postgres_us for each in fresh), fmean(each.postgres_us for each in other)),
            (claims[0], claims[1]),
        )


def _rate(drained: Sequence[Drained]) -> float:
    """Runs a second over all drains of as many runs: the slow ones take more of the time."""
    return harmonic_mean(each.rate for each in drained)


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    figures = []
    for name, prepare, target in VARIANTS:
        drained = Figure(f"noop drain {name}", "runs/s", ceiling=FRESH, target=target)
        database = Figure(f"PostgreSQL CPU per run {name}", "µs", ceiling=FRESH)
        claims = Figure(f"claim of one {name}", "claims/s", ceiling=FRESH, target=target)
        # Each round has its own fresh database to stand beside, and takes long: a third of the rounds is enough.
        fewer = replace(scale, rounds=max(1, scale.rounds // 3))
        for _ in noise.rounds(fewer, [drained, database, claims]):
            found = once(bed, scale, prepare)
            drained.add(found.rates[1], found.rates[0])
            database.add(found.postgres_us[1], found.postgres_us[0])
            claims.add(found.claims[1], found.claims[0])
        figures += [drained, database, claims]
    return figures


SCENARIO = Scenario(
    "flat", "aged, full, with history, under a held snapshot, each beside a fresh database", measure, long=True
)
