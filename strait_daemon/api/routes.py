"""Every route, as data."""

from __future__ import annotations

from typing import Any, Final

from strait_core import ids, wire
from strait_core.errors import (
    BudgetError,
    ConflictError,
    NotFoundError,
    PreconditionError,
)
from strait_core.wire import bulk as wire_bulk
from strait_daemon.api import (
    backfills,
    budgets,
    bulk,
    bulk_runs,
    calendars,
    changes,
    docs,
    doctor,
    events,
    explain,
    feed_stream,
    fleet,
    health,
    jobs,
    lineage,
    logs,
    manifests,
    ops,
    runs,
    schedules,
    sdk_routes,
    sdk_waits,
    simulation,
    stream,
    trigger,
    webhooks,
    workflow_routes,
    workflow_run_routes,
)
from strait_daemon.api.body import BULK_BYTES, TRIGGER_BYTES, Body, Nothing
from strait_daemon.api.operation import Operation
from strait_daemon.api.query import (
    INCLUDE,
    PAGING,
    PROJECT,
    STATUS,
    flag_param,
    id_param,
    id_prefix_param,
    pair_param,
    text_param,
    time_param,
)

JOB: Final = "/v1/jobs/{job}"
RUN: Final = "/v1/runs/{run}"
_MISSING: Final = (NotFoundError,)
_UNCLEAR: Final = (NotFoundError, ConflictError)
_CHANGING: Final = (NotFoundError, ConflictError, PreconditionError)


def _of_job(method: str, end: str, **rest: Any) -> Operation:
    return Operation(method=method, path=JOB + end, tag="jobs", query=rest.pop("query", (PROJECT,)), **rest)


def _of_run(method: str, end: str, **rest: Any) -> Operation:
    return Operation(
        method=method,
        path=RUN + end,
        tag="runs",
        query=rest.pop("query", (PROJECT,)),
        raises=rest.pop("raises", _MISSING),
        **rest,
    )


TRIGGERS: Final = (
    _of_job(
        "POST",
        "/trigger",
        handle=trigger.trigger,
        name="triggerJob",
        summary=(
            "Start one run. The answer comes after it has been stored: 201 a new run, 202 a run that waits for more"
            " triggers (debounce, batch), 200 a run that an equal trigger made before, or with `dry_run` one that was"
            " only thought of."
        ),
        status=201,
        returns=wire.Run,
        body=Body(wire.TriggerRequest, most=TRIGGER_BYTES, raw="payload"),
        also={200: wire.Run, 202: wire.Run},
        once=True,
        raises=(*_UNCLEAR, BudgetError),
    ),
    _of_job(
        "POST",
        "/trigger/bulk",
        handle=bulk.trigger_bulk,
        name="triggerJobInBulk",
        summary="Start up to 1,000 runs, all or none; payloads are left out of the answer.",
        status=201,
        returns=wire.Batch,
        body=Body(wire.BulkTriggerRequest, most=BULK_BYTES, raw="payload", items="items", required=True),
        also={200: wire.Batch},
        once=True,
        raises=(*_UNCLEAR, BudgetError),
    ),
)

JOBS: Final = (
    Operation(
        method="POST",
        path="/v1/jobs",
        handle=jobs.create_job,
        name="createJob",
        summary="Create a job.",
        tag="jobs",
        status=201,
        returns=wire.Job,
        body=Body(wire.JobCreate, required=True),
        query=(PROJECT,),
        raises=(ConflictError,),
        etag=True,
        once=True,
    ),
    Operation(
        method="GET",
        path="/v1/jobs",
        handle=jobs.list_jobs,
        name="listJobs",
        summary="List jobs, the newest first.",
        tag="jobs",
        returns=wire.Page[wire.Job],
        query=(
            PROJECT,
            *PAGING,
            id_prefix_param(ids.Prefix.JOB),
            text_param("slug", "Exactly this slug."),
            flag_param("enabled", "Only enabled or only disabled jobs."),
            flag_param("paused", "Only paused jobs, or only those that are not."),
            pair_param("tag", "Jobs that carry this tag."),
        ),
    ),
    _of_job(
        "GET",
        "",
        handle=jobs.get_job,
        name="getJob",
        summary="Read a job.",
        returns=wire.Job,
        raises=_UNCLEAR,
        etag=True,
    ),
    _of_job(
        "PATCH",
        "",
        handle=jobs.patch_job,
        name="updateJob",
        summary="Change what is named; a changed definition is a new version. Null puts a field back to its default.",
        returns=wire.Job,
        body=Body(wire.JobPatch, required=True),
        raises=_CHANGING,
        etag=True,
        if_match=True,
    ),
    _of_job(
        "DELETE",
        "",
        handle=jobs.delete_job,
        name="deleteJob",
        summary="Delete a job that has no active runs; its finished runs stay, its slug is free again.",
        status=204,
        raises=_CHANGING,
        if_match=True,
    ),
    _of_job(
        "POST",
        "/pause",
        handle=jobs.pause_job,
        name="pauseJob",
        summary="Hold a job's runs and take no new ones.",
        returns=wire.Job,
        body=Body(wire.Pause),
        raises=_CHANGING,
        etag=True,
        if_match=True,
    ),
    _of_job(
        "POST",
        "/resume",
        handle=jobs.resume_job,
        name="resumeJob",
        summary="Let the runs of a paused job go on.",
        returns=wire.Job,
        body=Body(Nothing),
        raises=_CHANGING,
        etag=True,
        if_match=True,
    ),
    _of_job(
        "POST",
        "/clone",
        handle=jobs.clone_job,
        name="cloneJob",
        summary="Create a job with the same definition under another slug.",
        status=201,
        returns=wire.Job,
        body=Body(wire.JobClone, required=True),
        raises=_UNCLEAR,
        etag=True,
        once=True,
    ),
    _of_job(
        "GET",
        "/versions",
        handle=jobs.list_versions,
        name="listJobVersions",
        summary="List the versions of a job's definition, the newest first.",
        returns=wire.Page[wire.JobVersion],
        query=(PROJECT, *PAGING),
        raises=_UNCLEAR,
    ),
)

RUNS: Final = (
    Operation(
        method="GET",
        path="/v1/runs",
        handle=runs.list_runs,
        name="listRuns",
        summary="List runs, the newest first.",
        tag="runs",
        returns=wire.Page[wire.Run],
        query=(
            PROJECT,
            *PAGING,
            id_prefix_param(ids.Prefix.RUN),
            STATUS,
            text_param("job_id", "The job: its id or its slug."),
            text_param("triggered_by", "What started the run, like `manual`."),
            text_param("error_class", "The class of the last error."),
            id_param("batch_id", ids.Prefix.BATCH, "The bulk trigger that made the run."),
            pair_param("tag", "Runs that carry this tag."),
            pair_param("metadata", "Runs with this entry in their metadata."),
            time_param("created_after", "Runs created later than this."),
            time_param("created_before", "Runs created earlier than this."),
            INCLUDE,
        ),
        raises=_MISSING,
    ),
    _of_run("GET", "", handle=runs.get_run, name="getRun", summary="Read a run.", returns=wire.Run, etag=True),
    _of_run(
        "DELETE",
        "",
        handle=runs.cancel_run,
        name="deleteRun",
        summary="Cancel a run: the same as `cancel`.",
        returns=wire.Run,
        raises=_UNCLEAR,
        etag=True,
    ),
    _of_run(
        "GET",
        "/attempts",
        handle=runs.list_attempts,
        name="listAttempts",
        summary="List a run's attempts, the first one first; the last may be live.",
        returns=wire.Page[wire.Attempt],
        query=(PROJECT, *PAGING),
    ),
    _of_run(
        "GET",
        "/events",
        handle=runs.list_events,
        name="listRunEvents",
        summary="List every state a run went through, in order.",
        returns=wire.Page[wire.RunEvent],
        query=(PROJECT, *PAGING),
    ),
    _of_run(
        "GET",
        "/stream",
        handle=stream.stream_run,
        name="streamRun",
        summary=stream.SUMMARY,
        media="text/event-stream",
        returns=str,
    ),
    _of_run(
        "POST",
        "/cancel",
        handle=runs.cancel_run,
        name="cancelRun",
        summary="Cancel a run that is not over; one that is canceled already stays as it is.",
        returns=wire.Run,
        body=Body(Nothing),
        raises=_UNCLEAR,
        etag=True,
    ),
    _of_run(
        "POST",
        "/reschedule",
        handle=runs.reschedule_run,
        name="rescheduleRun",
        summary="Move the time for which a delayed run, or one that awaits a retry, waits.",
        returns=wire.Run,
        body=Body(wire_bulk.Reschedule, required=True),
        raises=_UNCLEAR,
        etag=True,
    ),
    _of_run(
        "POST",
        "/replay",
        handle=runs.replay_run,
        name="replayRun",
        summary="Queue a run that did not succeed again, with a fresh allowance of attempts.",
        returns=wire.Run,
        body=Body(Nothing),
        raises=_UNCLEAR,
        etag=True,
    ),
)


def all_routes(*, metrics_public: bool) -> tuple[Operation, ...]:
    """Everything that the API serves; what is called most comes first."""
    return (
        *TRIGGERS,
        *bulk_runs.ROUTES,
        *explain.ROUTES,
        *RUNS,
        *lineage.ROUTES,
        *sdk_routes.ROUTES,
        *sdk_waits.ROUTES,
        *logs.ROUTES,
        *budgets.ROUTES,
        *JOBS,
        *workflow_routes.ROUTES,
        *health.ROUTES,
        *events.ROUTES,
        *fleet.ROUTES,
        *doctor.ROUTES,
        *feed_stream.ROUTES,
        *webhooks.ROUTES,
        *schedules.ROUTES,
        *backfills.ROUTES,
        *calendars.ROUTES,
        *manifests.ROUTES,
        *simulation.ROUTES,
        *changes.ROUTES,
        *workflow_run_routes.ROUTES,
        *ops.routes(metrics_public=metrics_public),
        *docs.ROUTES,
    )
