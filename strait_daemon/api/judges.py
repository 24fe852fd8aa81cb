"""What payloads are judged by: the schema of each job version, compiled once."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from strait_core.errors import Fault
from strait_core.schema import Judge
from strait_core.store.jobs import StoredJob
from strait_core.trigger import EMPTY_PAYLOAD
from strait_core.wire import NewRunRequest
from strait_daemon.api.body import OFFLOAD_BYTES

MOST_JUDGES: Final = 4_096


class Judges:
    """Judges by (job, version), which never change."""

    def __init__(self) -> None:
        self._judges: dict[tuple[UUID, int], Judge] = {}

    async def faults(self, job: StoredJob, request: NewRunRequest) -> list[Fault]:
        """What the payload of a trigger has against the job's schema; a long one is judged off the event loop."""
        schema = job.spec.payload_schema
        if schema is None:
            return []
        judge = self._judges.get((job.id, job.version))
        if judge is None:
            if len(self._judges) >= MOST_JUDGES:
                self._judges.clear()
            judge = self._judges[job.id, job.version] = Judge(schema)
        text = bytes(request.payload).decode() if request.payload else EMPTY_PAYLOAD
        if len(text) > OFFLOAD_BYTES:
            return await asyncio.to_thread(judge.faults, "/payload", text)
        return judge.faults("/payload", text)
