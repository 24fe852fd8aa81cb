"""Definitions of workflows: what is stored of one, and what comes back."""

from __future__ import annotations

from dataclasses import fields

import msgspec
import pytest
from msgspec import UNSET, Raw

from strait_core.duration import parse_duration
from strait_core.retry import RetryStrategy
from strait_core.workflow.definition import (
    FIELDS_OF,
    OnFailure,
    StepSpec,
    StepType,
    WorkflowSpec,
    evolve,
    payload_of,
    read_spec,
    said_of,
    settings_text,
    step_of,
    steps_text,
)

PAYLOAD = Raw(b'{"n": 1.10, "big": 12345678901234567890123, "who": "{{payload.who}}"}')
WHOLE = WorkflowSpec(
    "p",
    "s",
    "n",
    (
        StepSpec("a", job_id="x", payload=PAYLOAD, retry_backoff=RetryStrategy.FIXED),
        StepSpec("b", StepType.SLEEP, depends_on=("a",), on_failure=OnFailure.CONTINUE, sleep_duration="90s"),
    ),
    tags={"team": "data"},
    max_parallel_steps=3,
)


def test_what_is_stored_comes_back():
    """Both texts together are the definition; of a step only what it says is written."""
    assert read_spec(settings_text(WHOLE), steps_text(WHOLE)) == WHOLE
    assert msgspec.json.decode(steps_text(WHOLE))[1] == {
        "step_ref": "b", "step_type": "sleep", "depends_on": ["a"], "on_failure": "continue", "sleep_duration": "90s",
    }  # fmt: skip


def test_payloads_keep_their_digits():
    """A payload read as a template writes its numbers as they were written."""
    template = payload_of(WHOLE.steps[0])
    assert msgspec.json.encode(template) == b'{"n":1.10,"big":12345678901234567890123,"who":"{{payload.who}}"}'
    assert payload_of(WHOLE.steps[1]) is None


def test_nulls_and_zeros():
    """Null is the default; the 0 of a limit is no limit."""
    step = step_of({"step_ref": "a", "on_failure": None, "approval_timeout_secs": 0, "depends_on": ["b"]})
    assert step == StepSpec("a", depends_on=("b",))
    assert said_of(step) == {"step_ref": "a", "depends_on": ("b",)}
    assert evolve(WHOLE, {"max_parallel_steps": 0, "tags": None}).max_parallel_steps is None


def test_every_field_goes_with_some_type():
    """The table of what goes with which type names every field, and nothing else."""
    assert frozenset().union(*FIELDS_OF.values()) == {field.name for field in fields(StepSpec)}
    assert StepSpec("a").payload is UNSET


@pytest.mark.parametrize(
    ("text", "secs"),
    [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172_800), ("", None), ("90", None), ("1m1h", None), ("-1s", None), ("1.5s", None), ("99999999s", None)],
)  # fmt: skip
def test_lengths(text: str, secs: float | None):
    """Whole numbers with their units, the greater one first."""
    found = parse_duration(text)
    assert (None if found is None else found.total_seconds()) == secs
