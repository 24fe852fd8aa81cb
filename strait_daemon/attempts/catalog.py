"""What dispatch needs to know of a job version, prepared once and kept: versions never change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from multidict import CIMultiDict
from yarl import URL

from strait_core import breaker, completion, ids
from strait_core.job import JobSpec
from strait_core.run import Status
from strait_core.schema import Judge
from strait_core.signing import key_of
from strait_core.store import jobs
from strait_core.store.pool import Conn
from strait_daemon.attempts import outcome
from strait_daemon.attempts.outcome import Ending
from strait_daemon.egress.client import refused
from strait_daemon.egress.guard import Guard, Refused
from strait_daemon.vault import Unreadable, Vault

# More than any fleet has in use at once; the oldest half leaves when it is full.
MOST_VERSIONS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """One job version, ready to be called; with a `refusal` it never is, and every attempt ends like that."""

    spec: JobSpec
    url: URL
    refusal: Ending | None
    # The fallback's URL, or how every call of it ends; None for a job that has none.
    fallback: URL | Ending | None
    headers: CIMultiDict[str]
    never_retry: frozenset[int]
    signing_key: bytes | None
    # The endpoint's breaker; None when the job wants none.
    breaker: UUID | None
    judge: Judge | None
    # See `completion.with_consequences`.
    consequences: frozenset[Status]


class Catalog:
    """Targets by (job, version)."""

    def __init__(self, agent: str, guard: Guard, vault: Vault) -> None:
        self._defaults = CIMultiDict(
            {"Content-Type": "application/json", "User-Agent": agent, "Accept": "application/json, */*;q=0.5"}
        )
        self._guard = guard
        self._vault = vault
        self._targets: dict[tuple[UUID, int], Target] = {}

    def get(self, job_id: UUID, version: int) -> Target | None:
        """The target, when it is known; `learn` makes it known."""
        return self._targets.get((job_id, version))

    async def learn(self, conn: Conn, wanted: Collection[tuple[UUID, int]]) -> None:
        """Load what is not known yet."""
        missing = {pair for pair in wanted if pair not in self._targets}
        if not missing:
            return
        if len(self._targets) + len(missing) > MOST_VERSIONS:
            for pair in list(self._targets)[: MOST_VERSIONS // 2]:
                del self._targets[pair]
        for (job_id, version), spec in (await jobs.definitions(conn, missing)).items():
            self._targets[job_id, version] = self.prepared(job_id, spec)

    def prepared(self, job_id: UUID, spec: JobSpec) -> Target:
        """A definition, ready to be called; nothing is kept."""
        # Names do not depend on case: the job's own User-Agent takes the place of ours.
        headers = CIMultiDict(self._defaults)
        headers.update(spec.headers)
        headers["X-Job-ID"] = ids.spell(ids.Prefix.JOB, job_id)
        url, key, refusal = URL(), None, None
        try:
            url = self._guard.prepared(spec.endpoint_url)
            key = None if spec.signing_secret is None else key_of(self._vault.open(spec.signing_secret))
        except Refused as error:
            refusal = outcome.of_error(refused(error))
        except Unreadable as error:
            # Unsigned it must not leave.
            refusal = outcome.of_fault(error)
        judge = None if spec.result_schema is None else Judge(spec.result_schema)
        fallback = self._fallback(spec.fallback_endpoint_url)
        never_retry = frozenset(spec.non_retryable_statuses)
        after = completion.with_consequences(spec)
        return Target(spec, url, refusal, fallback, headers, never_retry, key, breaker.of_job(spec), judge, after)

    def _fallback(self, url: str | None) -> URL | Ending | None:
        if url is None:
            return None
        try:
            return self._guard.prepared(url)
        except Refused as error:
            return outcome.of_error(refused(error))
