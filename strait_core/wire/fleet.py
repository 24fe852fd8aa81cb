"""Worker processes and the health of what they stand on."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType


class Worker(Struct, kw_only=True):
    """One worker process; `alive` is false once its heartbeat is older than STALE_THRESHOLD."""

    id: str
    host: str
    pid: int
    mode: str
    version: str
    slots: int
    in_flight: int
    draining: bool
    alive: bool
    started_at: datetime
    heartbeat_at: datetime


class ComponentHealth(Struct, kw_only=True):
    """One component's answer to a readiness probe."""

    ok: bool
    detail: str | None = None


class Health(Struct, kw_only=True):
    """GET /health and /health/ready."""

    status: str
    version: str
    components: dict[str, ComponentHealth] | UnsetType = UNSET
