"""Manifests: what many definitions of one project say, what is wrong with them, and what they would change.

Pure, for the API and for `strait validate` alike. Only who reads manifests imports this module: judging schemas loads a
compiled library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from msgspec import UNSET

from strait_core import completion
from strait_core.days import Days
from strait_core.errors import Fault, ValidationError
from strait_core.job import JobSpec, check_project, check_slug
from strait_core.request import given_of, judged
from strait_core.schema import check_schema
from strait_core.signing import secret_faults
from strait_core.timetable import days_faults
from strait_core.wire.manifests import Kind, Manifest, ManifestCalendar, ManifestField, ManifestJob, ManifestWorkflow
from strait_core.workflow import request as workflow_request
from strait_core.workflow.compare import compared
from strait_core.workflow.definition import WorkflowSpec, said_of

DEFAULT_NAME: Final = "default"
# All of a manifest is carried out in one transaction, and so that one is over in seconds.
MOST_ITEMS: Final = 1_000
SECRETS: Final = ("signing_secret", "webhook_secret")
SCHEMAS: Final = ("payload_schema", "result_schema")
MASK: Final = "****"
DAYS: Final = ("dates", "ranges", "weekdays")
LISTS: Final[Mapping[Kind, str]] = {Kind.CALENDAR: "calendars", Kind.JOB: "jobs", Kind.WORKFLOW: "workflows"}
_JOB_REFS: Final = completion.FIELDS
_STEP_REFS: Final = ("job_id", "compensation_job", "sub_workflow")

Spec = JobSpec | WorkflowSpec | Days


@dataclass(frozen=True, slots=True)
class Item:
    """One object as a manifest wants it, at the pointer `at`; its secrets as they were written.

    `named` are the fields that it names; `enabled` None: as it is, for a new one true.
    """

    kind: Kind
    at: str
    slug: str
    spec: Spec
    named: frozenset[str]
    enabled: bool | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A manifest, read: whose it is, and its objects in the order in which they are carried out."""

    project: str
    name: str
    items: tuple[Item, ...]

    @property
    def keys(self) -> set[tuple[Kind, str]]:
        """What it names."""
        return {(item.kind, item.slug) for item in self.items}


def read(body: Manifest, project: str | None) -> tuple[Wanted, list[Fault]]:
    """What a manifest wants, and everything wrong with it that needs no store; `project` is named beside the body."""
    faults: list[Fault] = []
    own = None if body.project is UNSET else body.project
    if project is not None and own is not None and own != project:
        faults.append(Fault("/project", "differs from the project that the request names"))
    chosen = own or project
    if chosen is None:
        faults.append(Fault("/project", "is required"))
    else:
        faults += [Fault("/project", fault.message) for fault in check_project(chosen)]
    name = DEFAULT_NAME if body.name is UNSET else body.name
    faults += [Fault("/name", fault.message) for fault in check_slug(name)]
    items, wrong = _items(body, chosen if chosen is not None and not faults else "x")
    return Wanted(chosen or "", name, tuple(items)), [*faults, *wrong]


def _items(body: Manifest, project: str) -> tuple[list[Item], list[Fault]]:
    items: list[Item] = []
    faults: list[Fault] = []
    count = 0
    for kind, named in LISTS.items():
        listed: Sequence[Any] = getattr(body, named) or ()
        count += len(listed)
        if count > MOST_ITEMS:
            return items, [*faults, Fault(f"/{named}", f"a manifest has at most {MOST_ITEMS} objects; make it several")]
        seen: set[str] = set()
        for at, one in enumerate(listed):
            item, wrong = _read(kind, one, f"/{named}/{at}", project)
            if item.slug and item.slug in seen:
                wrong.append(Fault("/slug", f'"{item.slug}" stands twice among the {named}'))
            seen.add(item.slug)
            items.append(item)
            faults += [Fault(item.at + fault.pointer, fault.message) for fault in wrong]
    return items, faults


def _read(kind: Kind, body: Any, at: str, project: str) -> tuple[Item, list[Fault]]:
    match kind:
        case Kind.CALENDAR:
            return _calendar(body, at)
        case Kind.JOB:
            return _job(body, at, project)
        case Kind.WORKFLOW:
            return _workflow(body, at, project)


def _calendar(body: ManifestCalendar, at: str) -> tuple[Item, list[Fault]]:
    said = {name: value for name in DAYS if (value := getattr(body, name)) is not UNSET}
    days = Days(**{name: tuple(value or ()) for name, value in said.items()})
    faults = days_faults(days)
    slug = "" if body.slug is UNSET else body.slug
    faults += [Fault("/slug", "is required")] if body.slug is UNSET else check_slug(slug)
    return Item(Kind.CALENDAR, at, slug, days, frozenset(said), None), faults


def _job(body: ManifestJob, at: str, project: str) -> tuple[Item, list[Fault]]:
    given = given_of(body)
    named = frozenset(given)
    refused = [fault for name in SECRETS if given.get(name) for fault in secret_faults(name, given[name])]
    refused += [fault for name in SCHEMAS if given.get(name) for fault in check_schema(name, given[name])]
    spec, faults = judged(given, project, refused)
    enabled = None if body.enabled is UNSET else body.enabled
    return Item(Kind.JOB, at, given.get("slug", ""), spec, named, enabled), faults


def _workflow(body: ManifestWorkflow, at: str, project: str) -> tuple[Item, list[Fault]]:
    given = workflow_request.given_of(body)
    named = frozenset(given)
    enabled = None if body.enabled is UNSET else body.enabled
    spec: Spec = Days()
    faults: list[Fault] = []
    try:
        spec = workflow_request.spec_of(given, project)
    except ValidationError as error:
        faults = error.faults
    return Item(Kind.WORKFLOW, at, given.get("slug", ""), spec, named, enabled), faults


# ── what changes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def with_refs_as_slugs(spec: JobSpec | WorkflowSpec, slugs: Mapping[str, str]) -> Any:
    """The definition with references by id (the keys of `slugs`) as references by slug."""
    if isinstance(spec, JobSpec):
        return replace(spec, **_renamed(spec, _JOB_REFS, slugs))
    return replace(spec, steps=tuple(replace(step, **_renamed(step, _STEP_REFS, slugs)) for step in spec.steps))


def _renamed(owner: Any, names: Sequence[str], slugs: Mapping[str, str]) -> dict[str, Any]:
    return {name: slugs.get(ref, ref) for name in names if (ref := getattr(owner, name)) is not None}


def changes(before: Spec | None, after: Spec) -> list[ManifestField]:
    """What differs, field by field; of a new object what it says beyond its defaults, with nothing before."""
    found = list(_changes(before, after))
    return (
        found if before is not None else [ManifestField(field=one.field, before=None, after=one.after) for one in found]
    )


def _changes(before: Spec | None, after: Spec) -> Iterator[ManifestField]:
    match after:
        case Days():
            yield from _fields(DAYS, before or Days(), after)
        case JobSpec():
            yield from _fields(_names(JobSpec), before or _blank(after), after)
        case WorkflowSpec():
            # An id in a manifest's place of a slug was replaced before.
            yield from _workflow_changes(before if isinstance(before, WorkflowSpec) else _no_steps(after), after)


def _names(kind: Any) -> list[str]:
    return [one.name for one in fields(kind) if one.name not in {"project_id", "slug", "steps"}]


def _blank(spec: JobSpec) -> JobSpec:
    return JobSpec(project_id=spec.project_id, slug=spec.slug, name="", endpoint_url="")


def _no_steps(spec: WorkflowSpec) -> WorkflowSpec:
    return WorkflowSpec(project_id=spec.project_id, slug=spec.slug, name="", steps=())


def _fields(names: Sequence[str], before: Any, after: Any) -> Iterator[ManifestField]:
    for name in names:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name in SECRETS:
            old, new = (None if one is None else MASK for one in (old, new))
        yield ManifestField(field=name, before=old, after=new)


def _workflow_changes(before: WorkflowSpec, after: WorkflowSpec) -> Iterator[ManifestField]:
    found = compared(before, after, (0, 0))
    for one in found.fields:
        yield ManifestField(field=one.field, before=one.before, after=one.after)
    for ref in found.removed_steps:
        gone = next(step for step in before.steps if step.step_ref == ref)
        yield ManifestField(field=f"steps.{ref}", before=said_of(gone), after=None)
    for ref in found.added_steps:
        new = next(step for step in after.steps if step.step_ref == ref)
        yield ManifestField(field=f"steps.{ref}", before=None, after=said_of(new))
    for step in found.changed_steps:
        for one in step.fields:
            yield ManifestField(field=f"steps.{step.step_ref}.{one.field}", before=one.before, after=one.after)
    if not (found.added_steps or found.removed_steps):
        order = [[step.step_ref for step in spec.steps] for spec in (before, after)]
        if order[0] != order[1]:
            yield ManifestField(field="steps", before=order[0], after=order[1])
