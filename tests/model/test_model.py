"""Random histories from several connections: after each step the database is as the model says, and no invariant breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from strait_core.run import TRANSITIONS
from strait_daemon.embedded import PostgresServer
from tests.model.parts import WALKED
from tests.model.twice import Twice
from tests.model.world import World
from tests.support.figures import Figures
from tests.support.postgres import create_database, drop_database, unique_name
from tests.support.sizes import SEED, size

STEPS = size(ci=2_000, soak=200_000)
PER_EXAMPLE = size(ci=60, soak=150)
# How many of all ways and moves may be left out: chance has to find them, and has little time in CI.
LEFT_OUT = size(ci=6, soak=0)
# What must have happened: a model test that never gets anywhere would pass too.
WAYS = {
    "trigger", "claim", "claims at once", "start", "end", "end retry", "drain", "release", "system_fail", "cancel",
    "replay", "reschedule", "promote", "expire", "reap", "delete", "edit limits", "park", "completion trigger",
    "wait for event", "wait for run", "spawn", "spawn and wait", "send", "cancel event", "wait timed out", "accept",
    "run heartbeat", "say complete", "say fail", "lapse by time", "lapse by heartbeat",
}  # fmt: skip


@pytest.fixture
def world(postgres_server: PostgresServer, migrated_template: str) -> Iterator[World]:
    """A database of its own, and connections to it."""
    name = unique_name()
    url = create_database(postgres_server, name, migrated_template)
    with asyncio.Runner() as runner:
        opened = World.open(runner, url)
        yield opened
        opened.close()
    drop_database(postgres_server, name)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(size(ci=600, soak=0))
def test_every_history_is_as_the_model_says(world: World, figures: Figures):
    """At least 2,000 random steps (200,000 in a soak), the whole state compared after each; every move of the table."""
    Twice.world, Twice.taken, Twice.came = world, Counter(), Counter()
    WALKED.clear()
    missing: set[object] = set()
    drawn = settings(
        max_examples=20,
        stateful_step_count=PER_EXAMPLE,
        database=None,
        derandomize=False,
        # A long history is what is wanted.
        suppress_health_check=[HealthCheck.large_base_example],
    )
    # How many steps an example takes is for Hypothesis to say; and on it goes until each kind has been taken with effect.
    for number in count(SEED * 1_000_000):
        run_state_machine_as_test(seed(number)(Twice), settings=drawn)
        happened = [*Twice.taken, *Twice.came]
        done = {what.partition(":")[0] for what in happened if what.endswith(("done", "some"))}
        missing = {*(WAYS - done), *(set(TRANSITIONS) - WALKED)}
        if Twice.taken.total() >= STEPS and (len(missing) <= LEFT_OUT or Twice.taken.total() > 3 * STEPS):
            break
    taken = (f"{what} {n}," for what, n in (Twice.taken + Twice.came).most_common() if not what.startswith("at once"))
    pairs = sum(n for what, n in Twice.taken.items() if what.startswith("at once"))
    figures.note("model: steps compared", Twice.taken.total(), f"(two at once {pairs}),", *taken)
    assert len(missing) <= LEFT_OUT, missing
