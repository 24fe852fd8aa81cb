"""What manifests mean, without a store: what they want, what is wrong with them, what differs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from strait_core import manifest
from strait_core.errors import Fault
from strait_core.job import JobSpec
from strait_core.manifest import MOST_ITEMS, Wanted, changes, with_refs_as_slugs
from strait_core.wire.manifests import Kind, Manifest
from strait_core.workflow.definition import StepSpec, WorkflowSpec

URL = "http://127.0.0.1:9/"


def read(body: dict[str, Any], project: str | None = "p") -> tuple[Wanted, list[Fault]]:
    return manifest.read(msgspec.json.decode(msgspec.json.encode(body), type=Manifest), project)


def told(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    return {one.field: (one.before, one.after) for one in changes(before, after)}


def test_what_is_wanted_comes_in_the_order_of_the_deed():
    """Calendars before the jobs that go by them, jobs before workflows; each knows where it stands."""
    wanted, faults = read(
        {
            "workflows": [{"slug": "w", "name": "W", "steps": [{"step_ref": "a", "job_id": "j"}]}],
            "jobs": [{"slug": "j", "name": "J", "endpoint_url": URL, "enabled": False, "headers": None}],
            "calendars": [{"slug": "c", "weekdays": ["sun"]}],
        }
    )
    assert faults == []
    assert [(item.kind, item.at, item.enabled) for item in wanted.items] == [
        (Kind.CALENDAR, "/calendars/0", None), (Kind.JOB, "/jobs/0", False), (Kind.WORKFLOW, "/workflows/0", None),
    ]  # fmt: skip
    assert wanted.items[1].named == {"slug", "name", "endpoint_url", "headers"}
    assert (wanted.project, wanted.name) == ("p", "default")
    assert wanted.keys == {(Kind.CALENDAR, "c"), (Kind.JOB, "j"), (Kind.WORKFLOW, "w")}


@pytest.mark.parametrize(
    ("body", "project", "pointers"),
    [
        ({}, None, ["/project"]),
        ({"project": "a b"}, None, ["/project"]),
        ({"project": "a"}, "b", ["/project"]),
        ({"name": "_"}, "p", ["/name"]),
        ({"calendars": [{"weekdays": ["sun"]}]}, "p", ["/calendars/0/slug"]),
        ({"jobs": [{}]}, "p", ["/jobs/0/name", "/jobs/0/slug", "/jobs/0/endpoint_url"]),
        ({"workflows": [{}]}, "p", ["/workflows/0/name", "/workflows/0/slug", "/workflows/0/steps"]),
        ({"calendars": [{"slug": f"c{n}", "weekdays": ["sun"]} for n in range(MOST_ITEMS + 1)]}, "p", ["/calendars"]),
    ],
)
def test_what_is_wrong_has_its_place(body: dict[str, Any], project: str | None, pointers: list[str]):
    """What is missing, twice said differently, or too much."""
    assert [fault.pointer for fault in read(body, project)[1]] == pointers


def test_differences_of_jobs():
    """Field by field; of a new one nothing before; a secret only as such."""
    old = JobSpec("p", "j", "J", URL, timeout_secs=5, signing_secret="sealed-1", tags={"a": "b"})
    new = JobSpec("p", "j", "J", URL, signing_secret="sealed-2")
    assert told(old, new) == {"tags": ({"a": "b"}, {}), "signing_secret": ("****", "****"), "timeout_secs": (5, 300)}
    assert told(None, new) == {"name": (None, "J"), "endpoint_url": (None, URL), "signing_secret": (None, "****")}
    assert told(new, new) == {}


def test_differences_of_workflows():
    """Step by step, field by field; their order too, when all else is the same."""
    one, two = StepSpec("a", job_id="x"), StepSpec("b", job_id="x", payload=msgspec.Raw(b'{"n": 1.0}'))
    old = WorkflowSpec("p", "w", "W", (one, two))
    assert told(old, WorkflowSpec("p", "w", "W", (two, one))) == {"steps": (["a", "b"], ["b", "a"])}
    spaced = StepSpec("b", job_id="x", payload=msgspec.Raw(b'{ "n":1.0 }'))
    assert told(old, WorkflowSpec("p", "w", "W", (one, spaced))) == {}
    changed = told(old, WorkflowSpec("p", "w", "V", (StepSpec("a", job_id="y"), StepSpec("c", job_id="x"))))
    assert changed == {
        "name": ("W", "V"),
        "steps.b": ({"step_ref": "b", "job_id": "x", "payload": two.payload}, None),
        "steps.c": (None, {"step_ref": "c", "job_id": "x"}),
        "steps.a.job_id": ("x", "y"),
    }


def test_ids_and_slugs_are_the_same_reference():
    """Where an id is known, its slug stands for it; what is not known stays."""
    slugs = {"job_1": "one", "wf_1": "inner"}
    job = JobSpec("p", "j", "J", URL, on_complete_trigger_job="job_1", on_failure_trigger_job="job_2")
    named = with_refs_as_slugs(job, slugs)
    assert (named.on_complete_trigger_job, named.on_failure_trigger_job) == ("one", "job_2")
    flow = WorkflowSpec(
        "p", "w", "W", (StepSpec("a", job_id="job_1", compensation_job="job_1"), StepSpec("b", sub_workflow="wf_1"))
    )
    first, second = with_refs_as_slugs(flow, slugs).steps
    assert (first.job_id, first.compensation_job, second.sub_workflow) == ("one", "one", "inner")
