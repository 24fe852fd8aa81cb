"""The routes of those who run the service, as data: figures and workers."""

from __future__ import annotations

from typing import Final

from strait_core import wire
from strait_core.errors import NotFoundError
from strait_core.wire import stats as wire_stats
from strait_daemon.api import stats
from strait_daemon.api.body import Body, Nothing
from strait_daemon.api.operation import Operation
from strait_daemon.api.query import PAGING, PROJECT

ROUTES: Final = (
    Operation(
        method="GET",
        path="/v1/stats",
        handle=stats.get_stats,
        name="getStats",
        summary="Queue depth, rates and worker capacity.",
        tag="ops",
        returns=wire_stats.Stats,
        query=(PROJECT,),
    ),
    Operation(
        method="GET",
        path="/v1/workers",
        handle=stats.list_workers,
        name="listWorkers",
        summary="List the worker processes.",
        tag="ops",
        returns=wire.Page[wire.Worker],
        query=PAGING,
    ),
    Operation(
        method="POST",
        path="/v1/workers/{worker}/drain",
        handle=stats.drain_worker,
        name="drainWorker",
        summary="Ask a worker to claim nothing more and finish what it has.",
        tag="ops",
        returns=wire.Worker,
        body=Body(Nothing),
        raises=(NotFoundError,),
    ),
)
