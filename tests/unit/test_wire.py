"""The bodies: strict shapes, no coercion, and one list of fields shared with the definition."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Struct

from strait_core import wire
from strait_core.errors import Fault
from strait_core.job import DEFAULTS, JobSpec
from strait_core.run import Status

REQUESTS = [
    thing
    for thing in vars(wire).values()
    if isinstance(thing, type) and issubclass(thing, wire.Request) and thing is not wire.Request
]
MINIMAL: dict[str, dict[str, Any]] = {
    "JobClone": {"slug": "a"},
    "BulkTriggerRequest": {"items": []},
}


@pytest.mark.parametrize("request_type", REQUESTS)
def test_an_unknown_field_is_refused(request_type: type[Struct]):
    """A field that means nothing is a mistake of the sender, and is named."""
    body = MINIMAL.get(request_type.__name__, {})
    msgspec.json.decode(msgspec.json.encode(body), type=request_type)
    with pytest.raises(msgspec.ValidationError, match="no_such_field"):
        msgspec.json.decode(msgspec.json.encode({**body, "no_such_field": 1}), type=request_type)


@pytest.mark.parametrize(
    ("request_type", "field", "text"),
    [
        (wire.TriggerRequest, "priority", "true"),
        (wire.TriggerRequest, "priority", '"1"'),
        (wire.TriggerRequest, "priority", "1.0"),
        (wire.TriggerRequest, "priority", "1e0"),
        (wire.TriggerRequest, "priority", "[1]"),
        (wire.TriggerRequest, "scheduled_at", "1700000000"),
        (wire.TriggerRequest, "scheduled_at", '"2030-01-16"'),
        (wire.TriggerRequest, "scheduled_at", '"tomorrow"'),
        (wire.TriggerRequest, "retry_strategy", '"Fixed"'),
        (wire.TriggerRequest, "tags", '{"a": 1}'),
        (wire.TriggerRequest, "tags", "[]"),
        (wire.JobCreate, "enabled", "1"),
        (wire.JobCreate, "enabled", '"true"'),
        (wire.JobCreate, "enabled", "null"),
        (wire.JobCreate, "name", "1"),
        (wire.JobCreate, "name", "null"),
        (wire.JobCreate, "slug", "null"),
        (wire.JobCreate, "endpoint_url", "null"),
        (wire.JobCreate, "retry_delays_secs", '["1"]'),
        (wire.JobCreate, "retry_delays_secs", "[1.5]"),
        (wire.JobCreate, "version_policy", '"newest"'),
        (wire.JobPatch, "timeout_secs", "60.0"),
        (wire.JobPatch, "project_id", '"p"'),
    ],
)
def test_nothing_is_coerced(request_type: type[Struct], field: str, text: str):
    """A value of another type, or a null where there is no default, is refused at its field."""
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(f'{{"{field}": {text}}}'.encode(), type=request_type)


def test_absent_and_null_are_told_apart():
    """Absent leaves a field alone, null puts it back: the two must not look alike."""
    patch = msgspec.json.decode(b'{"timeout_secs": null}', type=wire.JobPatch)
    assert patch.timeout_secs is None
    assert patch.max_attempts is UNSET
    assert msgspec.json.encode(patch) == b'{"timeout_secs":null}'
    assert msgspec.json.encode(wire.JobPatch()) == b"{}"


def test_a_job_can_say_what_its_definition_holds():
    """Each field of the definition can be created, shown and, but for the project, changed; nothing else is accepted."""
    spec = {field.name for field in fields(JobSpec)}
    assert set(wire.JobCreate.__struct_fields__) == spec | {"enabled"}
    assert set(wire.JobPatch.__struct_fields__) == (spec | {"enabled"}) - {"project_id"}
    assert spec <= set(wire.Job.__struct_fields__)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_what_has_a_default_may_be_null(name: str):
    """Null is understood wherever there is a default to go back to."""
    assert getattr(msgspec.json.decode(f'{{"{name}": null}}'.encode(), type=wire.JobPatch), name) is None


def test_a_payload_passes_unread():
    """The text between the quotes and braces reaches the run as it came."""
    body = b'{"payload": {"b" : [1e400000, "\\u0000"],  "a": 1.0}, "priority": 3}'
    request = msgspec.json.decode(body, type=wire.TriggerRequest)
    assert isinstance(request.payload, msgspec.Raw)
    assert bytes(request.payload) == b'{"b" : [1e400000, "\\u0000"],  "a": 1.0}'
    assert request.priority == 3


def test_what_is_shown_can_be_read_back():
    """A page of runs survives the wire, with and without the heavy fields."""
    body = (
        b'{"data":[{"id":"run_1","job_id":"job_1","job_slug":"a","project_id":"p","status":"queued","seq":1,"attempt":0,'
        b'"max_attempts":3,"payload":{"a":1},"result_truncated":false,"error":null,"error_class":null,"metadata":{},'
        b'"tags":{},"triggered_by":"manual","scheduled_at":null,"created_at":"2030-01-16T12:00:00Z","started_at":null,'
        b'"finished_at":null,"heartbeat_at":null,"next_retry_at":null,"expires_at":null,"priority":0,"job_version":1,'
        b'"batch_id":null,"idempotency_key":null,"concurrency_key":null,"parent_run_id":null,"continuation_of":null,'
        b'"lineage_depth":0,"workflow_run_id":null,"step_ref":null,"fire_at":null,"timeout_secs":300,"warnings":[],"progress":null,"cost_microusd":0}],"next_cursor":null}'
    )
    page = msgspec.json.decode(body, type=wire.Page[wire.Run])
    (run,) = page.data
    assert (run.status, run.result) == (Status.QUEUED, UNSET)
    assert msgspec.json.decode(msgspec.json.encode(page)) == msgspec.json.decode(body)


def test_a_fault_of_the_core_is_an_entry_of_a_problem():
    """Both carry the same two facts under the same names."""
    assert wire.FaultItem.__struct_fields__ == tuple(field.name for field in fields(Fault))
