"""The API as one application, made from its parts and the route table."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import Route

from strait_core.store.jobs import StoredJob
from strait_daemon.api import ops
from strait_daemon.api.auth import Gate
from strait_daemon.api.cache import JobCache
from strait_daemon.api.context import Api
from strait_daemon.api.deps import Deps
from strait_daemon.api.endpoint import Endpoint, NotFound, RequestIds
from strait_daemon.api.feed import Feed
from strait_daemon.api.looks import Looks
from strait_daemon.api.lookup import find_job
from strait_daemon.api.operation import Operation
from strait_daemon.api.routes import all_routes
from strait_daemon.api.tail import Tail
from strait_daemon.api.watchers import Watchers

__all__ = ["Deps", "make_app", "make_ops_app"]


def make_app(deps: Deps) -> Starlette:
    """The whole API."""
    return _app(deps, all_routes(metrics_public=deps.metrics_public))


def make_ops_app(deps: Deps) -> Starlette:
    """Health, readiness and metrics only: what a worker serves."""
    return _app(deps, ops.routes(metrics_public=deps.metrics_public))


def _app(deps: Deps, operations: Sequence[Operation]) -> Starlette:
    async def load(ref: str, project: str | None) -> StoredJob:
        async with deps.pool.connection() as conn:
            return await find_job(conn, ref, project)

    looks = Looks(deps.pool)
    watchers = Watchers(deps.pool, deps.bus, deps.closing, deps.log)
    feed = Feed(deps.pool, looks, watchers, deps.bus, deps.clock, deps.log)
    tail = Tail(deps.pool, deps.log)
    api = Api(deps, JobCache(load), watchers, looks, feed, tail)
    gate = Gate(deps.secret, deps.tokens)
    request_ids = RequestIds(deps.new_id().hex[-8:])
    paths: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation
    app = Starlette(routes=[Route(path, Endpoint(of_path, api, gate, request_ids)) for path, of_path in paths.items()])
    app.router.redirect_slashes = False
    app.router.default = NotFound(request_ids)
    # Every error has become an answer in Endpoint: Starlette's own two layers for that would only cost their time.
    app.middleware_stack = app.router
    return app
