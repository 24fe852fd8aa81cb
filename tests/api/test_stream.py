"""The live stream of a run: every state once, in order, over any number of connections."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from strait_core import ids
from strait_core.run import Status
from strait_core.store import claims, queue
from strait_core.store.queue import Finish, Start
from strait_daemon.api import watchers
from strait_daemon.bus import Bell
from strait_daemon.embedded import PostgresServer
from tests.api.caller import Caller, uuid_of
from tests.api.server import AUTH, Server, serving
from tests.support.postgres import fresh_database
from tests.support.waiting import eventually


@dataclass
class Event:
    """One server-sent event."""

    event: str
    id: int
    data: Any


def events(response: httpx.Response) -> Iterator[Event]:
    """The events of a stream, as the standard says they are to be read."""
    fields: dict[str, list[str]] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif "data" in fields:
            yield Event(fields["event"][0], int(fields["id"][0]), json.loads("\n".join(fields["data"])))
            fields = {}
        else:
            fields = {}


def stream(api: Caller, run: dict[str, Any], since: object = None) -> Any:
    """Open the stream of a run, from behind seq `since` when given."""
    headers = {} if since is None else {"Last-Event-ID": str(since)}
    return api.client.stream("GET", f"/v1/runs/{run['id']}/stream", headers=headers)


def states(seen: list[Event]) -> list[tuple[int, str]]:
    """The (id, state) of each snapshot and status."""
    return [(one.id, one.data["status"]) for one in seen if one.event in {"snapshot", "status"}]


def test_a_run_is_followed_to_its_end(api: Caller):
    """Snapshot first, then each state as it comes, the closed attempt before its state, then the stream closes."""
    run = api.trigger(api.make_job("live"), payload={"a": 1})
    with stream(api, run) as response:
        assert response.headers["content-type"] == "text/event-stream"
        coming = events(response)
        first = next(coming)
        assert (first.event, first.id, first.data) == ("snapshot", 1, run)
        claimed = api.claim(run)
        assert states([next(coming)]) == [(2, "dequeued")]
        started = api.start(claimed)
        assert states([next(coming)]) == [(3, "executing")]
        api.retry(started)
        attempt, status = next(coming), next(coming)
        assert (attempt.event, attempt.id, attempt.data["outcome"]) == ("attempt", 3, "error")
        assert (status.id, status.data["status"], status.data["attempt"]) == (4, "queued", 1)
        assert status.data["run_id"] == run["id"]
        api.complete(run)
        rest = list(coming)
    assert states(rest) == [(5, "dequeued"), (6, "executing"), (7, "completed")]
    assert [one.event for one in rest][-2:] == ["attempt", "status"]
    attempts = api.call("GET", f"/v1/runs/{run['id']}/attempts")["data"]
    assert [attempt.data, rest[-2].data] == attempts


def test_states_that_nobody_saw_are_told(api: Caller):
    """A run that went from queued to completed between two looks: every step in between, in order."""
    run = api.trigger(api.make_job("fast"))
    with stream(api, run) as response:
        coming = events(response)
        next(coming)
        _complete_silently(api, run)
        api.server.say(lambda: api.server.parts.bus.runs_changed([uuid_of(run["id"])]))
        assert states(list(coming)) == [(2, "dequeued"), (3, "executing"), (4, "completed")]


def test_a_lost_signal_costs_two_seconds(api: Caller):
    """Without any signal, the database is looked at often enough."""
    run = api.trigger(api.make_job("silent"))
    with stream(api, run) as response:
        coming = events(response)
        next(coming)
        _complete_silently(api, run)
        assert states(list(coming))[-1] == (4, "completed")


def test_a_finished_run_is_a_snapshot(api: Caller):
    """The snapshot, with the result, and the stream closes; whatever has been seen before."""
    run = api.trigger(api.make_job("over"), payload="a\nb")
    api.complete(run, result='{\r\n "a":\n 1}')
    for since in (None, 4, 9, "x", "-1"):
        with stream(api, run, since) as response:
            (only,) = events(response)
        assert (only.event, only.id) == ("snapshot", 4)
        assert only.data == api.run(run["id"])
        assert only.data["result"] == {"a": 1}


def test_a_stream_goes_on_from_the_last_event(api: Caller):
    """What came after `Last-Event-ID`, no snapshot, nothing twice: over two connections every state once."""
    run = api.trigger(api.make_job("resumed"))
    seen: list[Event] = []
    with stream(api, run) as response:
        coming = events(response)
        seen.append(next(coming))
        claimed = api.claim(run)
        seen.append(next(coming))
    api.finish(api.start(claimed))
    with stream(api, run, seen[-1].id) as response:
        seen += events(response)
    assert states(seen) == [(1, "queued"), (2, "dequeued"), (3, "executing"), (4, "completed")]
    assert [one.event for one in seen].count("attempt") == 1


def test_a_stream_resumed_at_the_present_waits_for_news(api: Caller):
    """Who has seen everything gets the next state first, not the same one again."""
    run = api.trigger(api.make_job("present"))
    with stream(api, run, 1) as response:
        coming = events(response)
        api.claim(run)
        assert states([next(coming)]) == [(2, "dequeued")]


def test_a_replayed_run_is_live_again(api: Caller):
    """A stream opened after a replay follows the run through its second life."""
    run = api.trigger(api.make_job("again"))
    api.complete(run, Status.FAILED)
    api.call("POST", f"/v1/runs/{run['id']}/replay")
    with stream(api, run, 3) as response:
        coming = events(response)
        seen = [next(coming) for _ in range(3)]
        api.call("POST", f"/v1/runs/{run['id']}/cancel")
        seen += coming
    assert states(seen) == [(4, "failed"), (5, "queued"), (6, "canceled")]


def test_many_watchers_see_the_same(api: Caller):
    """Streams do not disturb each other, and those that read nothing hold nobody up."""
    run = api.trigger(api.make_job("crowd"), payload="x" * 300_000)
    lazy = [_open_and_never_read(api.server, run) for _ in range(20)]
    watching = [stream(api, run) for _ in range(10)]
    coming = [events(one.__enter__()) for one in watching]
    try:
        for one in coming:
            assert next(one).event == "snapshot"
        api.complete(run)
        for one in coming:
            assert states(list(one))[-1] == (4, "completed")
    finally:
        for connection in lazy:
            connection.close()
        for context in watching:
            context.__exit__(None, None, None)


def test_a_watcher_that_leaves_is_forgotten(api: Caller):
    """Nothing is kept of a closed connection."""
    run = api.trigger(api.make_job("left"))
    watchers = api.server.parts.bus._watchers
    with stream(api, run) as response:
        coming = events(response)
        next(coming)
        assert uuid_of(run["id"]) in watchers
    eventually(lambda: uuid_of(run["id"]) not in watchers)


def test_a_stream_that_goes_on_waits_for_no_net(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """What it missed is sent at once, also where nothing looks after it."""

    async def nothing(_: watchers.Watchers) -> None:
        """Look after nobody."""

    monkeypatch.setattr(watchers.Watchers, "_look", nothing)
    run = api.trigger(api.make_job("resumed"))
    api.complete(run)
    with stream(api, run, since=1) as response:
        assert [state for _, state in states(list(events(response)))] == ["dequeued", "executing", "completed"]


async def test_a_sign_of_life_swallows_no_news():
    """What happens between the wake for a sign and the sign itself is looked for."""
    eye = watchers.Watch(uuid4(), Bell())
    eye.moved.nudge()
    assert not await eye.wait()
    eye.moved.nudge()
    eye.moved.set()
    assert await eye.wait()
    eye.moved.set()
    eye.moved.nudge()
    assert await eye.wait()
    assert not eye.moved.is_set()


def test_what_is_not_followed_is_not_watched(api: Caller):
    """A HEAD is answered without events, a run that there is not with 404; neither leaves anything behind."""
    run = api.trigger(api.make_job("looked-at"))
    head = api.client.head(f"/v1/runs/{run['id']}/stream")
    assert (head.status_code, head.headers["content-type"], head.content) == (200, "text/event-stream", b"")
    missing = uuid4()
    api.refuse("GET", f"/v1/runs/{ids.spell(ids.Prefix.RUN, missing)}/stream", status=404)
    assert not {uuid_of(run["id"]), missing} & set(api.server.parts.bus._watchers)


def test_a_server_that_stops_says_so(postgres_server: PostgresServer):
    """`end` with a reason, then the connection closes; the run goes on elsewhere."""
    with serving(fresh_database(postgres_server)) as server, server.client(headers=AUTH) as client:
        api = Caller(client, server, "p")
        run = api.trigger(api.make_job("stopped"))
        with stream(api, run) as response:
            coming = events(response)
            next(coming)
            server.say(server.deps.closing.set)
            (last,) = coming
        assert (last.event, last.id) == ("end", 1)
        assert "shutting down" in last.data["reason"]
        with stream(api, run) as response:
            assert [one.event for one in events(response)] == ["snapshot", "end"]


def _complete_silently(api: Caller, run: dict[str, Any]) -> None:
    """A whole life in one transaction, without a signal to anybody."""
    run_id = uuid_of(run["id"])

    async def work() -> None:
        parts = api.server.parts
        async with parts.pool.connection() as conn, conn.transaction():
            mine = None
            while mine is None:
                # What other tests left queued comes first.
                taken = await claims.claim(conn, api.worker, 500, [0] * 11, [], parts.clock.now())
                mine = next((one for one in taken.runs if one.id == run_id), None)
            await queue.start_if_held(conn, [Start(run_id, mine.attempt, mine.lease)], parts.clock.now())
            end = Finish(
                id=run_id,
                attempt=1,
                lease=mine.lease,
                status=Status.COMPLETED,
                keep="short",
                finished_at=parts.clock.now(),
            )
            await queue.finish_if_held(conn, [end], parts.clock.now())

    api.server.do(work())


def _open_and_never_read(server: Server, run: dict[str, Any]) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    connection.connect(("127.0.0.1", server.port))
    lines = [f"GET /v1/runs/{run['id']}/stream HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in AUTH.items()), "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection
