"""Whether a workflow's definition is right: every fault at once, each with its place.

What needs the store (do the jobs exist, do sub-workflows lead back) is asked by the API. The time that this takes grows
with the size of the definition, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from strait_core import deadline, ids, template
from strait_core.duration import parse_duration
from strait_core.errors import Fault
from strait_core.job import MAX_CONCURRENCY_KEY, check_length, check_project, check_slug, check_tags, check_url
from strait_core.schedule import OverlapPolicy
from strait_core.template import Slot
from strait_core.timetable import schedule_faults
from strait_core.wire.events import faults_of_key
from strait_core.workflow import condition, transform
from strait_core.workflow.condition import Mention
from strait_core.workflow.definition import (
    BOUNDS,
    DEFAULTS,
    FIELDS_OF,
    MAX_APPROVER,
    MAX_APPROVERS,
    MAX_REF,
    MAX_SLEEP_SECS,
    MAX_STEPS,
    REF,
    ROOTS,
    RUN_FIELDS,
    STEP_BOUNDS,
    StepSpec,
    StepType,
    WorkflowSpec,
    payload_of,
    said_of,
)
from strait_core.workflow.graph import cycles, graph_from

# More would tell nobody more.
MOST_FAULTS: Final = 1_000
_REQUIRED: Final[Mapping[StepType, str]] = {
    StepType.JOB: "job_id",
    StepType.SUB_WORKFLOW: "sub_workflow",
    StepType.WAIT_FOR_EVENT: "event_key",
}
REFERENCES: Final = ("job_id", "sub_workflow", "compensation_job")


def faults_of(spec: WorkflowSpec) -> list[Fault]:
    """Everything wrong with a definition, each fault with the JSON pointer of its place; at most a thousand and one."""
    faults = [
        *check_project(spec.project_id),
        *check_slug(spec.slug),
        *check_length("name", spec.name, required=True),
        *check_length("description", spec.description),
        *check_tags("tags", spec.tags),
        *_number_faults(spec),
        *_schedule_faults(spec),
        *islice(_steps_faults(spec.steps), MOST_FAULTS + 1),
    ]
    if len(faults) <= MOST_FAULTS:
        return faults
    return [*faults[:MOST_FAULTS], Fault("", "has more faults, which are not listed")]


def _number_faults(spec: WorkflowSpec) -> Iterator[Fault]:
    for name, bounds in BOUNDS.items():
        value = getattr(spec, name)
        if value is not None and not bounds.low <= value <= bounds.high:
            yield Fault(f"/{name}", f"must be from {bounds.low} to {bounds.high}")


def _schedule_faults(spec: WorkflowSpec) -> Iterator[Fault]:
    yield from schedule_faults(spec, DEFAULTS, "cron_timezone")
    yield from deadline.faults_of(spec)
    if spec.alert_webhook_url is not None:
        yield from check_url("alert_webhook_url", spec.alert_webhook_url)
    if spec.skip_if_running and spec.cron is None:
        yield Fault("/skip_if_running", "works only with cron")
    if spec.skip_if_running and spec.overlap_policy not in {OverlapPolicy.ALLOW, OverlapPolicy.SKIP}:
        yield Fault("/skip_if_running", f"does not go with overlap_policy {spec.overlap_policy}")


def _steps_faults(steps: Sequence[StepSpec]) -> Iterator[Fault]:
    if not 1 <= len(steps) <= MAX_STEPS:
        yield Fault("/steps", f"must be 1 to {MAX_STEPS} steps, not {len(steps)}")
        return
    for at, step in enumerate(steps):
        yield from _step_faults(step, f"/steps/{at}")
    first: dict[str, int] = {}
    for at, step in enumerate(steps):
        if first.setdefault(step.step_ref, at) != at:
            yield Fault(f"/steps/{at}/step_ref", f"{_shown(step.step_ref)} is the name of another step too")
    depends_on: dict[str, list[str]] = {ref: [] for ref in first}
    for at, step in enumerate(steps):
        yield from _dependency_faults(step, f"/steps/{at}/depends_on", depends_on)
    circles = cycles(depends_on)
    for circle in circles:
        yield Fault(f"/steps/{first[circle[0]]}/depends_on", f"closes a cycle: {' → '.join(circle)}")
    yield from _mention_faults(steps, None if circles else depends_on, first)


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_REF else f"{text[:MAX_REF]}…")


def _dependency_faults(step: StepSpec, place: str, depends_on: dict[str, list[str]]) -> Iterator[Fault]:
    """What is wrong with a step's dependencies; those that are right are added to `depends_on`."""
    seen: set[str] = set()
    for at, ref in enumerate(step.depends_on):
        if ref == step.step_ref:
            yield Fault(f"{place}/{at}", f"a step cannot depend on itself: {ref} → {ref}")
        elif ref not in depends_on:
            yield Fault(f"{place}/{at}", f"{_shown(ref)} is no step of this workflow")
        elif ref in seen:
            yield Fault(f"{place}/{at}", f"{_shown(ref)} stands twice")
        else:
            depends_on[step.step_ref].append(ref)
        seen.add(ref)


# ── one step ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _step_faults(step: StepSpec, place: str) -> Iterator[Fault]:
    if not REF.match(step.step_ref):
        yield Fault(f"{place}/step_ref", f"must be 1 to {MAX_REF} characters of A-Z a-z 0-9 _ -")
    fitting = FIELDS_OF[step.step_type]
    for name in said_of(step):
        if name not in fitting:
            yield Fault(f"{place}/{name}", f"does not go with step_type {step.step_type}")
    required = _REQUIRED.get(step.step_type)
    if required is not None and getattr(step, required) is None:
        yield Fault(f"{place}/{required}", f"is required with step_type {step.step_type}")
    for name, bounds in STEP_BOUNDS.items():
        value = getattr(step, name)
        if value is not None and not bounds.low <= value <= bounds.high:
            yield Fault(f"{place}/{name}", f"must be from {bounds.low} to {bounds.high}")
    for name in REFERENCES:
        yield from _reference_faults(name, getattr(step, name), f"{place}/{name}")
    yield from _retry_faults(step, place)
    yield from _approval_faults(step, place)
    yield from _sleep_faults(step, place)
    yield from _text_faults(step, place)


def _reference_faults(name: str, ref: str | None, place: str) -> Iterator[Fault]:
    prefix = ids.Prefix.WORKFLOW if name == "sub_workflow" else ids.Prefix.JOB
    if ref is not None and ids.parse(prefix, ref) is None and check_slug(ref):
        yield Fault(place, f"must be the slug or the id of a {'workflow' if name == 'sub_workflow' else 'job'}")


def _retry_faults(step: StepSpec, place: str) -> Iterator[Fault]:
    first, most = step.retry_initial_delay_secs, step.retry_max_delay_secs
    if first is not None and most is not None and first > most:
        yield Fault(f"{place}/retry_max_delay_secs", "must be at least retry_initial_delay_secs")


def _approval_faults(step: StepSpec, place: str) -> Iterator[Fault]:
    if len(step.approvers) > MAX_APPROVERS:
        yield Fault(f"{place}/approvers", f"must have at most {MAX_APPROVERS} entries")
    for at, who in enumerate(step.approvers):
        if not 1 <= len(who) <= MAX_APPROVER:
            yield Fault(f"{place}/approvers/{at}", f"must be 1 to {MAX_APPROVER} characters")
        if step.approvers.index(who) < at:
            yield Fault(f"{place}/approvers/{at}", "stands twice")
        if at == MAX_APPROVERS:
            return


def _sleep_faults(step: StepSpec, place: str) -> Iterator[Fault]:
    length, until = step.sleep_duration, step.sleep_until
    if step.step_type is StepType.SLEEP and (length is None) == (until is None):
        yield Fault(f"{place}/sleep_duration", "one of sleep_duration and sleep_until is required, not both")
    if length is not None:
        parsed = parse_duration(length)
        if parsed is None:
            yield Fault(f"{place}/sleep_duration", "must be a length like 90s or 1h30m, of d, h, m, s and ms")
        elif not 0 < parsed.total_seconds() <= MAX_SLEEP_SECS:
            yield Fault(f"{place}/sleep_duration", "must be more than nothing, and at most 365d")
    if until is not None and "{{" not in until and read_instant(until) is None:
        yield Fault(
            f"{place}/sleep_until", "must be a time with a UTC offset, like 2030-01-31T09:00:00Z, or a template"
        )


def read_instant(text: str) -> datetime | None:
    """The instant that a text names: a time with a UTC offset; None when it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _text_faults(step: StepSpec, place: str) -> Iterator[Fault]:
    """What is wrong with templates, condition, transform and keys, apart from the steps that they name."""
    for name, value in _templates(step):
        yield from template.faults_of(value, ROOTS, f"{place}/{name}")
    if step.event_key is not None and "{{" not in step.event_key:
        yield from faults_of_key(f"{place}/event_key", step.event_key)
    if step.event_emit_key is not None and "{{" not in step.event_emit_key:
        yield from faults_of_key(f"{place}/event_emit_key", step.event_emit_key)
    if step.condition is not None:
        yield from condition.faults_of(step.condition, f"{place}/condition", ROOTS)
    if step.output_transform is not None:
        yield from transform.faults_of(step.output_transform, f"{place}/output_transform")
    if step.concurrency_key is not None and not 1 <= len(step.concurrency_key) <= MAX_CONCURRENCY_KEY:
        yield Fault(f"{place}/concurrency_key", f"must be 1 to {MAX_CONCURRENCY_KEY} characters")


def _templates(step: StepSpec) -> Iterator[tuple[str, object]]:
    payload = payload_of(step)
    if payload is not None:
        yield "payload", payload
    for name in ("event_key", "sleep_until", "event_emit_key"):
        if getattr(step, name) is not None:
            yield name, getattr(step, name)


# ── what steps say of one another ─────────────────────────────────────────────────────────────────────────────────────


def mentions(step: StepSpec, place: str) -> Iterator[Mention]:
    """Every placeholder of a step's templates and condition, and every step whose state the condition asks for.

    Of a part that has faults nothing comes.
    """
    for name, value in _templates(step):
        if not template.faults_of(value, ROOTS, ""):
            for inner, slot in template.slots_of(value, f"{place}/{name}"):
                yield Mention(inner, None, slot)
    if step.condition is not None and not condition.faults_of(step.condition, "", ROOTS):
        yield from condition.mentions(step.condition, f"{place}/condition")


def _mention_faults(
    steps: Sequence[StepSpec], depends_on: Mapping[str, list[str]] | None, number: Mapping[str, int]
) -> Iterator[Fault]:
    """Placeholders and conditions that name what is not there, or not there yet; `depends_on` is None with cycles."""
    before = None if depends_on is None else graph_from(depends_on).before_each()
    for at, step in enumerate(steps):
        for mention in mentions(step, f"/steps/{at}"):
            wrong, ref = _form_fault(mention, step), mention.names
            if wrong is None and ref is not None:
                if ref not in number:
                    wrong = f"{_shown(ref)} is no step of this workflow"
                elif before is not None and not before[number[step.step_ref]] >> number[ref] & 1:
                    wrong = f"{_shown(ref)} does not come before this step: add it to depends_on"
            if wrong is not None:
                yield Fault(mention.pointer, wrong)


def _form_fault(mention: Mention, step: StepSpec) -> str | None:
    """What is wrong with the form of a placeholder."""
    match mention.slot:
        case Slot(root="steps", steps=inner, path=path) if len(inner) < 2 or inner[1] != "output":
            return f"{{{{{path}}}}} does not name an output: {{{{steps.NAME.output}}}}"
        case Slot(root="parent_outputs", steps=inner) if inner and str(inner[0]) not in step.depends_on:
            return f"{_shown(str(inner[0]))} is not in this step's depends_on; use {{{{steps.NAME.output}}}}"
        case Slot(root="run", steps=inner, path=path) if len(inner) != 1 or inner[0] not in RUN_FIELDS:
            return f"{{{{{path}}}}} is none of {', '.join(f'{{{{run.{name}}}}}' for name in RUN_FIELDS)}"
        case _:
            return None
