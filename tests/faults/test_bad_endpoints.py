"""Endpoints that misbehave in every way at once, under load: each run ends as it should, and the good ones do not suffer."""

from __future__ import annotations

from tests.faults.checks import expect_promises_kept, wait_for_all
from tests.support.daemon import running_daemon
from tests.support.endpoint import Endpoint

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


def test_all_at_once(database: str, endpoint: Endpoint):
    """Resetting, hanging, dripping, huge, half and non-HTTP answers beside good ones, with fewer slots than runs."""
    with running_daemon(database, settings={"WORKER_POOL_SIZE": "150"}) as daemon:
        runs: dict[str, str] = {}
        for number, path in enumerate(ENDINGS):
            slug = f"job-{number}"
            daemon.make_job(endpoint.url(path), slug, max_attempts=2, timeout_secs=1, retry_strategy="fixed")
            runs |= dict.fromkeys(daemon.trigger_many(EACH, slug), path)
        wait_for_all(database, len(runs))
        for run_id, path in runs.items():
            run = daemon.run(run_id)
            assert (run["status"], run["attempt"], run["error_class"]) == ENDINGS[path], (path, run)
            assert run["result_truncated"] is (path == "/huge/2")
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.said
    expect_promises_kept(database, endpoint)
