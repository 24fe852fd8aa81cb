"""Manifests over HTTP: planned as they would be carried out, carried out whole or not at all, pruned by their owner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.caller import Caller

URL = "http://127.0.0.1:9/"
SECRET = "a-secret-of-at-least-24-characters"


def job(slug: str, **more: Any) -> dict[str, Any]:
    return {"slug": slug, "name": slug, "endpoint_url": URL, **more}


def flow(slug: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"slug": slug, "name": slug, "steps": list(steps), **more}


def whole() -> dict[str, Any]:
    """One of everything, each referring to another that stands further on."""
    return {
        "jobs": [
            job("first", on_complete_trigger_job="second", cron="0 9 * * *", calendar="days", signing_secret=SECRET),
            job("second", timeout_secs=60, tags={"team": "data"}),
        ],
        "workflows": [
            flow(
                "outer",
                {"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": "inner"},
                cron="0 10 * * *",
                calendar="days",
            ),
            flow(
                "inner",
                {"step_ref": "a", "job_id": "first"},
                {"step_ref": "b", "job_id": "second", "depends_on": ["a"]},
            ),
        ],
        "calendars": [{"slug": "days", "weekdays": ["sat", "sun"]}],
    }


def asked(api: Caller, verb: str, manifest: dict[str, Any], *, status: int = 200, **more: Any) -> dict[str, Any]:
    body = {"project": api.project, **manifest, **more}
    answer: dict[str, Any] = api.call("POST", f"/v1/manifests/{verb}", body, status=status)
    return answer


def actions(plan: dict[str, Any]) -> dict[str, str]:
    return {f"{one['kind']} {one['slug']}": one["action"] for one in plan["changes"]}


def listed(api: Caller, kind: str) -> list[str]:
    return sorted(one["slug"] for one in api.call("GET", f"/v1/{kind}?project_id={api.project}")["data"])


def everything(api: Caller) -> list[list[str]]:
    return [listed(api, kind) for kind in ("calendars", "jobs", "workflows")]


def test_a_plan_stores_nothing_and_applying_does_it(api: Caller):
    """The same changes are told before and after; a second time there are none, and no new versions."""
    plan = asked(api, "plan", whole())
    assert (plan["applied"], plan["same"], plan["name"]) == (False, False, "default")
    assert set(actions(plan).values()) == {"create"}
    assert next(iter(actions(plan))) == "calendar days"
    assert everything(api) == [[], [], []]
    done = asked(api, "apply", whole(), expect=plan["digest"])
    assert (done["applied"], done["digest"], actions(done)) == (True, plan["digest"], actions(plan))
    assert [bool(one["id"]) for one in (plan["changes"][0], done["changes"][0])] == [False, True]
    assert everything(api) == [["days"], ["first", "second"], ["inner", "outer"]]
    again = asked(api, "apply", whole())
    assert (again["same"], set(actions(again).values())) == (True, {"keep"})
    first = api.call("GET", f"/v1/jobs/first?project_id={api.project}")
    assert (first["version"], first["signing_secret"], first["calendar"]) == (1, "****", "days")
    assert api.call("GET", f"/v1/schedules/first?project_id={api.project}")["next_fire_at"] is not None


def test_changes_are_told_field_by_field(api: Caller):
    """What is not named goes back to its default; of secrets only that they change."""
    asked(api, "apply", whole())
    changed = whole()
    changed["jobs"][0] |= {"signing_secret": SECRET * 2}
    changed["jobs"][1] = job("second", timeout_secs=30, enabled=False)
    changed["workflows"][1]["steps"][1]["depends_on"] = []
    changed["calendars"][0]["weekdays"] = ["sun"]
    plan = asked(api, "plan", changed)
    told = {
        (one["slug"], field["field"]): (field["before"], field["after"])
        for one in plan["changes"]
        for field in one["fields"]
    }
    assert told == {
        ("days", "weekdays"): (["sat", "sun"], ["sun"]),
        ("first", "signing_secret"): ("****", "****"),
        ("second", "timeout_secs"): (60, 30),
        ("second", "tags"): ({"team": "data"}, {}),
        ("second", "enabled"): (True, False),
        ("inner", "steps.b.depends_on"): (["a"], []),
    }
    asked(api, "apply", changed)
    assert asked(api, "plan", changed)["same"]
    second = api.call("GET", f"/v1/jobs/second?project_id={api.project}")
    assert (second["timeout_secs"], second["enabled"], second["version"]) == (30, False, 2)


def test_what_is_not_named_of_secrets_and_switches_stays(api: Caller):
    """A manifest that was exported has no secrets; applying it takes none away. Null does."""
    asked(
        api, "apply", {"jobs": [job("a", signing_secret=SECRET, webhook_url=URL, webhook_secret=SECRET, enabled=False)]}
    )
    path = f"/v1/jobs/a?project_id={api.project}"
    assert asked(api, "apply", {"jobs": [job("a", webhook_url=URL)]})["same"]
    found = api.call("GET", path)
    assert (found["signing_secret"], found["webhook_secret"], found["enabled"]) == ("****", "****", False)
    # Without anybody to tell, the secret that signs what is told goes too.
    fields = asked(api, "apply", {"jobs": [job("a", signing_secret=None)]})["changes"][0]["fields"]
    assert [one["field"] for one in fields] == ["signing_secret", "webhook_url", "webhook_secret"]
    assert api.call("GET", path)["signing_secret"] is None


FAULTS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"jobs": [{"slug": "a"}]}, {"/jobs/0/name": "required", "/jobs/0/endpoint_url": "required"}),
    ({"jobs": [job("a"), job("a")]}, {"/jobs/1/slug": "twice"}),
    ({"jobs": [job("a", timeout_secs=0), job("b", cron="x")]}, {"/jobs/0/timeout_secs": "1 to 86400", "/jobs/1/cron": ""}),
    ({"jobs": [job("a", signing_secret="short")]}, {"/jobs/0/signing_secret": "24"}),
    ({"jobs": [job("a", payload_schema={"type": "nothing"})]}, {"/jobs/0/payload_schema": ""}),
    ({"jobs": [job("a", on_complete_trigger_job="gone")]}, {"/jobs/0/on_complete_trigger_job": "is no job"}),
    ({"jobs": [job("a", cron="0 9 * * *", calendar="gone")]}, {"/jobs/0/calendar": ""}),
    ({"jobs": [job("a", cron="@daily", payload_schema={"required": ["x"]})]}, {"/jobs/0/cron": "payload_schema"}),
    (
        {"jobs": [job("a", on_complete_trigger_job="b"), job("b", on_complete_trigger_job="a")]},
        {"/jobs/0/on_complete_trigger_job": "circle", "/jobs/1/on_complete_trigger_job": "circle"},
    ),
    ({"workflows": [flow("w", {"step_ref": "a", "job_id": "gone"})]}, {"/workflows/0/steps/0/job_id": "is no job"}),
    ({"workflows": [flow("w")]}, {"/workflows/0/steps": ""}),
    ({"calendars": [{"slug": "c"}], "name": "A B"}, {"/name": "a-z", "/calendars/0": "at least one"}),
]  # fmt: skip


@pytest.mark.parametrize(("manifest", "faults"), FAULTS)
def test_every_fault_is_told_and_nothing_is_stored(api: Caller, manifest: dict[str, Any], faults: dict[str, str]):
    """With its pointer, in the plan as in the deed; what is right beside it is not stored either."""
    manifest = {**manifest, "jobs": [*manifest.get("jobs", []), job("right")]}
    for verb in ("plan", "apply"):
        problem = asked(api, verb, manifest, status=422)
        told = {one["pointer"]: one["message"] for one in problem["errors"]}
        assert told.keys() == faults.keys()
        assert all(words in told[pointer] for pointer, words in faults.items())
    assert everything(api) == [[], [], []]


def test_the_project_has_to_be_one(api: Caller):
    """Named in the body or beside it, not twice differently; an unknown field is refused as everywhere."""
    api.refuse("POST", "/v1/manifests/plan", {}, status=422)
    api.refuse("POST", "/v1/manifests/plan?project_id=other", {"project": api.project}, status=422)
    assert api.call("POST", f"/v1/manifests/plan?project_id={api.project}", {})["project_id"] == api.project
    problem = api.refuse("POST", "/v1/manifests/plan", {"jobs": [job("a", nonsense=1)]}, status=422)
    assert problem["errors"][0]["pointer"] == "/jobs/0/nonsense"


def test_prune_takes_only_what_is_the_manifests_own(api: Caller):
    """Not what somebody made by hand, nor another manifest's; without it what is left is told."""
    api.make_job("by-hand")
    asked(api, "apply", {"name": "other", "jobs": [job("theirs")]})
    asked(api, "apply", whole())
    fewer = {"jobs": [job("second")]}
    left = asked(api, "apply", fewer)
    assert actions(left) == {
        "job second": "update", "workflow inner": "left", "workflow outer": "left", "job first": "left",
        "calendar days": "left",
    }  # fmt: skip
    plan = asked(api, "plan", fewer, prune=True)
    assert [action for action in actions(plan).values() if action == "delete"] == ["delete"] * 4
    asked(api, "apply", fewer, prune=True, expect=plan["digest"])
    assert everything(api) == [[], ["by-hand", "second", "theirs"], []]
    assert asked(api, "plan", fewer, prune=True)["same"]


def test_whoever_applies_last_owns(api: Caller):
    """What was made by hand is adopted, what another manifest has is taken over; the plan says so."""
    api.make_job("by-hand")
    adopted = asked(api, "apply", {"jobs": [job("by-hand")]})
    assert (adopted["same"], adopted["changes"][0]["owner"]) == (True, None)
    taken = asked(api, "apply", {"name": "other", "jobs": [job("by-hand")]})
    assert (taken["same"], taken["changes"][0]["owner"]) == (True, "default")
    assert asked(api, "apply", {}, prune=True)["changes"] == []
    assert actions(asked(api, "apply", {"name": "other"}, prune=True)) == {"job by-hand": "delete"}
    # A job of the same name that comes later is not the manifest's.
    api.make_job("by-hand")
    assert asked(api, "plan", {"name": "other"}, prune=True)["changes"] == []


def test_what_is_in_use_is_not_pruned(api: Caller):
    """Active runs, workflows of others, schedules of others: all that hinders is told, and nothing was done."""
    asked(api, "apply", {"jobs": [job("busy"), job("used")], "calendars": [{"slug": "days", "weekdays": ["sun"]}]})
    busy = api.call("GET", f"/v1/jobs/busy?project_id={api.project}")
    api.trigger(busy)
    api.make_job("timed", cron="0 9 * * *", calendar="days")
    api.call(
        "POST",
        "/v1/workflows",
        {"project_id": api.project, **flow("w", {"step_ref": "a", "job_id": "used"})},
        status=201,
    )
    problem = asked(api, "apply", {"jobs": [job("new")]}, prune=True, status=409)
    assert all(words in problem["detail"] for words in ("'busy'", "'used'", "'days'"))
    assert listed(api, "jobs") == ["busy", "timed", "used"]


def test_a_plan_that_is_out_of_date_is_not_carried_out(api: Caller):
    """What was confirmed is what is done, or nothing."""
    plan = asked(api, "plan", {"jobs": [job("a")]})
    api.make_job("a", timeout_secs=5)
    problem = asked(api, "apply", {"jobs": [job("a")]}, expect=plan["digest"], status=412)
    assert "no longer" in problem["detail"]
    assert api.call("GET", f"/v1/jobs/a?project_id={api.project}")["timeout_secs"] == 5


def test_references_by_id_and_by_slug_are_the_same(api: Caller):
    """A manifest that was exported names slugs where a request named ids; nothing changes by that."""
    made = api.make_job("a")
    body = {"project_id": api.project, **flow("w", {"step_ref": "s", "job_id": made["id"], "payload": {"n": 1.10}})}
    api.call("POST", "/v1/workflows", body, status=201)
    manifest = {"jobs": [job("a")], "workflows": [flow("w", {"step_ref": "s", "job_id": "a", "payload": {"n": 1.10}})]}
    assert asked(api, "plan", manifest)["same"]


def test_a_key_does_it_once(api: Caller):
    """A repetition is told what the first was told."""
    body = {"project": api.project, "jobs": [job("a")]}
    headers = {"Idempotency-Key": "k"}
    answers = [api.client.post("/v1/manifests/apply", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_two_at_once_come_to_one_state(api: Caller):
    """One waits for the other: every object is made once, no error, no half."""
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: asked(api, "apply", whole()), range(4)))
    assert sorted(plan["same"] for plan in plans) == [False, True, True, True]
    assert everything(api) == [["days"], ["first", "second"], ["inner", "outer"]]


def test_a_schedule_that_changes_loses_no_tick(api: Caller):
    """A job that loses its cron has no schedule left; one whose calendar changes follows."""
    asked(api, "apply", whole())
    before = api.call("GET", f"/v1/jobs/first/next-runs?project_id={api.project}&limit=3")["data"]
    changed = whole()
    changed["calendars"][0]["weekdays"] = ["mon", "tue", "wed", "thu", "fri"]
    asked(api, "apply", changed)
    assert api.call("GET", f"/v1/jobs/first/next-runs?project_id={api.project}&limit=3")["data"] != before
    changed["jobs"][0] = job("first", on_complete_trigger_job="second")
    asked(api, "apply", changed)
    changed["workflows"][0] = flow("outer", {"step_ref": "in", "step_type": "sub_workflow", "sub_workflow": "inner"})
    asked(api, "apply", changed)
    assert api.call("GET", f"/v1/schedules?project_id={api.project}")["data"] == []
