"""Manifests: many definitions of one project as a request, and what carrying them out changes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from strait_core.wire.bodies import Request
from strait_core.wire.jobs import JobPatch
from strait_core.wire.schedules import CalendarPatch
from strait_core.wire.workflows import WorkflowPatch


class ManifestJob(JobPatch):
    """A job as a manifest says it: the body that creates one, without its project."""


class ManifestWorkflow(WorkflowPatch):
    """A workflow as a manifest says it: the body that creates one, without its project."""


class ManifestCalendar(CalendarPatch):
    """A calendar as a manifest says it: the body that creates one, without its project."""

    slug: str | UnsetType = UNSET


class Manifest(Request):
    """Definitions that belong together. What an item does not name is at its default; secrets and `enabled` stay.

    `name` says whose they are, so that one manifest of a project prunes nothing of another's.
    """

    project: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    calendars: list[ManifestCalendar] | UnsetType = UNSET
    jobs: list[ManifestJob] | UnsetType = UNSET
    workflows: list[ManifestWorkflow] | UnsetType = UNSET


class ManifestRequest(Manifest):
    """POST /v1/manifests/plan and /v1/manifests/apply.

    `prune` deletes what the manifest owns and no longer names. `expect` is the `digest` of the plan that was looked at:
    when anything would change otherwise by now, nothing is done.
    """

    prune: bool = False
    expect: str | UnsetType = UNSET


class Kind(StrEnum):
    """What a manifest defines, in the order in which it is carried out."""

    CALENDAR = "calendar"
    JOB = "job"
    WORKFLOW = "workflow"


class Action(StrEnum):
    """What becomes of an object; `left`: the manifest owns it, names it no longer, and does not prune."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    DELETE = "delete"
    LEFT = "left"


class ManifestField(Struct, kw_only=True):
    """One field that changes, null where a side does not say it; of secrets only that they change."""

    field: str
    before: Any
    after: Any


class ManifestChange(Struct, kw_only=True):
    """What becomes of one object. `owner`: the manifest that has applied it so far, null when none has."""

    kind: Kind
    slug: str
    id: str | None
    action: Action
    owner: str | None
    fields: list[ManifestField]


class ManifestPlan(Struct, kw_only=True):
    """What a manifest changes, object by object; `same`: nothing. An applied plan says what was done."""

    project_id: str
    name: str
    applied: bool
    same: bool
    digest: str
    changes: list[ManifestChange]
