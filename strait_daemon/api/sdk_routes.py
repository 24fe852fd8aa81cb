"""The routes of the SDK, as data: what an endpoint may do with the run token of its attempt."""

from __future__ import annotations

from typing import Any, Final

from strait_core.errors import BudgetError, ConflictError, NotFoundError
from strait_core.wire import sdk as wire_sdk
from strait_daemon.api import budgets, logs, sdk, sdk_end
from strait_daemon.api.body import KIB, Body, Nothing
from strait_daemon.api.operation import Operation

SDK: Final = "/sdk/v1/runs/{run}"
# The largest value, and room for what is around it.
_RESULT_BYTES: Final = sdk_end.MAX_RESULT + 16 * KIB
_CHECKPOINT_BYTES: Final = wire_sdk.MAX_CHECKPOINT + 16 * KIB


def of_attempt(method: str, end: str, **rest: Any) -> Operation:
    """An operation that takes the run token of a live attempt."""
    return Operation(method=method, path=SDK + end, tag="sdk", by_token=True, **rest)


_READS: Final = (
    of_attempt(
        "GET",
        "/payload",
        handle=sdk.get_payload,
        name="sdkGetPayload",
        summary="Read the run's payload, as it was sent.",
        returns=Any,
    ),
    of_attempt(
        "GET",
        "/checkpoint",
        handle=sdk.get_checkpoint,
        name="sdkGetCheckpoint",
        summary="Read the run's last checkpoint, whichever attempt kept it.",
        returns=Any,
        raises=(NotFoundError,),
    ),
)

_NOTES: Final = (
    of_attempt(
        "POST",
        "/heartbeat",
        handle=sdk.heartbeat,
        name="sdkHeartbeat",
        summary=(
            "Say that the work goes on. An accepted callback is judged by its heartbeats from the first one on: when"
            " they stop for longer than STALE_THRESHOLD, the attempt is over."
        ),
        status=204,
        body=Body(Nothing),
    ),
    of_attempt(
        "POST",
        "/progress",
        handle=sdk.report_progress,
        name="sdkReportProgress",
        summary="Say how far the work has come; the run and its stream show it.",
        status=204,
        body=Body(wire_sdk.ProgressReport, required=True),
    ),
    of_attempt(
        "POST",
        "/log",
        handle=logs.add_line,
        name="sdkLog",
        summary="Log one line. Lines that are sent at the same time share one insert.",
        status=204,
        body=Body(wire_sdk.LogReport, required=True),
    ),
    of_attempt(
        "POST",
        "/annotate",
        handle=sdk.annotate,
        name="sdkAnnotate",
        summary="Lay metadata over the run's own; null takes a key away.",
        status=204,
        body=Body(wire_sdk.Annotation, required=True),
    ),
    of_attempt(
        "POST",
        "/checkpoint",
        handle=sdk.set_checkpoint,
        name="sdkSetCheckpoint",
        summary=(
            "Keep what a later attempt needs to go on from here; it takes the place of the checkpoint before. One of up"
            " to 4 KiB comes with the next attempt, as X-Last-Checkpoint."
        ),
        status=204,
        body=Body(wire_sdk.CheckpointReport, most=_CHECKPOINT_BYTES, required=True),
    ),
    of_attempt(
        "POST",
        "/output",
        handle=sdk.add_output,
        name="sdkAddOutput",
        summary="Keep a named output on the run; the last value of a name counts.",
        status=204,
        body=Body(wire_sdk.OutputReport, required=True),
        raises=(ConflictError,),
    ),
)

_STATE: Final = (
    of_attempt(
        "GET",
        "/state",
        handle=sdk.list_state,
        name="sdkListState",
        summary="Read the run's own keys and values, which all its attempts share.",
        returns=wire_sdk.State,
    ),
    of_attempt(
        "GET",
        "/state/{key}",
        handle=sdk.get_state,
        name="sdkGetState",
        summary="Read one value, as it was sent.",
        returns=Any,
        raises=(NotFoundError,),
    ),
    of_attempt(
        "PUT",
        "/state/{key}",
        handle=sdk.put_state,
        name="sdkPutState",
        summary="Keep a value under a key.",
        status=204,
        body=Body(wire_sdk.StateValue, required=True),
        raises=(ConflictError,),
    ),
    of_attempt(
        "DELETE",
        "/state/{key}",
        handle=sdk.drop_state,
        name="sdkDropState",
        summary="Forget a key.",
        status=204,
    ),
)

_USAGE: Final = (
    of_attempt(
        "POST",
        "/usage",
        handle=budgets.report_usage,
        name="sdkReportUsage",
        summary=(
            "Report the tokens and the cost (millionths of a US dollar) of a call of a model. A run that goes over the"
            " job's max_cost_per_run_microusd fails, and is told so by 429."
        ),
        returns=wire_sdk.Spent,
        body=Body(wire_sdk.UsageReport, required=True),
        raises=(ConflictError, BudgetError),
    ),
)

_ENDS: Final = (
    of_attempt(
        "POST",
        "/complete",
        handle=sdk_end.complete,
        name="sdkComplete",
        summary=(
            "End the attempt well, with this result. Its limits' slot is free at once; whatever the HTTP answer to the"
            " dispatch says later changes nothing. A result that is not as the job's schema says is refused, and the"
            " attempt goes on."
        ),
        returns=wire_sdk.Ended,
        body=Body(wire_sdk.CompleteReport, most=_RESULT_BYTES, raw="result"),
    ),
    of_attempt(
        "POST",
        "/fail",
        handle=sdk_end.fail,
        name="sdkFail",
        summary="End the attempt with an error; tried again while attempts are left, unless it is not retryable.",
        returns=wire_sdk.Ended,
        body=Body(wire_sdk.FailReport, required=True),
    ),
)

ROUTES: Final = (*_READS, *_NOTES, *_STATE, *_USAGE, *_ENDS)
