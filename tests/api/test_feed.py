"""The feed of all runs: every move from whichever route, filters, coming back, places that run out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import pytest

from strait_core.run import Status
from strait_daemon.api import feed, feed_events, feed_stream, watchers
from strait_daemon.api.feed import Listener
from strait_daemon.api.feed_events import Mark, Told
from tests.api.caller import Caller, uuid_of
from tests.api.test_workflow_runs import end, make, start
from tests.api.test_workflow_stream import events, let_begin

Event = tuple[str, str, Any]
WAY: Final = ("queued", "dequeued", "executing", "completed")


@contextmanager
def listening(api: Caller, since: str | None = None, **query: str) -> Iterator[Iterator[Event]]:
    """The events of the feed in the test's project, heard from the moment the block begins."""
    headers = {} if since is None else {"Last-Event-ID": since}
    params = {"project_id": api.project, **query}
    with api.client.stream("GET", "/v1/stream", headers=headers, params=params) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("retry")
        yield events(lines)


def states(seen: list[Event]) -> list[tuple[str, str]]:
    """Whose, and whereto."""
    return [(data.get("job_slug") or data["workflow_slug"], data["status"]) for _, _, data in seen]


def take(coming: Iterator[Event], count: int) -> list[Event]:
    """The next so many."""
    return [next(coming) for _ in range(count)]


def test_every_move_of_a_run_is_told(api: Caller):
    """From its creation to its end in order, the states between two looks as well."""
    job = api.make_job("fed")
    with listening(api) as coming:
        run = api.trigger(job)
        api.complete(run)
        seen = take(coming, 4)
    assert states(seen) == [("fed", state) for state in ("queued", "dequeued", "executing", "completed")]
    assert {data["run_id"] for _, _, data in seen} == {run["id"]}
    numbers = [int(identity.split(".")[1]) for _, identity, _ in seen]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert [data["seq"] for _, _, data in seen] == [1, 2, 3, 4]


def test_moves_by_other_routes_are_told(api: Caller):
    """A cancel, a replay, a bulk cancel, a run that a step of a workflow made, the workflow run itself."""
    job = api.make_job()
    make(api, {"step_ref": "a"})
    with listening(api) as coming:
        run = api.trigger(job)
        api.call("POST", f"/v1/runs/{run['id']}/cancel", {})
        assert states(take(coming, 2)) == [("job", "queued"), ("job", "canceled")]
        dead = api.trigger(job)
        api.complete(dead, Status.DEAD_LETTER)
        api.call("POST", f"/v1/runs/{dead['id']}/replay", {})
        api.call("POST", "/v1/runs/bulk-cancel", {"ids": [dead["id"]]})
        seen = states(take(coming, 6))
        assert seen[-3:] == [("job", "dead_letter"), ("job", "queued"), ("job", "canceled")]
        flow = start(api, "flow")
        assert sorted(states(take(coming, 2))) == [("flow", "running"), ("job", "queued")]
        end(api, flow, "a")
        assert ("flow", "completed") in states(take(coming, 4))


def test_the_feed_can_be_narrowed(api: Caller):
    """By job, by workflow, by state; what is not known is refused."""
    one, other = api.make_job("one"), api.make_job("other")
    with listening(api, job_id="one") as coming, listening(api, status="completed,canceled") as over:
        api.trigger(other)
        run = api.trigger(one)
        api.complete(run)
        assert states(take(coming, 4))[0] == ("one", "queued")
        assert states(take(over, 1)) == [("one", "completed")]
    api.refuse("GET", "/v1/stream?status=gone", status=422)
    api.refuse("GET", "/v1/stream?job_id=nobody", status=404)
    api.refuse("GET", "/v1/stream?color=red", status=422)


def test_a_listener_comes_back(api: Caller):
    """Behind its last id it hears what it missed, once; with one of another process every move since that place."""
    job = api.make_job("back")
    with listening(api) as coming, listening(api):
        first = api.trigger(job)
        last = take(coming, 1)[0][1]
        with listening(api, since=last) as again:
            api.complete(first)
            assert [state for _, state in states(take(again, 3))] == ["dequeued", "executing", "completed"]
    with listening(api, since=elsewhere(last)) as coming:
        assert [state for _, state in states(take(coming, 4))] == list(WAY)


def take_until(coming: Iterator[Event], last: set[tuple[str, str]], runs: int) -> list[Event]:
    """The next events until these have come and so many runs have ended."""
    seen: list[Event] = []
    while not last <= set(states(seen)) or sum("run_id" in one[2] for one in seen) < runs * len(WAY):
        seen.append(next(coming))
    return seen


def elsewhere(identity: str) -> str:
    """The id as another process gave it."""
    life, number, position = identity.split(".")
    return f"{int(life) - 1}.{number}.{position}"


@pytest.mark.parametrize("published", [True, False])
def test_nothing_is_lost_between_two_processes(api: Caller, published: bool):
    """What happened while nobody listened is told to the last move; cut off in the middle, from there on."""
    job, _ = api.make_job("away"), api.make_job()
    make(api, {"step_ref": "a"})
    place = first_id(api)
    for _ in range(3):
        api.complete(api.trigger(job))
    end(api, start(api, "flow"), "a")
    if published:
        api.fold()
    with listening(api, since=elsewhere(place)) as coming:
        api.fold()
        seen = take_until(coming, {("flow", "completed"), ("job", "completed")}, runs=4)
    told = [move for move in states(seen) if move != ("flow", "running")]
    ways = [("away", state) for state in WAY * 3] + [("job", state) for state in WAY]
    assert sorted(told) == sorted([*ways, ("flow", "completed")])
    assert len({(data.get("run_id"), data["seq"]) for _, _, data in seen}) == len(seen)
    if published:
        # A workflow run leaves no trace of its own moves but these.
        assert ("flow", "running") in states(seen)
        with listening(api, since=seen[6][1]) as coming:
            assert take(coming, len(seen) - 7) == seen[7:]


def first_id(api: Caller) -> str:
    """The place that a stream names before anything has happened."""
    with api.client.stream("GET", "/v1/stream") as response:
        lines = response.iter_lines()
        return next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")


def test_moves_without_a_signal_are_told(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Another process dies between its commit and its signal, or the signal is lost on its way."""
    job = api.make_job("mute")
    bus = api.server.parts.bus
    with listening(api) as coming:
        known = api.trigger(job)
        take(coming, 1)
        with monkeypatch.context() as mute:
            mute.setattr(bus, "runs_changed", lambda _: None)
            mute.setattr(bus, "runs_made", lambda _: None)
            api.complete(known)
            api.complete(api.trigger(job))
        api.fold()
        seen = take(coming, 7)
        assert sorted(states(seen)) == sorted(("mute", state) for state in (*WAY[1:], *WAY))
        api.fold()
        api.trigger(job)
        assert states(take(coming, 1)) == [("mute", "queued")]


def test_a_workflow_run_is_told_to_have_begun(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Also one that was over before anybody looked, whether it had to wait for its turn or not."""
    api.make_job()
    make(api, {"step_ref": "a"}, slug="free")
    make(api, {"step_ref": "a"}, slug="crowded", max_concurrent_runs=1)
    with listening(api) as coming:
        with monkeypatch.context() as mute:
            for name in ("runs_changed", "runs_made"):
                mute.setattr(api.server.parts.bus, name, lambda _: None)
            first, second = start(api, "free"), start(api, "crowded")
            let_begin(api)
            end(api, first, "a")
            end(api, second, "a")
        api.fold()
        seen = take(coming, 1)
        while (seen[-1][2].get("workflow_run_id"), seen[-1][2]["status"]) != (second["id"], "completed"):
            seen += take(coming, 1)
    told = {run["id"]: [one for one in seen if one[2].get("workflow_run_id") == run["id"]] for run in (first, second)}
    assert [data["status"] for _, _, data in told[first["id"]]] == ["running", "completed"]
    assert [data["status"] for _, _, data in told[second["id"]]] == ["pending", "running", "completed"]
    for run in (first, second):
        seqs = [data["seq"] for _, _, data in told[run["id"]]]
        assert seqs == sorted(set(seqs))


def test_who_comes_later_hears_nothing_old(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """What happened without a signal before a listener came is told to who listened then, and not to it."""
    job = api.make_job("old")
    with listening(api) as early, monkeypatch.context() as mute:
        mute.setattr(api.server.parts.bus, "runs_made", lambda _: None)
        api.trigger(job)
        with listening(api) as late:
            api.fold()
            assert states(take(early, 1)) == [("old", "queued")]
            mute.undo()
            new = api.trigger(job)
            assert take(late, 1)[0][2]["run_id"] == new["id"]


def test_a_run_that_was_forgotten_is_not_told_again(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Others have moved since, more than are remembered."""
    monkeypatch.setattr(feed, "_KNOWN", 2)
    job = api.make_job("slow")
    with listening(api) as coming:
        run = api.trigger(job)
        for _ in range(4):
            api.trigger(job)
        take(coming, 5)
        api.complete(run)
        assert [(data["run_id"], data["status"]) for _, _, data in take(coming, 3)] == [
            (run["id"], state) for state in WAY[1:]
        ]


def test_a_feed_without_a_place_is_refused(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """503 with Retry-After once too many listen, and the same for streams of single runs."""
    run = api.trigger(api.make_job())
    monkeypatch.setattr(feed_stream, "MOST_LISTENERS", 1)
    monkeypatch.setattr(watchers, "MOST", 0)
    with listening(api):
        for path in ("/v1/stream", f"/v1/runs/{run['id']}/stream"):
            answer = api.client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_signal_without_a_move_tells_nothing(api: Caller):
    """A report of progress, of a run that began before anybody listened."""
    run = api.trigger(api.make_job("long"))
    started = api.start(api.claim(run))
    time.sleep(1.2)
    with listening(api) as coming:
        api.server.do(signal(api, run))
        time.sleep(0.2)
        api.finish(started)
        assert states(take(coming, 1)) == [("long", "completed")]


async def signal(api: Caller, run: dict[str, Any]) -> None:
    """Say that the run moved."""
    api.server.parts.bus.runs_changed([uuid_of(run["id"])])


def test_many_are_told_in_portions(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Of which one cannot be told at all: the others are, and what comes after."""
    monkeypatch.setattr(feed, "BATCH", 1)
    job, bad = api.make_job("many"), api.make_job("bad")
    event = feed_events.OfRun.event

    def broken(self: Any, mark: Mark, step: Any, *, is_late: bool) -> Told:
        if self._run.job_slug == "bad":
            raise ValueError("a state of tomorrow")
        return event(self, mark, step, is_late=is_late)

    monkeypatch.setattr(feed_events.OfRun, "event", broken)
    with listening(api) as coming:
        wanted = {api.trigger(job)["id"] for _ in range(2)}
        api.trigger(bad)
        wanted |= {api.trigger(job)["id"] for _ in range(2)}
        assert {data["run_id"] for _, _, data in take(coming, 4)} == wanted
        api.trigger(job)
        assert states(take(coming, 1)) == [("many", "queued")]


def test_every_stream_shows_signs_of_life(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Of a run, of a workflow run, of all; the last one tells its place with it."""
    for module in (watchers, feed_stream):
        monkeypatch.setattr(module, "KEEP_ALIVE_SECS", 0.05)
    monkeypatch.setattr(watchers, "ALIVE_SECS", 0.05)
    api.make_job()
    make(api, {"step_ref": "a"})
    flow, run = start(api, "flow"), api.trigger(api.make_job("still"))
    for path in (f"/v1/runs/{run['id']}/stream", f"/v1/workflow-runs/{flow['id']}/stream", "/v1/stream"):
        with api.client.stream("GET", path) as response:
            lines = response.iter_lines()
            before = "".join(next(lines) for _ in range(2))
            signs = [line for line, _ in zip((line for line in lines if line.startswith(":")), range(3), strict=False)]
        assert before.startswith("retry")
        assert signs == [": keep-alive"] * 3, path


def test_who_is_dropped_is_told_and_catches_up(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """The reason comes last, with an id; behind it lies what was not sent."""
    monkeypatch.setattr(feed, "BEHIND", 3)
    job = api.make_job("fast")
    # One that is told nothing is never behind: the feed goes on, and knows its numbers.
    with listening(api) as coming, listening(api, status="canceled"):
        with monkeypatch.context() as mute:
            mute.setattr(api.server.parts.bus, "runs_changed", lambda _: None)
            mute.setattr(api.server.parts.bus, "runs_made", lambda _: None)
            api.complete(api.trigger(job))
        api.fold()
        seen = list(coming)
        assert [data.get("status") for _, _, data in seen] == [*WAY[:3], None]
        event, identity, data = seen[-1]
        assert (event, identity, data) == ("end", seen[-2][1], {"reason": feed_stream.TOO_SLOW})
        with listening(api, since=identity) as again:
            assert states(take(again, 1)) == [("fast", "completed")]


def test_who_is_too_slow_is_dropped():
    """One listener that never reads is behind after so many; the others go on."""
    slow, quick = Listener(lambda _: True), Listener(lambda _: True)
    for number in range(feed.BEHIND + 2):
        told = Told(Mark(1, number, 0), uuid4(), 1, datetime.now(UTC), "p", None, "queued", b"x")
        slow.offer(told)
        quick.offer(told)
        quick.waiting.clear()
    assert slow.is_behind
    assert len(slow.waiting) == feed.BEHIND
    assert not quick.is_behind
