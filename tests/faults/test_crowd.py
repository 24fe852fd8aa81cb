"""A crowd of watchers on one process, replaced as their runs end, beside others who ask for streams and do not read."""

from __future__ import annotations

from typing import Final

import pytest

from benchmarks.bed import Bed
from benchmarks.crowd import LISTENERS, STALLED
from benchmarks.scenarios.watchers import Plan, crowd
from strait_daemon.api.feed_stream import TOO_SLOW
from tests.support.figures import Figures
from tests.support.sizes import SOAK, size

# In CI 60 watchers, and 20 runs a second end that are watched beside 180 others; in a soak 2,000, 100 and 400. What is
# told in four seconds of CI is more than the buffers below a stream take, and less than a listener may be behind.
PLAN: Final = size(ci=Plan(20, 180, 3.0, 8.0, gather=5.0, parts=2), soak=Plan(100, 400, 20.0, 40.0, gather=20.0))
# From the end of a run to who hears of it, p99. Other tests share CI's machine.
MOST_LATE_MS: Final = size(ci=2_000, soak=250)
# How much later it may be while others stall than half as late again as while nobody does.
STALL_MS: Final = size(ci=1_000, soak=50)
# What the feed knows of runs takes 10 MB of it in a soak; watchers that left, at 20 KB each, would take 40 more if kept.
MOST_GROWN_MB: Final = size(ci=16, soak=48)
WAY: Final = "snapshot queued dequeued executing completed"


@pytest.mark.slow
@pytest.mark.soak
def test_everybody_in_a_crowd_hears_every_end_in_time(figures: Figures):
    """Each state once and in order, no end unheard or late, no memory kept; who does not read is dropped, or waits."""
    with Bed.made() as bed:
        seen = crowd(bed, PLAN, watch=True)
    said = seen.said
    for who in ("watchers", "listeners"):
        late = " / ".join(f"{said[who][name]:.0f}" for name in ("calm_p99_ms", "stalled_p99_ms"))
        figures.note(
            f"a crowd of {PLAN.watched * PLAN.hold:.0f}", f"end to {who}, p99, nobody / some stall", late, "ms"
        )
    figures.note(f"a crowd of {PLAN.watched * PLAN.hold:.0f}", f"memory grown by {seen.grown:.1f} MB")
    assert seen.never_heard == 0
    assert said["ways"] == {WAY: PLAN.watched * PLAN.secs}
    assert len(said["listened"]) == LISTENERS
    assert min(said["listened"]) > PLAN.watched * PLAN.secs
    assert seen.grown < MOST_GROWN_MB
    # Of a large run of its own nothing is left out, whenever it is read; of all runs 5,000 moves wait.
    of_all, of_one = said["stalled"]
    assert of_one == ["whole"] * STALLED
    assert of_all == ([TOO_SLOW] if SOAK else ["whole"]) * STALLED
    for late in (said["watchers"], said["listeners"]):
        assert late["calm_p99_ms"] < MOST_LATE_MS
        assert late["stalled_p99_ms"] < MOST_LATE_MS
        assert late["stalled_p99_ms"] < 1.5 * late["calm_p99_ms"] + STALL_MS
