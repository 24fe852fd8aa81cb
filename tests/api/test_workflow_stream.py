"""The live stream of a workflow run: its steps and itself, each state once, over any number of connections."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from strait_core.run import Status
from strait_core.store import workflow_runs
from strait_core.store.workflow_live import Brought
from strait_daemon.api import watchers
from tests.api.caller import Caller
from tests.api.test_workflow_runs import end, make, start


def events(lines: Iterable[str]) -> Iterator[tuple[str, str, Any]]:
    """Event, id and data of each event."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif "data" in fields:
            yield fields["event"][0], fields.get("id", [""])[0], json.loads("\n".join(fields["data"]))
            fields = {}
        else:
            fields = {}


def stream(api: Caller, run: Mapping[str, Any], since: str | None = None) -> Any:
    """Open the stream, from behind `since` when given."""
    headers = {} if since is None else {"Last-Event-ID": since}
    return api.client.stream("GET", f"/v1/workflow-runs/{run['id']}/stream", headers=headers)


def told(seen: list[tuple[str, str, Any]]) -> list[tuple[str, str]]:
    """What moved, and whereto: steps by their refs, the run as an empty one."""
    return [(data.get("step_ref", ""), data["state"] if event == "step" else data["status"]) for event, _, data in seen]


def chain(api: Caller) -> dict[str, Any]:
    """A run of two steps, one after the other."""
    api.make_job()
    make(api, {"step_ref": "a"}, {"step_ref": "b", "depends_on": ["a"]})
    return start(api, "flow", payload={"n": "a\nb"})


def test_a_workflow_run_is_followed_to_its_end(api: Caller):
    """The snapshot is the run; then steps in their order, the run's own end last, and the stream closes."""
    run = chain(api)
    with stream(api, run) as response:
        assert response.headers["content-type"] == "text/event-stream"
        coming = events(response.iter_lines())
        event, _, data = next(coming)
        assert (event, data) == ("snapshot", run)
        seen = [next(coming)]
        end(api, run, "a")
        seen += [next(coming), next(coming)]
        end(api, run, "b")
        seen += coming
    assert told(seen) == [("a", "running"), ("a", "completed"), ("b", "running"), ("b", "completed"), ("", "completed")]
    assert set(seen[0][2]) == {"step_ref", "state", "at"}
    assert seen[-1][0] == "status"
    assert set(seen[-1][2]) == {"workflow_run_id", "status", "at"}


def test_a_workflow_stream_goes_on_where_it_broke(api: Caller):
    """With the last id: what happened meanwhile and nothing of what is known but a little; over two connections all."""
    run = chain(api)
    with stream(api, run) as response:
        coming = events(response.iter_lines())
        seen = [next(coming), next(coming)]
    end(api, run, "a")
    end(api, run, "b", Status.DEAD_LETTER)
    with stream(api, run, seen[-1][1]) as response:
        later = list(events(response.iter_lines()))
    assert {event for event, _, _ in later} == {"step", "status"}
    states = dict(told(later))
    assert states == {"a": "completed", "b": "failed", "": "failed"}
    assert told(later)[-1] == ("", "failed")


def test_a_workflow_stream_resumed_at_the_present_waits_for_news(api: Caller):
    """Nothing but what comes; a run that is over is its snapshot, and the stream closes."""
    run = chain(api)
    with stream(api, run) as response:
        coming = events(response.iter_lines())
        last = [next(coming), next(coming)][-1][1]
    with stream(api, run, last) as response:
        api.call("POST", f"/v1/workflow-runs/{run['id']}/pause", {})
        coming = events(response.iter_lines())
        first = next(coming)
        while first[0] == "step":
            first = next(coming)
        assert told([first]) == [("", "paused")]
        api.call("POST", f"/v1/workflow-runs/{run['id']}/cancel", {})
        rest = list(coming)
    assert told(rest)[-1] == ("", "canceled")
    with stream(api, run, rest[-1][1]) as response:
        ((event, _, data),) = events(response.iter_lines())
    assert (event, data["status"]) == ("snapshot", "canceled")


def test_a_step_that_begins_anew_is_told(api: Caller):
    """A retry: pending or running again, after it had failed."""
    run = chain(api)
    end(api, run, "a", Status.DEAD_LETTER)
    api.call("POST", f"/v1/workflow-runs/{run['id']}/retry", {})
    with stream(api, run) as response:
        coming = events(response.iter_lines())
        assert told([next(coming)]) == [("", "running")]
        assert told([next(coming)]) == [("a", "running")]
        end(api, run, "a")
        assert told([next(coming), next(coming)]) == [("a", "completed"), ("b", "running")]


def test_a_stream_of_no_workflow_run(api: Caller):
    """404, as everywhere."""
    problem = api.refuse("GET", "/v1/workflow-runs/wfr_nothing/stream", status=404)
    assert "wfr_nothing" in problem["detail"]


def test_states_that_nobody_saw_are_told(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """What began and was over between two looks: a run, a step that works, a step that waits."""
    api.make_job()
    ask = {"step_ref": "ask", "step_type": "approval", "depends_on": ["a"]}
    make(api, {"step_ref": "a"}, ask, max_concurrent_runs=1)
    first = start(api, "flow")
    run = start(api, "flow")
    assert run["status"] == "pending"
    with stream(api, run) as response:
        coming = events(response.iter_lines())
        assert next(coming)[2]["status"] == "pending"
        with monkeypatch.context() as mute:
            mute.setattr(api.server.parts.bus, "runs_changed", lambda _: None)
            mute.setattr(watchers.Watchers, "_look", nothing)
            api.call("POST", f"/v1/workflow-runs/{first['id']}/cancel", {})
            let_begin(api)
            end(api, run, "a")
            (asked,) = api.call("GET", f"/v1/approvals?project_id={api.project}&status=pending")["data"]
            api.call("POST", f"/v1/approvals/{asked['id']}/approve", {})
        seen = list(coming)
    way = [("", "running"), ("a", "running"), ("a", "completed"), ("ask", "waiting"), ("ask", "completed")]
    assert told(seen) == [*way, ("", "completed")]
    times = [data["at"] for _, _, data in seen]
    assert times == sorted(times)


def let_begin(api: Caller) -> None:
    """Begin a run that waits for room, as workers do when one has ended."""

    async def work() -> None:
        parts = api.server.parts
        async with parts.pool.connection() as conn:
            for workflow_id in await workflow_runs.crowded_workflows(conn):
                async with conn.transaction():
                    await workflow_runs.promote(conn, workflow_id, parts.clock.now, Brought())

    api.server.do(work())


async def nothing(_: watchers.Watchers) -> None:
    """Look after nobody."""
