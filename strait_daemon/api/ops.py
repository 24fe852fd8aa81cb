"""What probes and scrapers read: health, readiness, metrics."""

from __future__ import annotations

import asyncio
from typing import Final

from strait_core import wire
from strait_daemon.api.context import Api
from strait_daemon.api.operation import Call, Operation, Reply, reply

READY_SECS: Final = 5.0


async def health(api: Api, _: Call) -> Reply:
    """GET /health: the process answers; nothing else is looked at."""
    return reply(wire.Health(status="ok", version=api.deps.version))


async def ready(api: Api, _: Call) -> Reply:
    """GET /health/ready: 200 when every component is well, else 503; a backlog is no fault."""
    try:
        async with asyncio.timeout(READY_SECS):
            components = await api.deps.ready()
    except TimeoutError:
        components = {"probe": wire.ComponentHealth(ok=False, detail=f"no answer within {READY_SECS:g} s")}
    well = all(component.ok for component in components.values())
    body = wire.Health(status="ok" if well else "unavailable", version=api.deps.version, components=components)
    return reply(body, 200) if well else reply(body, 503, ((b"retry-after", b"1"),))


async def metrics(api: Api, _: Call) -> Reply:
    """GET /metrics, in the text format of Prometheus."""
    body, media = await api.deps.metrics()
    return Reply(200, body, media.encode("latin-1"))


def routes(*, metrics_public: bool) -> tuple[Operation, ...]:
    """What probes and scrapers read; the metrics need a credential unless they are public."""
    return (
        Operation(
            method="GET",
            path="/health",
            handle=health,
            name="getHealth",
            summary="Whether the process answers.",
            tag="ops",
            returns=wire.Health,
            secured=False,
        ),
        Operation(
            method="GET",
            path="/health/ready",
            handle=ready,
            name="getReadiness",
            summary="Whether every component is well; a backlog is no fault.",
            tag="ops",
            returns=wire.Health,
            also={503: wire.Health},
            secured=False,
        ),
        Operation(
            method="GET",
            path="/metrics",
            handle=metrics,
            name="getMetrics",
            summary="Metrics in the text format of Prometheus.",
            tag="ops",
            returns=str,
            media="text/plain",
            secured=not metrics_public,
        ),
    )
