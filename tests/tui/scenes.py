"""What the canned server tells in the tests of the views: one run's life, one workflow run's, a busy queue."""

from __future__ import annotations

from typing import Any

from tests.tui.canned import event

RUN_ID = "run_01kb000000f0r8k3s9v2m4x6yz"
JOB_ID = "job_01kb000000a1b2c3d4e5f6g7h8"
AT = "2030-01-31T09:00:{:06.3f}Z"
# How a stream of the feed begins.
PLACE = "retry: 1000\nid: 1.0.0\n\n"


def at(seconds: float) -> str:
    """A time so long after nine o'clock."""
    return AT.format(seconds)


def run(**more: Any) -> dict[str, Any]:
    """A run as the API shows it."""
    return {
        "id": RUN_ID,
        "job_id": JOB_ID,
        "job_slug": "sync-invoices",
        "project_id": "billing",
        "status": "executing",
        "seq": 6,
        "attempt": 2,
        "max_attempts": 3,
        "payload": {"customer": "c_1042", "since": "2030-01-01", "pages": [1, 2, 3], "dry_run": False},
        "result": None,
        "result_truncated": False,
        "error": None,
        "error_class": None,
        "metadata": {},
        "tags": {"team": "billing"},
        "triggered_by": "api",
        "scheduled_at": None,
        "created_at": at(0),
        "started_at": at(5.2),
        "finished_at": None,
        "heartbeat_at": at(9),
        "next_retry_at": None,
        "expires_at": None,
        "priority": 5,
        "job_version": 3,
        "batch_id": None,
        "idempotency_key": None,
        "concurrency_key": None,
        "parent_run_id": None,
        "continuation_of": None,
        "lineage_depth": 0,
        "workflow_run_id": None,
        "step_ref": None,
        "fire_at": None,
        "timeout_secs": 300,
        "warnings": [],
        "progress": None,
        "cost_microusd": 0,
        **more,
    }


def status(seq: int, state: str, attempt: int, seconds: float, reason: str | None = None) -> str:
    """A move of the run."""
    data = {"run_id": RUN_ID, "status": state, "attempt": attempt, "at": at(seconds)}
    return event("status", str(seq), data if reason is None else {**data, "reason": reason})


def attempt(number: int, seq: int, outcome: str, ends: float, **more: Any) -> str:
    """An attempt that was closed."""
    data = {
        "attempt": number,
        "outcome": outcome,
        "worker_id": "w",
        "claimed_at": at(0.012),
        "started_at": at(0.014),
        "finished_at": at(ends),
        "http_status": 200,
        "error": None,
        "error_class": None,
        "fallback": None,
        "timings_ms": {"queue_wait": 12.0, "connect": 3.2, "ttfb": 480.0, "transfer": 21.0, "total": 504.2},
        **more,
    }
    return event("attempt", str(seq), data)


def log(note: int, seq: int, level: str, message: str, seconds: float, data: Any = None) -> str:
    """A line that the endpoint logged."""
    said = {"run_id": RUN_ID, "seq": note, "at": at(seconds), "attempt": 2, "level": level, "message": message}
    return event("log", f"{seq}.{note}", {**said, "data": data})


LIFE = [
    status(2, "dequeued", 0, 0.012),
    status(3, "executing", 1, 0.014),
    attempt(1, 3, "error", 0.52, http_status=500, error="HTTP 500: upstream is away"),
    status(4, "queued", 1, 0.52, "HTTP 500: upstream is away"),
    status(5, "dequeued", 1, 5.19),
    status(6, "executing", 2, 5.2),
    log(1, 6, "info", "fetching invoices", 5.3, {"page": 1}),
    log(2, 6, "debug", "cache miss", 5.4),
    log(3, 6, "warning", "page 2 was slow", 6.1, {"took_ms": 640}),
    event("progress", "6.4", {"run_id": RUN_ID, "percent": 62.5, "message": "page 2 of 3", "at": at(6.2)}),
    log(5, 6, "error", "page 3: checksum differs [brackets]; asked again", 7.0),
]
END = [
    attempt(
        2,
        6,
        "completed",
        9.1,
        timings_ms={"queue_wait": 10.1, "connect": 1.1, "ttfb": 3700.0, "transfer": 188.0, "total": 3889.0},
    ),
    status(7, "completed", 2, 9.1),
]
RESULT = {"invoices": 128, "total": {"amount": "10423.50", "currency": "EUR"}, "skipped": [], "next": None}


def ended(**more: Any) -> dict[str, Any]:
    """The run after its end."""
    return run(status="completed", seq=7, finished_at=at(9.1), result=RESULT, **more)


def life(*events: str, **more: Any) -> dict[str, Any]:
    """The answers about the one run, whose stream has these events."""
    path = f"/v1/runs/{RUN_ID}"
    return {
        path: run(**more),
        f"{path}/stream": list(events),
        f"{path}/explain": {"run_id": RUN_ID, "job_slug": "sync-invoices", "status": "executing", "reasons": []},
    }


# ── everything ────────────────────────────────────────────────────────────────────────────────────────────────────────

SLUGS = ("sync-invoices", "send-welcome", "resize-images", "nightly-report", "charge-cards", "index-search")
STATES = ("completed", "executing", "queued", "completed", "completed", "dead_letter", "completed", "waiting", "failed")


def some_runs(count: int) -> list[dict[str, Any]]:
    """Runs of several jobs in several states, the newest first."""
    found = []
    for number in range(count):
        state = STATES[number % len(STATES)]
        failed = state in {"dead_letter", "failed"}
        found.append(
            run(
                id=f"run_01kb0000{number:02}f0r8k3s9v2m4x6",
                job_slug=SLUGS[number % len(SLUGS)],
                status=state,
                attempt=3 if failed else 1,
                error="HTTP 502: upstream sent an invalid answer" if failed else None,
                created_at=at(max(0.0, 11.0 - number * 0.4)),
                started_at=at(4.0),
                finished_at=at(4.4 + number % 5) if state == "completed" or failed else None,
            )
        )
    return found


def job(number: int, **more: Any) -> dict[str, Any]:
    """A job as lists show it."""
    slug = SLUGS[number % len(SLUGS)]
    return {
        "id": f"job_01kb0000{number:02}a1b2c3d4e5f6g7",
        "project_id": "billing",
        "slug": slug,
        "name": slug.replace("-", " ").title(),
        "enabled": True,
        "paused": number == 3,
        "endpoint_url": f"https://api.example.com/jobs/{slug}",
        "version": 2,
        "updated_at": at(1.0),
        "created_at": at(0.5),
        **more,
    }


def everything() -> dict[str, Any]:
    """The answers about a busy server."""
    listed = some_runs(40)
    jobs = [job(number) for number in range(6)]
    stats = {
        "depth": {"queued": 1_284, "delayed": 36, "executing": 57, "dequeued": 3, "waiting": 12},
        "ready": 1_190,
        "held": {"paused": 64, "concurrency": 30},
        "oldest_queued_age": 42.5,
        "breaches": {},
        "rate_1m": {"created": 118.4, "finished": 121.9},
        "rate_15m": {"created": 96.0, "finished": 95.2},
        "workers": 2,
        "slots": {"used": 60, "total": 200},
        "top_jobs": [
            {"job_id": one["id"], "job_slug": one["slug"], "queued": 900 - 200 * at_, "executing": 30 - 8 * at_}
            for at_, one in enumerate(jobs[:4])
        ],
    }
    workers = [
        {"id": f"w{n}", "host": f"node-{n}", "pid": 4_000 + n, "mode": "all", "version": "1.0.0", "slots": 100,
         "in_flight": 40 - 20 * n, "draining": False, "alive": True, "started_at": at(0), "heartbeat_at": at(10)}
        for n in range(2)
    ]  # fmt: skip
    schedule = {
        "id": "sch_01kb000000a1b2c3d4e5f6g7h8", "kind": "job", "slug": "nightly-report", "job_id": jobs[3]["id"],
        "job_slug": "nightly-report", "workflow_id": None, "workflow_slug": None,
        "project_id": "billing", "cron": "0 2 * * *", "timezone": "Europe/Paris", "state": "active", "paused": False,
        "next_fire_at": "2030-02-01T01:00:00Z", "last_fire_at": "2030-01-31T01:00:00Z", "last_run_id": None,
        "last_breach": None, "expected_by": None, "held_fire_at": None, "pause_reason": None,
    }  # fmt: skip
    workflow = {
        "id": "wf_01kb000000a1b2c3d4e5f6g7h8", "slug": "month-end", "name": "Month end", "project_id": "billing",
        "enabled": True, "paused": False, "step_count": 4, "version": 3, "updated_at": at(1), "created_at": at(0),
    }  # fmt: skip
    sent = {
        "id": "evt_01kb000000a1b2c3d4e5f6g7h8", "key": "invoice/1042/paid", "status": "sent", "waits": 0,
        "delivered": 2, "created_at": at(1), "sent_at": at(2), "expires_at": None, "project_id": "billing",
    }  # fmt: skip
    dead = [one for one in listed if one["status"] == "dead_letter"]
    answers: dict[str, Any] = {
        "/v1/stream": [PLACE],
        "/v1/stats": stats,
        "/v1/workers": page(workers),
        "/v1/runs": page(listed),
        "/v1/jobs": page(jobs),
        "/v1/workflows": page([workflow]),
        f"/v1/workflows/{workflow['id']}/graph": "┏━━━━━━━━━┓\n┃ collect ┃\n┗━━━━━━━━━┛\n",
        "/v1/schedules": page([schedule]),
        f"/v1/schedules/{schedule['id']}/next": page(
            [
                {
                    "fire_at": f"2030-02-0{day}T01:00:00Z",
                    "runs_at": f"2030-02-0{day}T01:00:00Z",
                    "local": f"2030-02-0{day}T02:00:00",
                    "zone_offset": "+01:00",
                }
                for day in range(1, 6)
            ]
        ),
        "/v1/runs/dlq": page(dead),
        "/v1/events": page([sent]),
        f"/v1/events/{sent['id']}": sent,
        f"/v1/jobs/{jobs[0]['id']}": {**jobs[0], "timeout_secs": 300},
    }
    for one in listed:
        answers[f"/v1/runs/{one['id']}"] = one
        answers[f"/v1/runs/{one['id']}/stream"] = []
    return answers


def page(rows: list[dict[str, Any]], cursor: str | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {"data": rows, "next_cursor": cursor}


# ── a workflow run ────────────────────────────────────────────────────────────────────────────────────────────────────

FLOW_ID = "wfr_01kb000000f0r8k3s9v2m4x6yz"
FLOW = f"/v1/workflow-runs/{FLOW_ID}"
STEPS = {
    "extract": ("completed", []),
    "clean": ("completed", ["extract"]),
    "enrich": ("running", ["extract"]),
    "review": ("waiting", ["clean"]),
    "load": ("pending", ["enrich", "review"]),
    "report": ("pending", ["load"]),
}


def flow(**more: Any) -> dict[str, Any]:
    """A workflow run as the API shows it."""
    return {
        "id": FLOW_ID, "workflow_id": "wf_01kb000000a1b2c3d4e5f6g7h8", "workflow_slug": "data-pipeline",
        "project_id": "billing", "version": 3, "status": "running", "seq": 5, "payload": {"day": "2030-01-31"},
        "has_failures": False, "error": None, "error_class": None, "tags": {}, "labels": {}, "triggered_by": "manual",
        "parent_run_id": None, "created_at": at(0), "started_at": at(0), "expires_at": None, "finished_at": None, **more,
    }  # fmt: skip


def steps(**states: str) -> list[dict[str, Any]]:
    """The steps of the workflow run, some in other states."""
    found = []
    for number, (ref, (usual, after)) in enumerate(STEPS.items()):
        state = states.get(ref, usual)
        began = None if state == "pending" else at(number)
        over = at(number + 1.5) if state in {"completed", "failed"} else None
        found.append(
            {"step_ref": ref, "step_type": "approval" if ref == "review" else "job", "status": state,
             "error": "HTTP 500: no" if state == "failed" else None, "error_class": None, "attempt": int(began is not None),
             "job_run_id": RUN_ID if began and ref != "review" else None, "workflow_run_id": None,
             "compensated_by": None, "depends_on": after, "reason": None, "due_at": None, "started_at": began,
             "finished_at": over}
        )  # fmt: skip
    return found


def pipeline(*events: str) -> dict[str, Any]:
    """The answers about the one workflow run, whose stream has these events."""
    level = {"extract": 0, "clean": 1, "enrich": 1, "review": 2, "load": 3, "report": 4}
    critical = ("extract", "clean", "review", "load", "report")
    nodes = [
        {"step_ref": one["step_ref"], "step_type": one["step_type"], "level": level[one["step_ref"]],
         "on_critical_path": one["step_ref"] in critical, "status": one["status"]}
        for one in steps()
    ]  # fmt: skip
    edges = [{"before": before, "after": ref} for ref, (_, after) in STEPS.items() for before in after]
    why = [{"step_ref": "review", "status": "waiting", "text": "waits for an approval by ann"}]
    return {
        **life(*LIFE),
        FLOW: flow(),
        f"{FLOW}/graph": {"id": FLOW_ID, "status": "running", "nodes": nodes, "edges": edges, "runnable": [],
                          "critical_path": list(critical)},
        f"{FLOW}/steps": page(steps()),
        f"{FLOW}/explain": {"id": FLOW_ID, "status": "running", "text": "running", "steps": why},
        f"{FLOW}/stream": [event("snapshot", "5.running.0", flow()), *events],
    }  # fmt: skip


def step(ref: str, state: str, seconds: float) -> str:
    """A move of a step."""
    return event("step", f"6.running.{int(seconds)}", {"step_ref": ref, "state": state, "at": at(seconds)})


def flow_status(state: str, seconds: float) -> str:
    """A move of the workflow run."""
    data = {"workflow_run_id": FLOW_ID, "status": state, "at": at(seconds)}
    return event("status", f"7.{state}.{int(seconds)}", data)
