"""Manifests made of what a server has: the create bodies without what is at its default, and without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from strait_cli import exact
from strait_cli.body import SECRETS
from strait_core.job import DEFAULTS as JOB_DEFAULTS
from strait_core.wire.jobs import JobPatch
from strait_core.wire.schedules import CalendarPatch
from strait_core.wire.workflows import WorkflowPatch
from strait_core.workflow.definition import DEFAULTS as WORKFLOW_DEFAULTS

_JOB_REFS: Final = ("on_complete_trigger_job", "on_failure_trigger_job")
_STEP_REFS: Final = ("job_id", "compensation_job", "sub_workflow")
_BREAKS: Final = frozenset("\x85\u2028\u2029")
# What the API shows of a step although it is not said.
_STEP_ALWAYS: Final[Mapping[str, Any]] = {"step_type": "job", "depends_on": [], "on_failure": "fail_workflow"}


def manifest_of(
    project: str,
    calendars: Iterable[dict[str, Any]],
    jobs: Iterable[dict[str, Any]],
    workflows: Iterable[dict[str, Any]],
) -> dict[str, Any]:
    """The manifest of these objects, each as the API shows it, in the order of their slugs."""
    jobs, workflows = list(jobs), list(workflows)
    slugs = {one["id"]: one["slug"] for one in (*jobs, *workflows)}
    lists = {
        "calendars": [_calendar(one) for one in calendars],
        "jobs": [_job(one, slugs) for one in jobs],
        "workflows": [_workflow(one, slugs) for one in workflows],
    }
    found = {kind: sorted(items, key=lambda one: str(one["slug"])) for kind, items in lists.items() if items}
    return {"project": project, **escaped(found)}


def secrets_left_out(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where a secret is that no manifest can show: `hello signing_secret`."""
    return [f"{job['slug']} {name}" for job in jobs for name in sorted(SECRETS) if job.get(name)]


def _calendar(calendar: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in CalendarPatch.__struct_fields__ if calendar.get(name)]
    return {"slug": calendar["slug"], **{name: calendar[name] for name in names}}


def _job(job: Mapping[str, Any], slugs: Mapping[str, str]) -> dict[str, Any]:
    names = [name for name in JobPatch.__struct_fields__ if name not in SECRETS]
    said = _said(job, names, JOB_DEFAULTS)
    return said | {name: slugs.get(said[name], said[name]) for name in _JOB_REFS if name in said}


def _workflow(workflow: Mapping[str, Any], slugs: Mapping[str, str]) -> dict[str, Any]:
    names = [name for name in WorkflowPatch.__struct_fields__ if name != "steps"]
    return _said(workflow, names, WORKFLOW_DEFAULTS) | {"steps": [_step(step, slugs) for step in workflow["steps"]]}


def _step(step: Mapping[str, Any], slugs: Mapping[str, str]) -> dict[str, Any]:
    said = {name: value for name, value in step.items() if _STEP_ALWAYS.get(name, ...) != value}
    return said | {name: slugs.get(said[name], said[name]) for name in _STEP_REFS if name in said}


def _said(item: Mapping[str, Any], names: Iterable[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The slug, the name, and what is not at its default."""
    first = {"slug": item["slug"], "name": item["name"]}
    rest = {name: item[name] for name in names if name not in first and not _is_default(name, item[name], defaults)}
    return first | rest


def _is_default(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    if name == "enabled":
        return value is True
    default = defaults.get(name)
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def escaped(value: Any) -> Any:
    """A value in which nothing is taken for a variable when it is read again."""
    match value:
        case str():
            return value.replace("${", "$${")
        case dict():
            return {key: escaped(inner) for key, inner in value.items()}
        case list():
            return [escaped(inner) for inner in value]
    return value


def as_yaml(manifest: Mapping[str, Any]) -> str:
    """A manifest as YAML in which every number stands as it was written."""
    import yaml  # noqa: PLC0415 - only here

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the writer's signature
            return True

    def number(dumper: Any, value: float) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:float", exact.dumps(value))

    def text(dumper: Any, value: str) -> Any:
        # Breaks that YAML takes for its own are kept by their escapes alone.
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _BREAKS & set(value) else None)

    Dumper.add_representer(str, text)
    Dumper.add_representer(float, number)
    Dumper.add_representer(exact.Exact, number)
    return yaml.dump(dict(manifest), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1_000)
