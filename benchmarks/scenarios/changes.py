"""What the feed of changes costs: drains with it, and with the statements of a run's way as they are without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

import psycopg

from benchmarks import drains, invariants, noise, seed
from benchmarks.bed import Bed
from benchmarks.measure import Figure, Scale, Scenario, ratio_at_most

IN_FLIGHT: Final = 64
# What is looked for is a few microseconds of a few hundred: fewer rounds tell nothing.
LEAST_ROUNDS: Final = 9
# A run is queued, dequeued, executed, completed.
MOVES: Final = 4
_TOLD: Final = b"SELECT coalesce(sum(cardinality(ids)), 0)::bigint FROM strait.changes WHERE kind = 'run'"


def through_endpoint(bed: Bed, count: int, *, feed: bool) -> float:
    """CPU microseconds a run, of daemon and PostgreSQL together, calls to the endpoint among it."""
    bed.endpoint.reset()
    return _drain(bed, count, bed.endpoint.url(), [], lambda: bed.endpoint.stats()["requests"], feed=feed)


def through_nobody(bed: Bed, count: int, *, feed: bool) -> float:
    """The same of runs that call nobody: less beside which the feed could hide."""
    counter = bed.folder / "calls"
    counter.write_bytes(bytes(8))
    return _drain(bed, count, drains.NOWHERE, ["--null", str(counter)], lambda: drains.number(counter), feed=feed)


def _drain(bed: Bed, count: int, endpoint: str, words: list[str], arrived: Callable[[], int], *, feed: bool) -> float:
    changed = words if feed else [*words, "--without-feed"]
    with bed.database() as url:
        seed.queued(url, endpoint, count)
        with bed.daemon(url, mode="worker", changed=changed, WORKER_POOL_SIZE=str(IN_FLIGHT)) as daemon:
            # Publishing is a part of it, so it is over when the last change is published.
            drained = drains.watch(bed, url, daemon, count, arrived, folded=True)
        _check(url, MOVES * count if feed else 0)
        invariants.check(url, finished=count)
    return drained.daemon_us + drained.postgres_us


def _check(url: str, wanted: int) -> None:
    """Raise when another number of changes of runs was told than is compared here."""
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        (told,) = conn.execute(_TOLD).fetchone() or (0,)
    if told != wanted:
        raise AssertionError(f"the feed tells {told} changes of runs, not {wanted}")


def measure(bed: Bed, scale: Scale) -> Sequence[Figure]:
    count = scale.of(20_000, 2_000)
    plain = "without the feed"
    called = Figure("CPU per run with the feed of changes", "µs", ceiling=plain, target=ratio_at_most(1.05))
    nobody = Figure("noop: CPU per run with the feed of changes", "µs", ceiling=plain)
    figures = [called, nobody]
    enough = scale if scale.quick else replace(scale, rounds=max(scale.rounds, LEAST_ROUNDS))
    for number in noise.rounds(enough, figures):
        for figure, drain in ((called, through_endpoint), (nobody, through_nobody)):
            # By turns: whoever comes second finds a warmer machine.
            feeds = (True, False) if number % 2 else (False, True)
            spent = {feed: drain(bed, count, feed=feed) for feed in feeds}
            figure.add(spent[True], spent[False])
    return figures


SCENARIO = Scenario(
    "changes", f"drains with the feed of changes and without, {LEAST_ROUNDS} rounds", measure, long=True
)
