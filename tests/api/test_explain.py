"""Why a run is not running, over HTTP; what the reasons are made of is shown in tests/store/test_explain.py."""

from __future__ import annotations

from strait_core.run import Status
from tests.api.caller import Caller


def codes(api: Caller, run_id: str) -> list[str]:
    """The reasons' codes."""
    return [one["code"] for one in api.call("GET", f"/v1/runs/{run_id}/explain")["reasons"]]


def test_a_run_is_explained_wherever_it_is(api: Caller):
    """From paused to ended, with the run's job and state beside the reasons."""
    job = api.make_job("why")
    run = api.trigger(job)
    api.call("POST", f"/v1/jobs/{job['id']}/pause", {"reason": "for now"})
    told = api.call("GET", f"/v1/runs/{run['id']}/explain")
    assert (told["run_id"], told["job_slug"], told["status"]) == (run["id"], "why", "queued")
    assert told["reasons"] == [
        {"code": "paused", "text": "job why is paused: for now", "until": None, "run_ids": [], "count": None}
    ]
    api.call("POST", f"/v1/jobs/{job['id']}/resume")
    assert codes(api, run["id"])[0] == "no_worker"
    claimed = api.claim(run)
    assert codes(api, run["id"]) == ["claimed"]
    started = api.start(claimed)
    assert codes(api, run["id"]) == ["executing"]
    api.finish(started, Status.FAILED)
    assert codes(api, run["id"]) == ["ended"]


def test_only_ones_own_runs_are_explained(api: Caller):
    """Another project's run, and one that is none, are not found."""
    run = api.trigger(api.make_job("mine"))
    for end in (
        f"{run['id']}/explain?project_id=elsewhere",
        "run_00000000000000000000000001/explain",
        "nothing/explain",
    ):
        assert api.refuse("GET", f"/v1/runs/{end}", status=404)["code"] == "not_found"
