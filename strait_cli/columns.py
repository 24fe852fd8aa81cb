"""Which columns each kind of object has in a table, and which of them only with `-o wide`."""

from __future__ import annotations

from typing import Any, Final

from strait_cli import times
from strait_cli.table import Column


def _state(job: dict[str, Any]) -> str:
    if not job.get("enabled", True):
        return "disabled"
    return "paused" if job.get("paused") else "active"


def _took(item: dict[str, Any]) -> float | None:
    began, ended = (times.parse(item.get(name) or "") for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds() if began and ended else None


def _fires(schedule: dict[str, Any]) -> str:
    return str(schedule.get("workflow_slug") or schedule.get("job_slug") or "")


def _after(step: dict[str, Any]) -> str:
    return ", ".join(step["depends_on"])


def _does(step: dict[str, Any]) -> str:
    names = ("job_id", "sub_workflow", "event_key", "sleep_duration", "sleep_until", "approvers")
    found = next((step[name] for name in names if step.get(name)), "")
    return ", ".join(found) if isinstance(found, list) else str(found)


JOB: Final = (
    Column("slug"),
    Column("name", shrinks=True),
    Column("project_id", "project"),
    Column("state", of=_state),
    Column("endpoint_url", "endpoint", shrinks=True),
    Column("updated_at", "updated", "time", spare=True),
    Column("id", wide=True),
    Column("version", "v", "number", wide=True),
    Column("timeout_secs", "timeout", "number", wide=True),
    Column("max_attempts", "attempts", "number", wide=True),
    Column("retry_strategy", "retry", wide=True),
    Column("priority", "prio", "number", wide=True),
    Column("tags", shrinks=True, wide=True),
    Column("created_at", "created", "time", wide=True),
)
RUN: Final = (
    Column("id"),
    Column("job_slug", "job"),
    Column("status", kind="status"),
    Column("attempt", "try", "number", spare=True),
    Column("created_at", "created", "time"),
    Column("took", "took", "seconds", of=_took, spare=True),
    Column("error", shrinks=True),
    Column("project_id", "project", wide=True),
    Column("priority", "prio", "number", wide=True),
    Column("progress.percent", "%", "number", wide=True),
    Column("progress.message", "progress", shrinks=True, wide=True),
    Column("cost_microusd", "µ$", "number", wide=True),
    Column("triggered_by", "by", wide=True),
    Column("next_retry_at", "retry", "time", wide=True),
    Column("started_at", "started", "time", wide=True),
    Column("finished_at", "finished", "time", wide=True),
    Column("batch_id", "batch", wide=True),
    Column("tags", shrinks=True, wide=True),
)
WORKFLOW: Final = (
    Column("slug"),
    Column("name", shrinks=True),
    Column("project_id", "project"),
    Column("state", of=_state),
    Column("step_count", "steps", "number", spare=True),
    Column("version", "v", "number", spare=True),
    Column("updated_at", "updated", "time", spare=True),
    Column("id", wide=True),
    Column("max_parallel_steps", "parallel", "number", wide=True),
    Column("max_concurrent_runs", "runs", "number", wide=True),
    Column("timeout_secs", "timeout", "number", wide=True),
    Column("tags", shrinks=True, wide=True),
    Column("created_at", "created", "time", wide=True),
)
STEP: Final = (
    Column("step_ref", "step"),
    Column("step_type", "type"),
    Column("does", shrinks=True, of=_does),
    Column("depends_on", "after", shrinks=True, of=_after),
    Column("on_failure", "on failure"),
    Column("condition", shrinks=True, wide=True),
    Column("payload", shrinks=True, wide=True),
)
WORKFLOW_VERSION: Final = (
    Column("version", "v", "number"),
    Column("version_id", "id", spare=True),
    Column("created_at", "created", "time"),
    Column("step_count", "steps", "number"),
    Column("definition", wide=True, shrinks=True),
)
HEALTH: Final = (
    Column("job_slug", "job"),
    Column("held_by", "held by"),
    Column("held_until", "until", "time"),
    Column("breaker.state", "breaker"),
    Column("queued", kind="number"),
    Column("executing", kind="number"),
    Column("oldest_queued_age", "oldest", "seconds"),
    Column("recent.attempts", "attempts", "number"),
    Column("recent.failure_rate", "failing", "number"),
    Column("recent.latency_ms.p50", "p50 ms", "number"),
    Column("recent.latency_ms.p99", "p99 ms", "number"),
)
VERSION: Final = (
    Column("version", "v", "number"),
    Column("version_id", "id", spare=True),
    Column("created_at", "created", "time"),
    Column("definition", shrinks=True),
)
ATTEMPT: Final = (
    Column("attempt", "try", "number"),
    Column("outcome"),
    Column("http_status", "http", "number"),
    Column("started_at", "started", "time"),
    Column("timings_ms.queue_wait", "queue ms", "number", spare=True),
    Column("timings_ms.connect", "conn ms", "number", spare=True),
    Column("timings_ms.ttfb", "first ms", "number"),
    Column("timings_ms.total", "total ms", "number"),
    Column("error", shrinks=True),
    Column("error_class", "class", wide=True),
    Column("timings_ms.transfer", "transfer ms", "number", wide=True),
    Column("worker_id", "worker", wide=True),
    Column("finished_at", "finished", "time", wide=True),
)
LOG: Final = (
    Column("at", "at", "time"),
    Column("level"),
    Column("message"),
    Column("data", shrinks=True),
    Column("seq", kind="number", wide=True),
    Column("attempt", "try", "number", wide=True),
)
EVENT: Final = (
    Column("seq", kind="number"),
    Column("at", "at", "time"),
    Column("event"),
    Column("status", kind="status"),
    Column("attempt", "try", "number"),
    Column("reason", shrinks=True),
)
WORKER: Final = (
    Column("id"),
    Column("host", shrinks=True, spare=True),
    Column("pid", kind="number", spare=True),
    Column("mode", spare=True),
    Column("in_flight", "busy", "number"),
    Column("slots", kind="number"),
    Column("alive"),
    Column("draining", spare=True),
    Column("heartbeat_at", "heard", "time"),
    Column("started_at", "started", "time", wide=True),
    Column("version", wide=True),
)
SENT_EVENT: Final = (
    Column("id"),
    Column("key", shrinks=True),
    Column("status"),
    Column("waits", "waiting", "number"),
    Column("delivered", kind="number", spare=True),
    Column("created_at", "created", "time", spare=True),
    Column("sent_at", "sent", "time", spare=True),
    Column("expires_at", "expires", "time", wide=True),
    Column("project_id", "project", wide=True),
)
BUDGET: Final = (
    Column("project_id", "project"),
    Column("daily_microusd", "daily µ$", "number"),
    Column("spent_microusd", "spent µ$", "number"),
    Column("timezone", "zone"),
    Column("resets_at", "resets", "time"),
)
WORKFLOW_RUN: Final = (
    Column("id"),
    Column("workflow_slug", "workflow"),
    Column("status", kind="status"),
    Column("has_failures", "failures", spare=True),
    Column("created_at", "created", "time"),
    Column("took", "took", "seconds", of=_took, spare=True),
    Column("error", shrinks=True),
    Column("project_id", "project", wide=True),
    Column("version", "v", "number", wide=True),
    Column("triggered_by", "by", wide=True),
    Column("parent_run_id", "parent", wide=True),
    Column("started_at", "started", "time", wide=True),
    Column("finished_at", "finished", "time", wide=True),
    Column("expires_at", "expires", "time", wide=True),
    Column("tags", shrinks=True, wide=True),
)
STEP_RUN: Final = (
    Column("step_ref", "step"),
    Column("step_type", "type"),
    Column("status", kind="status"),
    Column("attempt", "try", "number", spare=True),
    Column("depends_on", "after", shrinks=True, of=_after, spare=True),
    Column("took", "took", "seconds", of=_took, spare=True),
    Column("job_run_id", "run", spare=True),
    Column("error", shrinks=True),
    Column("reason", shrinks=True, wide=True),
    Column("workflow_run_id", "workflow run", wide=True),
    Column("due_at", "until", "time", wide=True),
    Column("compensated_by", "undone by", wide=True),
    Column("started_at", "started", "time", wide=True),
    Column("finished_at", "finished", "time", wide=True),
)
SIMULATED_STEP: Final = (
    Column("step_ref", "step"),
    Column("step_type", "type"),
    Column("status", kind="status"),
    Column("starts_at_secs", "from s", "number"),
    Column("ends_at_secs", "to s", "number"),
    Column("length_from", "known from"),
    Column("on_critical_path", "critical"),
    Column("note", shrinks=True),
)
STEP_TIME: Final = (
    Column("step_ref", "step"),
    Column("status", kind="status"),
    Column("ready_at", "ready", "time", spare=True),
    Column("started_at", "started", "time"),
    Column("finished_at", "finished", "time"),
    Column("wait_ms", "wait ms", "number", spare=True),
    Column("took_ms", "took ms", "number"),
)
APPROVAL: Final = (
    Column("id"),
    Column("step_ref", "step"),
    Column("status"),
    Column("workflow_run_id", "workflow run", spare=True),
    Column("approvers", shrinks=True, spare=True),
    Column("created_at", "asked", "time", spare=True),
    Column("expires_at", "until", "time", spare=True),
    Column("decided_by", "by", spare=True),
    Column("comment", shrinks=True, spare=True),
    Column("project_id", "project", wide=True),
    Column("decided_at", "decided", "time", wide=True),
)
WEBHOOK: Final = (
    Column("id"),
    Column("type"),
    Column("status"),
    Column("attempts", "tried", "number", spare=True),
    Column("slug", "of", shrinks=True, of=_fires),
    Column("run_id", "run", spare=True),
    Column("created_at", "created", "time", spare=True),
    Column("next_attempt_at", "next", "time", spare=True),
    Column("error", shrinks=True),
    Column("http_status", "http", "number", wide=True),
    Column("delivered_at", "delivered", "time", wide=True),
    Column("project_id", "project", wide=True),
)
SCHEDULE: Final = (
    Column("slug", "fires"),
    Column("cron"),
    Column("timezone", "zone", spare=True),
    Column("state"),
    Column("next_fire_at", "next", "time"),
    Column("last_fire_at", "last", "time", spare=True),
    Column("last_run_id", "last run", spare=True),
    Column("last_breach.deadline", "late"),
    Column("kind", wide=True),
    Column("id", wide=True),
    Column("project_id", "project", wide=True),
    Column("expected_by", "success by", "time", wide=True),
    Column("held_fire_at", "waiting", "time", wide=True),
    Column("pause_reason", "why", shrinks=True, wide=True),
)
FIRE: Final = (
    Column("fire_at", "tick", "time"),
    Column("triggered_by", "by", spare=True),
    Column("run_id", "run"),
    Column("skipped"),
    Column("ticks", kind="number", spare=True),
    Column("breaches", "late", of=lambda fire: ", ".join(fire["breaches"])),
    Column("decided_at", "decided", "time", wide=True),
    Column("first_fire_at", "from", "time", wide=True),
)
BREACH: Final = (
    Column("deadline"),
    Column("since", kind="time"),
    Column("limit_at", "limit", "time"),
    Column("found_at", "found", "time"),
    Column("run_id", "run"),
)
BACKFILL: Final = (
    Column("slug", "fires", of=_fires),
    Column("state"),
    Column("fires", kind="number"),
    Column("completed", kind="number"),
    Column("unsuccessful", kind="number"),
    Column("active", kind="number", spare=True),
    Column("from_at", "from", "time", spare=True),
    Column("to_at", "to", "time", spare=True),
    Column("schedule_id", wide=True),
    Column("made", kind="number", wide=True),
    Column("max_concurrency", "at once", "number", wide=True),
    Column("created_at", "created", "time", wide=True),
    Column("ended_at", "ended", "time", wide=True),
)
BACKFILL_TICK: Final = (Column("fire_at", "UTC"), Column("local"), Column("zone_offset", "offset"))
NEXT_FIRE: Final = (
    Column("fire_at", "UTC"),
    Column("local"),
    Column("zone_offset", "offset"),
    Column("runs_at", "runs", wide=True),
)
CALENDAR: Final = (
    Column("slug"),
    Column("project_id", "project"),
    Column("weekdays", shrinks=True),
    Column("dates", shrinks=True),
    Column("ranges", shrinks=True, spare=True),
    Column("updated_at", "updated", "time"),
    Column("id", wide=True),
)
FINDING: Final = (
    Column("status"),
    Column("check"),
    Column("detail", shrinks=True),
    Column("fix", shrinks=True),
)
CONTEXT: Final = (
    Column("active"),
    Column("name"),
    Column("server", shrinks=True),
    Column("project"),
    Column("format"),
    Column("key", shrinks=True),
)
ALIAS: Final = (Column("name"), Column("expansion", shrinks=True))
SETTING: Final = (
    Column("setting"),
    Column("value", shrinks=True),
    Column("source"),
    Column("origin", "from", shrinks=True),
)
