"""Watchers through everything that can go away between a run and who watches it.

CI: 48 watchers of runs at once, 2 of workflow runs, one listener to everything, 8 faults; a soak: 1,000, 20, two, 20 faults.
Runs end, and are canceled, before each fault, while whatever it is is away, and after it has come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from typing import Any, Final

import pytest

from strait_core.run import TERMINAL
from tests.faults.checks import expect_promises_kept, wait_for_all
from tests.faults.stage import Stage, staged
from tests.faults.watching import Crowd, Listener, Move, crowding, listening
from tests.support.daemon import Daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.sizes import size
from tests.support.waiting import eventually

FAULTS, RUNS, FLOWS, LISTENERS, PROGRAMS = size(ci=(8, 6, 2, 1, 1), soak=(20, 50, 20, 2, 4))
# Of the runs of each fault so many end before it, and in each of the three portions of its outage; one is canceled, and the
# others are there for those that cannot end in time.
CALM, PORTION = size(ci=(1, 1), soak=(15, 10))
# Fewer than there are, so that runs also begin when others have ended.
WORKER: Final = {"WORKER_POOL_SIZE": str(size(ci=6, soak=60))}
JOB: Final[dict[str, Any]] = {
    "max_attempts": 100, "retry_strategy": "fixed", "breaker_threshold": 0, "timeout_secs": 3_600,
}  # fmt: skip
WAIT_SECS: Final = size(ci=30, soak=120)


class Scene:
    """Runs on a stage, what each is to come to, and those who watch them."""

    def __init__(self, stage: Stage, fates: dict[str, str], crowd: Crowd) -> None:
        self.stage = stage
        self.fates = fates
        self.crowd = crowd
        self._untouched = list(fates)

    def end_some(self, count: int) -> list[str]:
        """Let so many runs end; those of them that are watched."""
        runs = [run for run in self.stage.end_some(count) if run in self.fates]
        self._untouched = [run for run in self._untouched if run not in runs]
        return runs

    def cancel_one(self, by: str) -> list[str]:
        """Cancel a run that was to come late, at one of the daemons."""
        run = self._untouched.pop()
        self.stage.cancel(run, by)
        self.fates[run] = "canceled"
        return [run]

    def expect_seen(self, runs: list[str]) -> None:
        """The watchers of these come to their ends."""
        eventually(lambda: not {*runs} & {*self.crowd.left}, WAIT_SECS, lambda: f"not over: {self.crowd.left}")

    @contextmanager
    def streams_back(self) -> Iterator[None]:
        """What is done in the block lets everybody have another stream."""
        before = self.crowd.streams
        yield
        eventually(lambda: all(now > before[about] for about, now in self.crowd.streams.items()), WAIT_SECS)


def lose_redis(scene: Scene) -> list[str]:
    """What the other process does is seen while no signal comes from there."""
    scene.stage.kill_redis()
    runs = scene.end_some(3 * PORTION) + scene.cancel_one("back")
    scene.expect_seen(runs)
    scene.stage.start_redis()
    return runs


def lose_backends(scene: Scene) -> list[str]:
    """Again and again, while runs end."""
    runs: list[str] = []
    for _ in range(3):
        scene.stage.kill_backends()
        runs += scene.end_some(PORTION)
    scene.stage.kill_backends()
    return runs + scene.cancel_one("back")


def lose_front(scene: Scene) -> list[str]:
    """The other one goes on; whoever comes back hears of all that it did."""
    scene.stage.kill("front")
    runs = scene.end_some(3 * PORTION) + scene.cancel_one("back")
    with scene.streams_back():
        scene.stage.start("front")
    return runs


def lose_back(scene: Scene) -> list[str]:
    """What it executed goes on in this one."""
    scene.stage.kill("back")
    runs = scene.end_some(3 * PORTION) + scene.cancel_one("front")
    scene.expect_seen(runs)
    scene.stage.start("back")
    return runs


def lose_network(scene: Scene) -> list[str]:
    """What was on its way is lost, and for a while nobody comes through."""
    line = scene.stage.line
    line.do(line.proxy.freeze)
    runs = scene.end_some(PORTION)
    line.do(line.proxy.refuse)
    line.do(line.proxy.thaw)
    runs += scene.end_some(2 * PORTION) + scene.cancel_one("front")
    with scene.streams_back():
        line.do(line.proxy.refuse, False)
    return runs


IN_TURN: Final[tuple[Callable[[Scene], list[str]], ...]] = (
    lose_redis, lose_backends, lose_front, lose_network, lose_redis, lose_backends, lose_back, lose_network,
)  # fmt: skip


def prepare(daemon: Daemon, endpoint: Endpoint) -> None:
    """The jobs, and a workflow of three steps whose runs are executed before all others."""
    daemon.make_job(endpoint.url("/ok"), "canary")
    daemon.make_job(endpoint.url("/turn/200"), "good", **JOB)
    daemon.make_job(endpoint.url("/turn/422"), "bad", **JOB)
    daemon.make_job(endpoint.url("/turn/200"), "step", priority=5, **JOB)
    steps = [{"step_ref": ref, "job_id": "step", "depends_on": before} for ref, before in (("a", []), ("b", ["a"]))]
    steps.append({"step_ref": "c", "job_id": "step", "depends_on": ["b"]})
    body = {"project_id": "p", "name": "flow", "slug": "flow", "steps": steps}
    daemon.call("POST", "/v1/workflows", body, status=201)


def hear(stack: ExitStack, stage: Stage) -> list[Listener]:
    """Those who listen, by the line and at the other daemon, and hear."""
    urls = islice(cycle([stage.line.url, stage.daemons["back"].url]), LISTENERS)
    listeners = [stack.enter_context(listening(url)) for url in urls]

    def heard() -> bool:
        stage.daemons["front"].trigger("canary")
        return all(listener.shown for listener in listeners)

    eventually(heard, WAIT_SECS)
    return listeners


def trigger(daemon: Daemon) -> tuple[dict[str, str], list[str]]:
    """The runs, each with what it is to come to, and the workflow runs."""
    flows = [daemon.call("POST", "/v1/workflows/flow/trigger", {}, status=201)["id"] for _ in range(FLOWS)]
    fates: dict[str, str] = {}
    for _ in range(FAULTS):
        fates |= dict.fromkeys(daemon.trigger_many(RUNS // 5, "bad"), "failed")
        fates |= dict.fromkeys(daemon.trigger_many(RUNS - RUNS // 5, "good"), "completed")
    return fates, flows


def go_through(scene: Scene) -> None:
    """One fault after the other, and then to the end."""
    eventually(lambda: all(scene.crowd.streams.values()), WAIT_SECS)
    for lose in islice(cycle(IN_TURN), FAULTS):
        scene.expect_seen(scene.end_some(CALM))
        scene.expect_seen(lose(scene))

    def is_over() -> bool:
        scene.stage.endpoint.let(scene.stage.endpoint.waiting)
        return not scene.crowd.left

    eventually(is_over, WAIT_SECS, lambda: f"not over: {scene.crowd.left}")


def expect_runs_seen(scene: Scene, courses: dict[str, list[Move]]) -> None:
    """Every watcher saw its run end as it was to, and on the way each state once, in order, none left out."""
    for run, fate in scene.fates.items():
        watched, course = scene.crowd.of[run], courses[run]
        assert course[-1][1] == fate
        assert fate in TERMINAL
        assert watched.shown == course[watched.shown[0][0] - 1 :]
        # What was shown while no stream was to be had, a stream may tell once more, but none twice.
        assert set(watched.told) <= set(course)
        assert [seq for seq, _ in watched.told] == sorted({seq for seq, _ in watched.told})


def expect_flows_seen(crowd: Crowd, flows: list[str]) -> None:
    """So did those of workflow runs; of each step no state twice, none out of order, and its end."""
    way = ["pending", "running", "completed"]
    for flow in flows:
        assert crowd.of[flow].moved == crowd.of[flow].heard == ["running", "completed"]
        assert set(crowd.of[flow].steps) == set("abc")
        for shown in crowd.of[flow].steps.values():
            assert shown == [state for state in way if state in shown]
            assert shown[-1] == way[-1]


def expect_heard(listener: Listener, courses: dict[str, list[Move]], flows: list[str]) -> None:
    """Whoever listened was shown every state of every run, each once, in order."""

    def missing() -> list[str]:
        heard = listener.heard
        ended = [run for run in courses if heard[run][-1:] == courses[run][-1:]]
        return list(courses.keys() - ended) + [flow for flow in flows if len(heard[flow]) < 2]

    eventually(lambda: not missing(), WAIT_SECS, lambda: f"not heard of the end of {missing()}")
    heard = listener.heard
    assert {run: heard[run] for run in courses} == courses
    for flow in flows:
        assert [state for _, state in heard[flow]] == ["running", "completed"]
        assert heard[flow] == sorted(heard[flow])


def courses_of(daemon: Daemon, runs: set[str]) -> dict[str, list[Move]]:
    """Every state of these runs, each with its seq."""

    def course(run: str) -> list[Move]:
        events = daemon.call("GET", f"/v1/runs/{run}/events?limit=200")["data"]
        return [(event["seq"], event["status"]) for event in events]

    return {run: course(run) for run in sorted(runs)}


def note(figures: Figures, crowd: Crowd, listeners: list[Listener]) -> None:
    """What was done, and seen."""
    watched = crowd.of.values()
    figures.note(
        "watchers through faults",
        f"{len(watched)} and {len(listeners)} listeners at once through {FAULTS} faults:",
        f"{sum(one.streams - 1 for one in watched)} streams found again, {sum(one.lost for one in watched)} losses told,",
        f"{sum(len(one.told) for one in watched)} states told, {sum(len(one.shown) for one in watched)} shown,",
        f"{sum(len(listener.shown) for listener in listeners)} heard",
    )


@pytest.mark.slow
@pytest.mark.soak
def test_every_watcher_ends_with_its_run(database: str, endpoint: Endpoint, figures: Figures):
    """Redis, the backends, a daemon, the network, in turn: each state once, in order, none left out, to the end."""
    with staged(database, endpoint, WORKER) as stage, ExitStack() as stack:
        prepare(stage.daemons["back"], endpoint)
        listeners = hear(stack, stage)
        fates, flows = trigger(stage.daemons["back"])
        crowd = stack.enter_context(crowding(stage.line.url, [*fates, *flows], PROGRAMS))
        scene = Scene(stage, fates, crowd)
        go_through(scene)
        wait_for_all(database)
        courses = courses_of(
            stage.daemons["back"], {call.run for call in endpoint.calls if call.path != "/ok"} | {*fates}
        )
        expect_runs_seen(scene, courses)
        expect_flows_seen(crowd, flows)
        for listener in listeners:
            expect_heard(listener, courses, flows)
    note(figures, crowd, listeners)
    expect_promises_kept(database, endpoint)
