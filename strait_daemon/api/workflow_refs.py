"""Whether the jobs and workflows that a definition names are there, and never lead back to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from strait_core import ids
from strait_core.errors import ConflictError, Fault, ValidationError
from strait_core.job import JobSpec
from strait_core.retry import RetryStrategy
from strait_core.store import workflows
from strait_core.store.pool import Conn
from strait_core.store.workflows import Named, Ref
from strait_core.workflow.definition import MAX_NESTING, WorkflowSpec

# A web of workflows larger than this is not walked to its end; what nests too deeply all the same fails when it runs.
MOST_WALKED: Final = 1_000
_decode: Final = msgspec.json.Decoder(JobSpec).decode


@dataclass(frozen=True, slots=True)
class _Use:
    """One place where a definition names a job or a workflow."""

    pointer: str
    ref: str
    prefix: ids.Prefix

    @property
    def key(self) -> UUID | str:
        """The id that is meant, or the slug."""
        return ids.parse(self.prefix, self.ref) or self.ref


Found = Mapping[UUID | str, Named]


def _uses(spec: WorkflowSpec) -> Iterator[_Use]:
    for at, step in enumerate(spec.steps):
        for name, prefix in (
            ("job_id", ids.Prefix.JOB),
            ("compensation_job", ids.Prefix.JOB),
            ("sub_workflow", ids.Prefix.WORKFLOW),
        ):
            ref = getattr(step, name)
            if ref is not None:
                yield _Use(f"/steps/{at}/{name}", ref, prefix)


async def check_refs(conn: Conn, spec: WorkflowSpec, own: UUID | None = None) -> list[Ref]:
    """What a definition refers to, held until the caller's transaction ends; ValidationError lists what is not there.

    `own` is the workflow's id, when it has one already. Two statements, however many steps there are, and one more for
    each level of sub-workflows.
    """
    uses = list(_uses(spec))
    jobs = [use for use in uses if use.prefix is ids.Prefix.JOB]
    inner = [use for use in uses if use.prefix is ids.Prefix.WORKFLOW]
    if inner:
        await workflows.one_at_a_time(conn, spec.project_id)
    found_jobs = _by_name(await workflows.jobs_named(conn, spec.project_id, *_keys(jobs)) if jobs else [])
    found_inner = _by_name(await workflows.workflows_named(conn, spec.project_id, *_keys(inner)) if inner else [])
    faults = [
        Fault(use.pointer, f"is no job of project {spec.project_id!r}") for use in jobs if use.key not in found_jobs
    ]
    faults += _delay_faults(spec, found_jobs)
    faults += await _nesting_faults(conn, spec, own, inner, found_inner)
    if faults:
        raise ValidationError(faults)
    return list(_refs(jobs, found_jobs, is_job=True)) + list(_refs(inner, found_inner, is_job=False))


async def refuse(conn: Conn, spec: WorkflowSpec, faults: Sequence[Fault], own: UUID | None = None) -> None:
    """Refuse a definition that has these faults, if any, with those of what it refers to: all of them at once.

    Of a place that is wrong in itself nothing more is said.
    """
    if not faults:
        return
    more: Sequence[Fault] = ()
    if not any(fault.pointer in {"/project_id", "/steps"} for fault in faults):
        try:
            await check_refs(conn, spec, own)
        except ValidationError as error:
            more = error.faults
    known = {fault.pointer for fault in faults}
    raise ValidationError([*faults, *(fault for fault in more if fault.pointer not in known)])


def _keys(uses: Sequence[_Use]) -> tuple[set[UUID], set[str]]:
    keys = {use.key for use in uses}
    return {key for key in keys if isinstance(key, UUID)}, {key for key in keys if isinstance(key, str)}


def _by_name(found: Sequence[Named]) -> Found:
    return {one.id: one for one in found} | {one.slug: one for one in found}


def _refs(uses: Sequence[_Use], found: Found, *, is_job: bool) -> Iterator[Ref]:
    by_slug = {found[use.key].id for use in uses if isinstance(use.key, str)}
    for target in {found[use.key].id for use in uses}:
        yield Ref(target, is_job=is_job, by_slug=target in by_slug)


def _delay_faults(spec: WorkflowSpec, found: Found) -> Iterator[Fault]:
    """Steps that ask for their job's own delays, of which it has none."""
    for at, step in enumerate(spec.steps):
        if step.retry_backoff is not RetryStrategy.CUSTOM or step.job_id is None:
            continue
        job = found.get(ids.parse(ids.Prefix.JOB, step.job_id) or step.job_id)
        if job is not None and not _decode(job.definition or "").retry_delays_secs:
            yield Fault(f"/steps/{at}/retry_backoff", "custom takes the job's retry_delays_secs, and it has none")


async def _nesting_faults(
    conn: Conn, spec: WorkflowSpec, own: UUID | None, uses: Sequence[_Use], found: Found
) -> list[Fault]:
    """Sub-workflows that are not there, that lead back to this one, or that nest too deeply."""
    faults: list[Fault] = []
    web: dict[UUID, list[Named]] | None = None
    for use in uses:
        target = found.get(use.key)
        if use.ref == spec.slug or (target is not None and target.id == own):
            faults.append(Fault(use.pointer, f"closes a circle: {spec.slug} → {spec.slug}"))
        elif target is None:
            faults.append(Fault(use.pointer, f"is no workflow of project {spec.project_id!r}"))
        else:
            web = await _web(conn, {one.id for one in found.values()}) if web is None else web
            way = _longest(target, web, own)
            if way[-1].id == own:
                circle = " → ".join([spec.slug, *(one.slug for one in way[:-1]), spec.slug])
                faults.append(Fault(use.pointer, f"closes a circle: {circle}"))
            elif len(way) > MAX_NESTING:
                faults.append(Fault(use.pointer, f"nests workflows {len(way)} deep; {MAX_NESTING} is the most"))
    return faults


async def _web(conn: Conn, targets: set[UUID]) -> dict[UUID, list[Named]]:
    """What the targets run inside, and what those do, and so on."""
    web: dict[UUID, list[Named]] = {}
    level = targets
    while level and len(web) <= MOST_WALKED:
        web |= {one: [] for one in level}
        for outer, inner in await workflows.children_of(conn, level):
            web[outer].append(inner)
        level = {inner.id for outer in level for inner in web[outer]} - web.keys()
    return web


def _longest(target: Named, web: Mapping[UUID, list[Named]], own: UUID | None) -> list[Named]:
    """The longest way down from a target; one that leads to `own` ends there, and goes before all others."""
    known: dict[UUID, list[Named]] = {}

    def way(one: Named, depth: int) -> list[Named]:
        if one.id == own or depth > MAX_NESTING:
            return [one]
        if one.id not in known:
            ways = [way(inner, depth + 1) for inner in web.get(one.id, ())]
            known[one.id] = [one, *max(ways, key=lambda w: (w[-1].id == own, len(w)), default=[])]
        return known[one.id]

    return way(target, 1)


async def refuse_users(conn: Conn, noun: str, target: UUID, slug: str, *, by_slug: bool | None = None) -> None:
    """Refuse to delete, or (`by_slug`) to rename, what workflows refer to. The caller holds the target."""
    users = await workflows.users_of(conn, target, by_slug=by_slug)
    if not users:
        return
    how = " by its slug" if by_slug else ""
    raise ConflictError(
        f"{noun} {slug!r} is referred to{how} by workflows: {', '.join(users)}",
        hint=f"change those first: strait workflows get {users[0]}",
    )
