"""GET /v1/changes: pages, places, waiting for what comes, what is not kept any more; and the same as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from strait_core.store import changes as stored
from strait_daemon.api import changes
from tests.api.caller import Caller
from tests.api.test_workflow_stream import events


def test_a_feed_from_its_first_page_on(api: Caller):
    """A job, its runs; each page says where the next begins, and that of the last stays empty."""
    job = api.make_job()
    run = api.trigger(job)
    api.fold()
    path = f"/v1/changes?project_id={api.project}"
    page = api.call("GET", path)
    told = [(one["kind"], one["id"], one["seq"], one["status"]) for one in page["data"]]
    assert told == [("job", job["id"], 1, "created"), ("run", run["id"], 1, "queued")]
    first, second = page["data"]
    assert (second["job_id"], second["attempt"], second["project_id"]) == (job["id"], 0, api.project)
    assert (first["job_id"], first["attempt"]) == (None, None)
    assert api.call("GET", f"{path}&limit=1")["data"] == [first]
    assert api.call("GET", f"{path}&limit=1&cursor={first['cursor']}")["data"] == [second]
    end = api.call("GET", f"{path}&cursor={page['next_cursor']}")
    assert end["data"] == []
    api.call("POST", f"/v1/runs/{run['id']}/cancel")
    api.fold()
    assert [one["status"] for one in api.call("GET", f"{path}&cursor={end['next_cursor']}")["data"]] == ["canceled"]


def test_only_some_kinds_and_only_what_comes(api: Caller):
    """`kind` filters, `start=latest` begins behind everything; a page of a filter leads on past what it left out."""
    job = api.make_job()
    run = api.trigger(job)
    api.fold()
    path = f"/v1/changes?project_id={api.project}"
    assert [one["id"] for one in api.call("GET", f"{path}&kind=run")["data"]] == [run["id"]]
    none = api.call("GET", f"{path}&kind=event,workflow_run")
    assert none["data"] == []
    latest = api.call("GET", f"{path}&start=latest")
    assert latest["data"] == []
    for cursor in (none["next_cursor"], latest["next_cursor"]):
        assert api.call("GET", f"{path}&cursor={cursor}")["data"] == []
    api.trigger(job)
    api.fold()
    for cursor in (none["next_cursor"], latest["next_cursor"]):
        assert [one["status"] for one in api.call("GET", f"{path}&cursor={cursor}")["data"]] == ["queued"]


def test_what_is_wrong_with_a_question(api: Caller):
    """422 with the parameter; 410 for a place that is not kept any more."""
    for query in ("kind=jobs", "start=first", "wait=31", "cursor=x", "limit=0"):
        said = api.call("GET", f"/v1/changes?{query}", status=422)
        assert f"?{query.partition('=')[0]}=" in said["detail"]
    api.server.do(raise_floor(api))
    said = api.call("GET", "/v1/changes?cursor=AAAAAAAAAAAAAAAAAAAAAQ", status=410)
    assert "24 hours" in said["detail"]
    assert api.call("GET", f"/v1/changes?project_id={api.project}")["data"] == []


async def raise_floor(api: Caller) -> None:
    """As if the oldest hours had gone."""
    async with api.server.parts.pool.connection() as conn:
        await conn.execute("UPDATE strait.change_floor SET position = 1 WHERE position = 0")


def test_an_empty_page_waits_for_the_next_change(api: Caller):
    """The answer comes with the change, long before the time that was asked for; without one it comes empty."""
    job = api.make_job()
    api.fold()
    path = f"/v1/changes?project_id={api.project}"
    cursor = api.call("GET", path)["next_cursor"]
    assert api.call("GET", f"{path}&cursor={cursor}&wait=1")["data"] == []
    run = api.trigger(job)
    api.fold()
    (one,) = api.call("GET", f"{path}&cursor={cursor}&wait=30")["data"]
    assert one["id"] == run["id"]


@contextmanager
def streaming(api: Caller, since: str | None = None, **query: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
    """The events of the stream in the test's project; the place where it begins is said at once."""
    headers = {} if since is None else {"Last-Event-ID": since}
    params = {"project_id": api.project, **query}
    with api.client.stream("GET", "/v1/changes/stream", headers=headers, params=params) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        assert next(lines).startswith("retry: ")
        assert next(lines).startswith("id: ")
        yield events(lines)


def test_a_stream_tells_what_the_pages_tell(api: Caller):
    """What is there and what comes, each with its cursor as the id; from any of them it goes on, as with ?cursor=."""
    job = api.make_job()
    run = api.trigger(job)
    api.fold()
    page = api.call("GET", f"/v1/changes?project_id={api.project}")["data"]
    with streaming(api) as coming, streaming(api, start="latest", kind="run") as latest:
        seen = [next(coming) for _ in page]
        assert seen == [("change", one["cursor"], one) for one in page]
        api.call("POST", f"/v1/runs/{run['id']}/cancel")
        api.fold()
        last = next(coming)
        assert (last[2]["id"], last[2]["status"]) == (run["id"], "canceled")
        assert next(latest) == last
    with streaming(api, since=page[0]["cursor"], start="latest") as again:
        assert [next(again)[2] for _ in range(2)] == [page[1], last[2]]
    with streaming(api, cursor=page[1]["cursor"]) as again:
        assert next(again) == last


def test_a_sign_of_life_tells_the_place(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Who waits for changes that never come still knows how far the feed was read, and could go on from there."""
    monkeypatch.setattr(changes, "KEEP_ALIVE_SECS", 0.05)
    job = api.make_job()
    api.fold()
    params = {"project_id": api.project, "kind": "event"}
    with api.client.stream("GET", "/v1/changes/stream", params=params) as response:
        lines = (line for line in response.iter_lines() if line.startswith("id: "))
        first = next(lines)
        assert next(lines) != first
        api.trigger(job)
        api.fold()
        place = next(lines).removeprefix("id: ")
    assert api.call("GET", f"/v1/changes?project_id={api.project}&cursor={place}")["data"] == []


def test_a_way_past_much_that_is_not_wanted_is_told(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """Who is cut off on it goes on from where it has come, and not from the beginning."""
    monkeypatch.setattr(stored, "READ_POSITIONS", 1)
    monkeypatch.setattr(stored, "READ_SECS", 0.0)
    for number in range(5):
        api.make_job(f"loud{number}")
        api.fold()
    with api.client.stream("GET", "/v1/changes/stream", params={"kind": "event"}) as response:
        lines = (line for line in response.iter_lines() if line.startswith("id: "))
        places = [next(lines) for _ in range(5)]
    assert len(set(places)) == 5


def test_a_stream_that_is_refused(api: Caller, monkeypatch: pytest.MonkeyPatch):
    """422 for an id that is none, 410 as a page says it, 503 with Retry-After when too many are open."""
    path = "/v1/changes/stream"
    assert api.client.get(path, headers={"Last-Event-ID": "17"}).status_code == 422
    api.refuse("GET", f"{path}?kind=jobs", status=422)
    api.refuse("GET", f"{path}?limit=5", status=422)
    api.server.do(raise_floor(api))
    lost = "AAAAAAAAAAAAAAAAAAAAAQ"
    page, stream = (api.client.get(f"{at}?cursor={lost}") for at in ("/v1/changes", path))
    assert (stream.status_code, stream.json()["detail"]) == (410, page.json()["detail"])
    assert api.client.get(path, headers={"Last-Event-ID": lost}).status_code == 410
    assert api.client.get(f"{path}?cursor=_____wAAAAAAAAAAAAAAAQ").status_code == 410
    monkeypatch.setattr(changes, "MOST_STREAMS", 1)
    with streaming(api, start="latest"):
        answer = api.client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_reader_whom_the_feed_has_left_behind_is_told_so(api: Caller):
    """In the middle of a stream: the reason, and then the end."""
    job = api.make_job()
    api.fold()
    floor = api.server.do(set_floor(api, None))
    with streaming(api) as coming:
        assert next(coming)[2]["id"] == job["id"]
        try:
            api.server.do(set_floor(api, 2**40))
            api.trigger(job)
            api.fold()
            event, _, data = next(coming)
            assert (event, data) == ("end", {"reason": changes.GONE})
        finally:
            api.server.do(set_floor(api, floor))


async def set_floor(api: Caller, position: int | None) -> int:
    """As if all up to there had gone; where it was."""
    async with api.server.parts.pool.connection() as conn:
        row = await (await conn.execute("SELECT position FROM strait.change_floor")).fetchone()
        await conn.execute("UPDATE strait.change_floor SET position = coalesce(%s, position)", (position,))
    assert row is not None
    return int(row[0])
