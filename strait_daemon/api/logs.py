"""Log lines: what endpoints say, and who reads it."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET

from strait_core import wire
from strait_core.errors import Fault, NotFoundError, ValidationError
from strait_core.store import logs, watch
from strait_core.store.logs import Line
from strait_core.wire import sdk as wire_sdk
from strait_core.wire.notes import LogLevel, LogLine
from strait_daemon.api import notes, query
from strait_daemon.api.context import Api
from strait_daemon.api.lookup import no_run, run_id_of
from strait_daemon.api.operation import Call, Operation, Reply, reply
from strait_daemon.api.query import PAGING, PROJECT, number_param, text_param
from strait_daemon.api.speaker import silenced, speaker_of


async def add_line(api: Api, call: Call) -> Reply:
    """POST log: one line, stored when the answer comes."""
    body: wire_sdk.LogReport = call.body
    faults: list[Fault] = wire_sdk.faults_of_log(body)
    if faults:
        raise ValidationError(faults)
    speaker = speaker_of(call)
    data = None if body.data is UNSET else bytes(body.data).decode()
    line = Line(speaker.run_id, speaker.attempt, api.deps.clock.now(), body.level.value, body.message, data)
    if not await api.deps.logbook.add(line):
        async with api.connection() as conn:
            raise await silenced(conn, speaker)
    return Reply(204)


async def list_lines(api: Api, call: Call) -> Reply:
    """GET /v1/runs/{run}/logs: the first line first."""
    asked = call.query
    after = max(asked.get("after", 0), query.after_number(asked) or 0)
    limit = query.limit_of(asked)
    async with api.connection() as conn:
        head = await watch.head(conn, run_id_of(call.path["run"]))
        if head is None or call.project not in {None, head.project_id}:
            raise no_run(call.path["run"])
        rows = await logs.lines(conn, head.id, after=after, limit=limit + 1, levels=_levels(asked))
    page, cursor = query.cut(rows, limit, lambda row: query.number_cursor(row["seq"]))
    return reply(wire.Page(data=[notes.line(row) for row in page], next_cursor=cursor))


def _levels(asked: Any) -> list[str] | None:
    named = asked.get("level")
    if named is None:
        return None
    levels = set(named.split(","))
    if not levels <= set(LogLevel):
        raise query.wrong_request(f"?level= must be one or more of {', '.join(LogLevel)}")
    return sorted(levels)


ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/runs/{run}/logs",
        handle=list_lines,
        name="listRunLogs",
        summary="List what a run's endpoint has logged, the first line first.",
        tag="runs",
        returns=wire.Page[LogLine],
        query=(
            PROJECT,
            *PAGING,
            number_param("after", "Lines with a greater `seq`: to go on from one that is known."),
            text_param("level", f"One or more of {', '.join(LogLevel)}, with commas."),
        ),
        raises=(NotFoundError,),
    ),
)
