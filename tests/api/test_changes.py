"""GET /v1/changes: pages, places, waiting for what comes, and what is not kept any more."""

from __future__ import annotations

from tests.api.caller import Caller


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
