"""Endpoints that misbehave in every way at once, under load: each run ends as it should, and the good ones do not suffer."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.faults.behaviours import Behaviour, draw
from tests.faults.checks import expect_invariants, expect_promises_kept, wait_for_all
from tests.faults.misbehaving import Misbehaving, misbehaving
from tests.support.daemon import Daemon, running_daemon
from tests.support.endpoint import Endpoint
from tests.support.figures import Figures
from tests.support.sizes import SEED, size

# Behaviour of the endpoint, and the (status, attempts, class of error) that its runs end with.
ENDINGS = {
    "/ok": ("completed", 1, None),
    "/text": ("completed", 1, None),
    "/binary": ("completed", 1, None),
    "/huge/2": ("completed", 1, None),
    "/flaky/1": ("completed", 2, None),
    "/final": ("failed", 1, "server"),
    "/status/500": ("dead_letter", 2, "server"),
    "/redirect": ("dead_letter", 2, "redirect"),
    "/reset": ("dead_letter", 2, "connection"),
    "/garbage": ("dead_letter", 2, "protocol"),
    "/half": ("dead_letter", 2, "protocol"),
    "/hang": ("timed_out", 2, "timeout"),
    "/drip/30": ("timed_out", 2, "timeout"),
}
EACH = 20
# No breaker: each run is to meet its endpoint.
JOB = {"max_attempts": 2, "timeout_secs": 1, "retry_strategy": "fixed", "breaker_threshold": 0}


def test_all_at_once(database: str, endpoint: Endpoint):
    """Resetting, hanging, dripping, huge, half and non-HTTP answers beside good ones, with fewer slots than runs."""
    with running_daemon(database, settings={"WORKER_POOL_SIZE": "150"}) as daemon:
        runs: dict[str, str] = {}
        for number, path in enumerate(ENDINGS):
            slug = f"job-{number}"
            daemon.make_job(endpoint.url(path), slug, **JOB)
            runs |= dict.fromkeys(daemon.trigger_many(EACH, slug), path)
        wait_for_all(database, len(runs))
        for run_id, path in runs.items():
            run = daemon.run(run_id)
            tries = daemon.call("GET", f"/v1/runs/{run_id}/attempts")["data"]
            # An attempt that waited too long for a slot among the hanging ones went back without a call.
            spent = sum(one["outcome"] != "released" for one in tries)
            assert (run["status"], spent, run["error_class"]) == ENDINGS[path], (path, run)
            assert run["result_truncated"] is (path == "/huge/2")
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.said
    expect_promises_kept(database, endpoint)


BEHAVIOURS = size(ci=400, soak=10_000)
# At once, in one bulk trigger.
BULK = 500


@pytest.mark.slow
@pytest.mark.soak
def test_whatever_an_endpoint_does_the_run_ends_as_it_must(database: str, figures: Figures):
    """400 behaviours drawn at random (10,000 in a soak): the daemon reports no error, and each run is as the oracle says."""
    drawn = draw(BEHAVIOURS, SEED)
    with misbehaving(drawn) as endpoint, running_daemon(database, settings={"LOG_FORMAT": "json"}) as daemon:
        runs = triggered(daemon, endpoint, drawn)
        wait_for_all(database, len(drawn), 60 + len(drawn) / 20)
        wrong = [told for run_id, number in runs.items() if (told := wrong_ending(daemon, run_id, drawn[number]))]
        assert daemon.stop() == 0
        figures.note("behaviours of endpoints", len(drawn), dict(Counter(one.family for one in drawn)))
        assert wrong[:10] == [], f"{len(wrong)} of {len(drawn)}"
        assert errors_logged(daemon.said) == []
    assert max(endpoint.asked.values()) == 1
    expect_invariants(database)


def triggered(daemon: Daemon, endpoint: Misbehaving, drawn: list[Behaviour]) -> dict[str, int]:
    """A run for each behaviour, by a job with enough time or, for those that hang, with a second; run and number."""
    daemon.make_job(endpoint.url, "patient", max_attempts=1, timeout_secs=60, breaker_threshold=0)
    daemon.make_job(endpoint.url, "hasty", max_attempts=1, timeout_secs=1, breaker_threshold=0)
    runs: dict[str, int] = {}
    for slug, hangs in (("patient", False), ("hasty", True)):
        numbers = [n for n, one in enumerate(drawn) if (one.after == "hang") is hangs]
        for at in range(0, len(numbers), BULK):
            part = numbers[at : at + BULK]
            items = [{"payload": {"n": n}} for n in part]
            batch = daemon.call("POST", f"/v1/jobs/{slug}/trigger/bulk", {"items": items}, status=201)
            runs |= zip((run["id"] for run in batch["data"]), part, strict=True)
    return runs


def wrong_ending(daemon: Daemon, run_id: str, behaviour: Behaviour) -> str | None:
    """What is wrong with how the run ended, None when that is right."""
    run = daemon.run(run_id)
    (attempt,) = daemon.call("GET", f"/v1/runs/{run_id}/attempts")["data"]
    if any(ending.fits(run, attempt) for ending in behaviour.endings):
        return None
    found = (run["status"], run["error"], attempt["http_status"], str(run["result"])[:200])
    return f"{found} after {str(behaviour)[:600]} … {str(behaviour)[-400:]}"


def errors_logged(said: str) -> list[str]:
    """Log lines that are worse than a warning, and traces of errors that nobody logged."""
    logged = [line for line in said.splitlines() if line.startswith("{") and json.loads(line)["level"] not in CALM]
    return [*logged, *(line for line in said.splitlines() if "Traceback" in line)]


CALM = {"debug", "info", "warning"}
