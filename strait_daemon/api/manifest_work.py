"""A manifest carried out, object by object, in the caller's transaction; every fault is gathered before it is told.

Definitions are written first and their references looked at afterwards, when all of them are there: what a manifest
names may refer to whatever else it names, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import msgspec

from strait_core import completion, ids
from strait_core.days import Days
from strait_core.errors import ConflictError, Fault, ValidationError
from strait_core.job import WEBHOOKS, JobSpec, faults_of
from strait_core.manifest import SECRETS, Item, Wanted, changes, with_refs_as_slugs
from strait_core.store import calendars, jobs, manifests, workflow_runs, workflows
from strait_core.store.jobs import StoredJob
from strait_core.store.manifests import Owned
from strait_core.store.pool import Conn
from strait_core.store.workflows import StoredWorkflow
from strait_core.timetable import definition_of
from strait_core.wire.manifests import Action, Kind, ManifestChange, ManifestField, ManifestPlan
from strait_core.workflow.definition import WorkflowSpec
from strait_daemon.api import secrets
from strait_daemon.api.calendars import change_days, users_of
from strait_daemon.api.context import Api
from strait_daemon.api.following import begin, begin_flow, following, following_flow
from strait_daemon.api.onward import check_targets
from strait_daemon.api.workflow_refs import check_refs, refuse_users
from strait_daemon.services.ticks import Done

_PREFIXES: Final = {Kind.CALENDAR: ids.Prefix.CALENDAR, Kind.JOB: ids.Prefix.JOB, Kind.WORKFLOW: ids.Prefix.WORKFLOW}
_encode: Final = msgspec.json.Encoder().encode


class Work:
    """One manifest being carried out; afterwards `done` is what came of schedules, to be told after the commit."""

    def __init__(self, api: Api, conn: Conn, wanted: Wanted, *, prune: bool) -> None:
        self._api = api
        self._conn = conn
        self._wanted = wanted
        self._prune = prune
        self.done = Done()
        self._changes: list[ManifestChange] = []
        self._faults: list[Fault] = []
        self._owned: list[Owned] = []
        self._owners: dict[UUID, str] = {}
        # References by id, as slugs: of jobs and workflows that the manifest names.
        self._slugs: dict[str, str] = {}
        self._to_check: list[tuple[Item, Any, UUID]] = []

    async def carry_out(self) -> None:
        """Do it all; ValidationError lists every fault, ConflictError everything that stands in the way."""
        conn, wanted = self._conn, self._wanted
        await manifests.one_at_a_time(conn, wanted.project)
        mine = await manifests.owned(conn, wanted.project, wanted.name)
        gone = [one for one in mine if (one.kind, one.slug) not in wanted.keys]
        held = await manifests.hold(conn, wanted.project, {*wanted.keys, *((one.kind, one.slug) for one in gone)})
        self._owners = await manifests.owners(conn, held.ids.values())
        self._slugs = {
            ids.spell(_PREFIXES[kind], object_id): slug
            for (kind, slug), object_id in held.ids.items()
            if kind is not Kind.CALENDAR
        }
        for item in wanted.items:
            try:
                await self._put(item, held.ids.get((item.kind, item.slug)))
            except ValidationError as error:
                self._note(item, error)
        await self._check_references()
        if self._faults:
            raise ValidationError(self._faults)
        await self._leave(gone)
        await manifests.own(conn, wanted.project, wanted.name, self._owned, self._api.deps.clock.now())

    def _note(self, item: Item, error: ValidationError) -> None:
        self._faults += [Fault(item.at + fault.pointer, fault.message) for fault in error.faults]

    @property
    def changes_something(self) -> bool:
        """Whether anything changes."""
        return any(one.action in {Action.CREATE, Action.UPDATE, Action.DELETE} for one in self._changes)

    def plan(self) -> ManifestPlan:
        """What was done."""
        told = [(one.kind, one.slug, one.action, one.fields) for one in self._changes]
        return ManifestPlan(
            project_id=self._wanted.project,
            name=self._wanted.name,
            applied=True,
            same=not self.changes_something,
            digest=sha256(_encode(told)).hexdigest()[:32],
            changes=self._changes,
        )

    async def _put(self, item: Item, object_id: UUID | None) -> None:
        match item.spec:
            case Days():
                await self._calendar(item, item.spec, object_id)
            case JobSpec():
                await self._job(item, item.spec, object_id)
            case WorkflowSpec():
                await self._workflow(item, item.spec, object_id)

    def _record(self, item: Item, object_id: UUID, fields: list[ManifestField], *, is_new: bool) -> None:
        action = Action.CREATE if is_new else Action.UPDATE if fields else Action.KEEP
        self._owned.append(Owned(item.kind, object_id, item.slug))
        self._changes.append(
            ManifestChange(
                kind=item.kind,
                slug=item.slug,
                id=ids.spell(_PREFIXES[item.kind], object_id),
                action=action,
                owner=self._owners.get(object_id),
                fields=fields,
            )
        )

    # ── calendars ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _calendar(self, item: Item, days: Days, object_id: UUID | None) -> None:
        deps = self._api.deps
        users = [] if object_id is None else await users_of(self._conn, object_id)
        before = None if object_id is None else await calendars.lock(self._conn, object_id)
        if before is None:
            made = await calendars.insert(
                self._conn, deps.new_id(), self._wanted.project, item.slug, definition_of(days), deps.clock.now()
            )
            if made is None:
                raise _taken(item)
            self._record(item, made.id, changes(None, days), is_new=True)
            return
        fields = changes(msgspec.json.decode(before.definition, type=Days), days)
        self._record(item, before.id, fields, is_new=False)
        if fields:
            await change_days(self._api, self._conn, before.id, days, users, self.done)

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _job(self, item: Item, spec: JobSpec, object_id: UUID | None) -> None:
        deps, conn = self._api.deps, self._conn
        before = None if object_id is None else await jobs.lock_job(conn, object_id)
        spec = self._with_secrets(item, spec, before)
        faults = faults_of(spec)
        if faults:
            raise ValidationError(faults)
        if before is None:
            enabled = item.enabled is not False
            made = await jobs.insert_job(conn, deps.new_id(), deps.new_id(), spec, deps.clock.now(), enabled=enabled)
            if made is None:
                raise _taken(item)
            self._record(item, made.id, [*changes(None, spec), *_switched(item, None)], is_new=True)
            self._to_check.append((item, spec, made.id))
            await begin(self._api, conn, made)
            return
        known, wanted = (with_refs_as_slugs(one, self._slugs) for one in (before.spec, spec))
        fields = [*changes(known, wanted), *_switched(item, before)]
        self._record(item, before.id, fields, is_new=False)
        if fields:
            enabled = before.enabled if item.enabled is None else item.enabled
            self._to_check.append((item, spec, before.id))
            async with following(self._api, conn, before, self.done):
                await jobs.update_job(conn, before, spec, deps.new_id(), deps.clock.now(), enabled=enabled)

    def _with_secrets(self, item: Item, spec: JobSpec, before: StoredJob | None) -> JobSpec:
        """The definition with its secrets as they are stored; one that the manifest does not name stays as it is."""
        vault, stored = self._api.deps.vault, None if before is None else before.spec
        named: dict[str, Any] = {name: getattr(spec, name) for name in SECRETS if name in item.named}
        kept = {} if stored is None else {name: getattr(stored, name) for name in SECRETS if name not in item.named}
        if not any(getattr(spec, name) for name in WEBHOOKS):
            # Without anybody to tell there is nothing left that it would sign.
            kept.pop("webhook_secret", None)
        return replace(spec, **kept, **secrets.sealed(vault, named, stored))

    # ── workflows ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _workflow(self, item: Item, spec: WorkflowSpec, object_id: UUID | None) -> None:
        deps, conn = self._api.deps, self._conn
        before = None if object_id is None else await workflows.lock_workflow(conn, object_id)
        if before is None:
            enabled = item.enabled is not False
            made = await workflows.insert_workflow(
                conn, deps.new_id(), deps.new_id(), spec, deps.clock.now(), enabled=enabled
            )
            if made is None:
                raise _taken(item)
            self._record(item, made.id, [*changes(None, spec), *_switched(item, None)], is_new=True)
            self._to_check.append((item, spec, made.id))
            await begin_flow(self._api, conn, made)
            return
        known, wanted = (with_refs_as_slugs(one, self._slugs) for one in (before.spec, spec))
        fields = [*changes(known, wanted), *_switched(item, before)]
        self._record(item, before.id, fields, is_new=False)
        if fields:
            enabled = before.enabled if item.enabled is None else item.enabled
            async with following_flow(self._api, conn, before, self.done):
                await workflows.update_workflow(conn, before, spec, deps.new_id(), deps.clock.now(), enabled=enabled)
            # Cleared, so that what the old version referred to closes no circle with what others refer to now.
            await workflows.put_refs(conn, before.id, ())
            self._to_check.append((item, spec, before.id))

    # ── references, and what is named no longer ───────────────────────────────────────────────────────────────────────

    async def _check_references(self) -> None:
        for item, spec, object_id in self._to_check:
            try:
                if isinstance(spec, WorkflowSpec):
                    refs = await check_refs(self._conn, spec, object_id)
                    await workflows.put_refs(self._conn, object_id, refs)
                elif any(getattr(spec, name) for name in completion.FIELDS):
                    await check_targets(self._conn, spec, object_id)
            except ValidationError as error:
                self._note(item, error)

    async def _leave(self, gone: Sequence[Owned]) -> None:
        """What the manifest owns and names no longer: deleted, the outermost first, or left and told."""
        order = {Kind.WORKFLOW: 0, Kind.JOB: 1, Kind.CALENDAR: 2}
        ranked = sorted(gone, key=lambda one: (order[one.kind], one.slug))
        for one in ranked:
            self._changes.append(
                ManifestChange(
                    kind=one.kind,
                    slug=one.slug,
                    id=ids.spell(_PREFIXES[one.kind], one.id),
                    action=Action.DELETE if self._prune else Action.LEFT,
                    owner=self._wanted.name,
                    fields=[],
                )
            )
        if not self._prune:
            return
        for one in ranked:
            if one.kind is Kind.WORKFLOW:
                # Those that go together do not hold one another.
                await workflows.put_refs(self._conn, one.id, ())
        hindrances: list[str] = []
        for one in ranked:
            try:
                await self._delete(one)
            except ConflictError as error:
                hindrances.append(error.message)
        if hindrances:
            raise ConflictError("cannot prune: " + "; ".join(hindrances), hint="nothing was done")

    async def _delete(self, one: Owned) -> None:
        conn, now = self._conn, self._api.deps.clock.now()
        match one.kind:
            case Kind.WORKFLOW:
                await refuse_users(conn, "workflow", one.id, one.slug)
                if await workflow_runs.has_active(conn, one.id):
                    raise ConflictError(f"workflow {one.slug!r} has runs that are not over")
                flow = await workflows.lock_workflow(conn, one.id)
                if flow is None:
                    return
                async with following_flow(self._api, conn, flow, self.done):
                    await workflows.delete_workflow(conn, one.id, now)
            case Kind.JOB:
                await refuse_users(conn, "job", one.id, one.slug)
                held = await jobs.lock_job(conn, one.id)
                if held is None:
                    return
                async with following(self._api, conn, held, self.done):
                    if not await jobs.delete_job(conn, one.id, now):
                        raise ConflictError(f"job {one.slug!r} has runs that are not over")
            case Kind.CALENDAR:
                if await calendars.users_of(conn, one.id):
                    raise ConflictError(f"schedules go by calendar {one.slug!r}")
                await calendars.delete(conn, one.id)


def _switched(item: Item, before: StoredJob | StoredWorkflow | None) -> list[ManifestField]:
    """Whether the object is enabled, as far as the manifest says it and that changes."""
    was = True if before is None else before.enabled
    if item.enabled is None or item.enabled == was:
        return []
    return [ManifestField(field="enabled", before=None if before is None else was, after=item.enabled)]


def _taken(item: Item) -> ConflictError:
    return ConflictError(f"somebody has just made {item.kind} {item.slug!r}", hint="try again")
