"""Jobs over HTTP: create, read, change, pause, clone, delete."""

from __future__ import annotations

import pytest

from strait_core.job import DEFAULTS
from strait_core.run import Status
from tests.api.caller import Caller


def test_a_created_job_is_answered_whole(api: Caller):
    """201 with every field, defaults filled in, and the same job by id and by slug."""
    job = api.make_job("whole", tags={"team": "a"})
    assert job["id"].startswith("job_")
    assert job["version_id"].startswith("ver_")
    assert (job["version"], job["enabled"], job["paused"], job["tags"]) == (1, True, False, {"team": "a"})
    shown = {name: list(default) if isinstance(default, tuple) else default for name, default in DEFAULTS.items()}
    assert {name: job[name] for name in shown if name != "tags"} == {k: v for k, v in shown.items() if k != "tags"}
    assert api.call("GET", f"/v1/jobs/{job['id']}") == job
    assert api.call("GET", f"/v1/jobs/whole?project_id={api.project}") == job
    assert api.call("GET", "/v1/jobs/whole", headers={"X-Project-Id": api.project}) == job


def test_every_fault_of_a_definition_is_listed_at_once(api: Caller):
    """Missing fields and wrong ones, each with its pointer."""
    problem = api.refuse(
        "POST",
        "/v1/jobs",
        {"slug": "Bad Slug", "endpoint_url": "ftp://x", "priority": 11, "timeout_secs": 0, "headers": {"Host": "x"}},
        status=422,
    )
    assert problem["code"] == "validation"
    pointers = {fault["pointer"] for fault in problem["errors"]}
    assert pointers == {
        "/name", "/project_id", "/slug", "/endpoint_url", "/priority", "/timeout_secs", "/headers/Host",
    }  # fmt: skip


def test_endless_faults_are_cut(api: Caller):
    """What has thousands of faults gets an answer that a person can read."""
    endless = {"retry_strategy": "custom", "retry_delays_secs": [0] * 20_000}
    problem = api.refuse("POST", "/v1/jobs", endless, status=422)
    assert len(problem["errors"]) == 100
    assert len(problem["detail"]) < 2_100
    twice = "{" + ",".join(['"a":"b"'] * 2_000) + "}"
    answer = api.client.post("/v1/jobs", content=f'{{"tags":{twice}}}', headers={"Content-Type": "application/json"})
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 100)


def test_an_empty_body_names_what_is_required(api: Caller):
    """No body at all is `{}`: the required fields are missing, nothing else is wrong."""
    problem = api.refuse("POST", "/v1/jobs", status=422)
    assert [(f["pointer"], f["message"]) for f in problem["errors"]] == [
        (f"/{name}", "is required") for name in ("name", "slug", "endpoint_url", "project_id")
    ]


def test_the_project_may_come_from_outside_the_body(api: Caller):
    """`?project_id=` and `X-Project-Id` name it as well; two that differ are refused."""
    body = {"name": "x", "slug": "outside", "endpoint_url": "http://127.0.0.1:9/"}
    job = api.call("POST", f"/v1/jobs?project_id={api.project}", body, status=201)
    assert job["project_id"] == api.project
    problem = api.refuse(
        "POST", "/v1/jobs", body | {"project_id": "other"}, status=422, headers={"X-Project-Id": api.project}
    )
    assert problem["errors"][0]["pointer"] == "/project_id"
    api.refuse("GET", f"/v1/jobs?project_id={api.project}", status=422, headers={"X-Project-Id": "other"})
    api.refuse("GET", "/v1/jobs", status=422, headers={"X-Project-Id": "no blanks allowed"})


def test_null_and_zero(api: Caller):
    """Null is the default; 0 lifts a limit that may be lifted and is out of range elsewhere."""
    job = api.make_job("nulls", timeout_secs=None, run_ttl_secs=0, description=None, retry_strategy=None, tags=None)
    assert (job["timeout_secs"], job["run_ttl_secs"], job["description"]) == (300, None, "")
    assert (job["retry_strategy"], job["tags"]) == ("exponential", {})
    changed = api.call("PATCH", f"/v1/jobs/{job['id']}", {"run_ttl_secs": 60, "priority": 4})
    assert (changed["run_ttl_secs"], changed["priority"]) == (60, 4)
    reset = api.call("PATCH", f"/v1/jobs/{job['id']}", {"run_ttl_secs": None, "priority": None})
    assert (reset["run_ttl_secs"], reset["priority"]) == (None, 0)
    api.refuse("PATCH", f"/v1/jobs/{job['id']}", {"max_attempts": 0}, status=422)


def test_a_taken_slug_is_a_conflict(api: Caller):
    """On create, clone and change; the other project's slug is free."""
    job = api.make_job("taken")
    assert api.refuse("POST", "/v1/jobs", {**_body(api, "taken")}, status=409)["code"] == "conflict"
    other = api.make_job("other")
    api.refuse("PATCH", f"/v1/jobs/{other['id']}", {"slug": "taken"}, status=409)
    api.refuse("POST", f"/v1/jobs/{other['id']}/clone", {"slug": "taken"}, status=409)
    assert api.call("GET", f"/v1/jobs/{other['id']}")["slug"] == "other"
    assert api.call("POST", "/v1/jobs", _body(api, "taken", f"{api.project}-2"), status=201)["id"] != job["id"]


def test_a_slug_in_several_projects_asks_which(api: Caller):
    """409 lists the projects; naming one answers."""
    first, second = f"{api.project}-a", f"{api.project}-b"
    slug = f"shared-{api.project}"
    for project in (first, second):
        api.call("POST", "/v1/jobs", _body(api, slug, project), status=201)
    problem = api.refuse("GET", f"/v1/jobs/{slug}", status=409)
    assert first in problem["detail"]
    assert second in problem["detail"]
    assert api.call("GET", f"/v1/jobs/{slug}?project_id={second}")["project_id"] == second
    api.refuse("POST", f"/v1/jobs/{slug}/trigger", status=409)


def test_a_slug_that_reads_as_an_id_is_refused(api: Caller):
    """Else a path could not say which of the two it means."""
    job = api.make_job("real")
    problem = api.refuse("POST", "/v1/jobs", _body(api, job["id"]), status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == ["/slug"]


def test_what_is_elsewhere_is_not_found(api: Caller):
    """Another project's job, a deleted one, a wrong id, something that is no slug at all: 404."""
    job = api.make_job("here")
    for path in (
        f"/v1/jobs/{job['id']}?project_id=elsewhere",
        "/v1/jobs/no-such-job",
        "/v1/jobs/%00",
        "/v1/jobs/a%2Fb",
    ):
        assert api.refuse("GET", path, status=404)["code"] == "not_found"
    api.refuse("GET", "/v1/jobs/job_00000000000000000000000000", status=404)


def test_a_change_makes_a_version(api: Caller):
    """A changed definition is a new version, an unchanged one is not; all of them are listed."""
    job = api.make_job("versions")
    same = api.call("PATCH", f"/v1/jobs/{job['id']}", {"name": job["name"]})
    assert same == job
    changed = api.call("PATCH", f"/v1/jobs/{job['id']}", {"timeout_secs": 5})
    assert (changed["version"], changed["timeout_secs"]) == (2, 5)
    assert changed["version_id"] != job["version_id"]
    listed = api.call("GET", f"/v1/jobs/{job['id']}/versions")
    assert [version["version"] for version in listed["data"]] == [2, 1]
    assert [version["definition"]["timeout_secs"] for version in listed["data"]] == [5, 300]
    first = api.call("GET", f"/v1/jobs/{job['id']}/versions?limit=1")
    second = api.call("GET", f"/v1/jobs/{job['id']}/versions?limit=1&cursor={first['next_cursor']}")
    assert [page["data"][0]["version"] for page in (first, second)] == [2, 1]
    assert second["next_cursor"] is None


def test_if_match_guards_a_change(api: Caller):
    """The ETag moves with every change; a stale one is 412 and changes nothing."""
    job = api.make_job("guarded")
    etag = api.client.get(f"/v1/jobs/{job['id']}").headers["etag"]
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"priority": 1}, headers={"If-Match": etag})
    problem = api.refuse("PATCH", f"/v1/jobs/{job['id']}", {"priority": 2}, status=412, headers={"If-Match": etag})
    assert problem["code"] == "precondition_failed"
    for end in ("pause", "resume"):
        api.refuse("POST", f"/v1/jobs/{job['id']}/{end}", status=412, headers={"If-Match": etag})
    api.refuse("DELETE", f"/v1/jobs/{job['id']}", status=412, headers={"If-Match": etag})
    assert api.call("GET", f"/v1/jobs/{job['id']}")["priority"] == 1
    now = api.client.get(f"/v1/jobs/{job['id']}").headers["etag"]
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"priority": 3}, headers={"If-Match": f'"x", {now}'})
    api.call("DELETE", f"/v1/jobs/{job['id']}", status=204, headers={"If-Match": "*"})


def test_pause_and_resume(api: Caller):
    """A paused job says so and why, takes no runs, and goes on after resume; both may be repeated."""
    job = api.make_job("paused")
    paused = api.call("POST", f"/v1/jobs/{job['id']}/pause", {"reason": "maintenance"})
    assert (paused["paused"], paused["pause_reason"]) == (True, "maintenance")
    assert paused["paused_at"]
    assert "maintenance" in api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", status=409)["detail"]
    api.call("POST", f"/v1/jobs/{job['id']}/pause")
    for _ in range(2):
        resumed = api.call("POST", f"/v1/jobs/{job['id']}/resume")
        assert (resumed["paused"], resumed["paused_at"], resumed["pause_reason"]) == (False, None, None)
    api.trigger(job)
    api.refuse("POST", f"/v1/jobs/{job['id']}/pause", {"reason": "x" * 1_001}, status=422)
    api.refuse("POST", f"/v1/jobs/{job['id']}/resume", {"reason": "x"}, status=422)


def test_disable_and_enable(api: Caller):
    """A disabled job takes no runs; its version stays, for the definition did not change."""
    job = api.make_job("switched")
    disabled = api.call("PATCH", f"/v1/jobs/{job['id']}", {"enabled": False})
    assert (disabled["enabled"], disabled["version"]) == (False, 1)
    assert "disabled" in api.refuse("POST", f"/v1/jobs/{job['id']}/trigger", status=409)["detail"]
    api.call("PATCH", f"/v1/jobs/{job['id']}", {"enabled": True})
    api.trigger(job)
    assert api.make_job("born-disabled", enabled=False)["enabled"] is False


def test_a_clone_is_a_job_of_its_own(api: Caller):
    """Same definition, other id, slug and, if asked for, name."""
    job = api.make_job("origin", priority=7, headers={"X-Team": "a"})
    clone = api.call("POST", f"/v1/jobs/{job['id']}/clone", {"slug": "copy", "name": "Copy"}, status=201)
    assert (clone["slug"], clone["name"], clone["priority"], clone["headers"]) == ("copy", "Copy", 7, {"X-Team": "a"})
    assert (clone["version"], clone["id"] != job["id"]) == (1, True)
    problem = api.refuse("POST", f"/v1/jobs/{job['id']}/clone", {}, status=422)
    assert problem["errors"] == [{"pointer": "/slug", "message": "is required"}]
    api.refuse("POST", f"/v1/jobs/{job['id']}/clone", {"slug": "Not a slug"}, status=422)


def test_delete_waits_for_runs(api: Caller):
    """409 while a run is active; afterwards 204, the slug is free and the runs stay."""
    job = api.make_job("doomed")
    run = api.trigger(job)
    assert "not over" in api.refuse("DELETE", f"/v1/jobs/{job['id']}", status=409)["detail"]
    api.complete(run)
    api.call("DELETE", f"/v1/jobs/{job['id']}", status=204)
    api.refuse("GET", f"/v1/jobs/{job['id']}", status=404)
    api.refuse("DELETE", f"/v1/jobs/{job['id']}", status=404)
    assert api.run(run["id"])["status"] == Status.COMPLETED
    assert api.make_job("doomed")["id"] != job["id"]


def test_jobs_are_listed_newest_first_in_pages(api: Caller):
    """Cursors walk the whole list once; filters narrow it."""
    made = [api.make_job(f"j{n}", tags={"n": str(n % 2)})["slug"] for n in range(5)]
    api.call("POST", f"/v1/jobs/j0/pause?project_id={api.project}")
    seen, cursor = [], ""
    while True:
        page = api.call("GET", f"/v1/jobs?project_id={api.project}&limit=2{cursor}")
        assert len(page["data"]) <= 2
        seen += [job["slug"] for job in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    for query, wanted in (
        ("tag=n:1", ["j3", "j1"]),
        ("paused=true", ["j0"]),
        ("enabled=false", []),
        ("slug=j2", ["j2"]),
    ):
        page = api.call("GET", f"/v1/jobs?project_id={api.project}&{query}")
        assert [job["slug"] for job in page["data"]] == wanted
    job = api.call("GET", f"/v1/jobs/j3?project_id={api.project}")
    found = api.call("GET", f"/v1/jobs?project_id={api.project}&id_prefix={job['id'][:-1]}")
    assert job["id"] in {one["id"] for one in found["data"]}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "limit=1.0", "cursor=zzz", "cursor=", "unknown=1", "enabled=yes", "tag=x",
     "limit=1&limit=2", "id_prefix=run_01", "slug=", "slug=%00", "slug=%ff", "project_id=a%20b", "=1"],
)  # fmt: skip
def test_a_wrong_query_is_refused(api: Caller, query: str):
    """Unknown, repeated, malformed: 422, never ignored."""
    problem = api.refuse("GET", f"/v1/jobs?{query}", status=422)
    assert problem["errors"]


def _body(api: Caller, slug: str, project: str | None = None) -> dict[str, str]:
    return {"project_id": project or api.project, "name": "x", "slug": slug, "endpoint_url": "http://127.0.0.1:9/"}
