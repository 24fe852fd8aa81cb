"""Whatever can be defined comes back from its export unchanged: drawn at random, through the text of a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strait_cli import exact
from strait_cli.manifestfile import read
from strait_cli.manifestout import as_yaml, escaped, manifest_of
from strait_core import manifest
from strait_core.job import BOUNDS, JobSpec
from strait_core.manifest import Item, Wanted, changes
from strait_core.store.jobs import StoredJob
from strait_core.store.workflows import StoredWorkflow
from strait_core.wire.manifests import Manifest
from strait_core.workflow.definition import WorkflowSpec
from strait_daemon.api import shape, workflow_shape
from tests.support.sizes import size

# YAML is slow to read and to write.
EXAMPLES = size(ci=20, soak=2_000)
AT = datetime(2030, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
WORD = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
# Numbers that mean something only beside another, or beside what the cron says, are left out.
ALONE = sorted(name for name in BOUNDS if not name.startswith(("rate_limit", "debounce", "batch", "expect")))
NUMBERS: dict[str, Any] = {name: st.integers(BOUNDS[name].low, BOUNDS[name].high) for name in ALONE}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
JOB = st.fixed_dictionaries(
    {
        "name": TEXT.filter(lambda text: bool(text.strip())),
        "endpoint_url": st.just("http://127.0.0.1:9/x"),
        "cron": st.just("0 9 * * 1-5"),
    },
    optional={
        **NUMBERS,
        "description": TEXT,
        "enabled": st.booleans(),
        "tags": st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
        "retry_strategy": st.sampled_from(["exponential", "linear", "fixed"]),
        "non_retryable_statuses": st.lists(st.integers(300, 599), max_size=3),
        "default_run_metadata": st.dictionaries(TEXT.filter(bool), TEXT, max_size=2),
        "payload_schema": st.just({"type": "object", "properties": {"a": {"minimum": 0.10}}}),
    },
)
STEP = st.fixed_dictionaries(
    {"job_id": WORD},
    optional={
        # Braces would be templates, and text in them is judged.
        "payload": JSON.filter(lambda value: "{{" not in repr(value)),
        "on_failure": st.sampled_from(["continue", "skip_dependents"]),
        "timeout_secs": st.integers(1, 86_400),
        "concurrency_key": st.just("k"),
    },
)
BODY = st.fixed_dictionaries(
    {
        "jobs": st.dictionaries(WORD, JOB, max_size=2),
        "workflows": st.dictionaries(WORD, st.lists(STEP, min_size=1, max_size=3), max_size=2),
        "calendars": st.dictionaries(WORD, st.sets(st.sampled_from(["sun", "mon", "sat"]), min_size=1), max_size=1),
    }
)


def wanted(body: dict[str, Any]) -> Wanted:
    """A manifest's body, read as the server reads it."""
    found, faults = manifest.read(msgspec.json.decode(exact.dumps(body), type=Manifest), "p")
    assert faults == []
    return found


def told(item: Item, number: int) -> dict[str, Any]:
    """An object as the API shows it."""
    enabled, own = item.enabled is not False, UUID(int=number)
    around: dict[str, Any] = {
        "id": own, "enabled": enabled, "paused": False, "paused_at": None, "pause_reason": None, "version": 1,
        "version_id": own, "created_at": AT, "updated_at": AT,
    }  # fmt: skip
    spec = item.spec
    if isinstance(spec, JobSpec):
        text = msgspec.json.encode(shape.job(StoredJob(spec=spec, **around)))
    elif isinstance(spec, WorkflowSpec):
        stored = StoredWorkflow(spec=spec, step_count=len(spec.steps), **around)
        text = msgspec.json.encode(workflow_shape.workflow(stored))
    else:
        text = msgspec.json.encode({"slug": item.slug, **msgspec.to_builtins(spec)})
    shown: dict[str, Any] = exact.loads(text)
    return shown


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round") / "strait.yaml"


@settings(max_examples=EXAMPLES)
@given(body=BODY)
def test_what_is_exported_and_read_again_is_the_same(file: Path, body: dict[str, Any]):
    """No field differs, whatever the text and the numbers are; read as JSON it says the same."""
    first = wanted(
        {
            "jobs": [{"slug": slug, **job} for slug, job in body["jobs"].items()],
            "workflows": [
                {
                    "slug": slug,
                    "name": "w",
                    "cron": "0 9 * * *",
                    "skip_if_running": len(steps) > 1,
                    "steps": [{"step_ref": f"s{at}", **one} for at, one in enumerate(steps)],
                }
                for slug, steps in body["workflows"].items()
            ],
            "calendars": [{"slug": slug, "weekdays": sorted(days)} for slug, days in body["calendars"].items()],
        }
    )
    lists: dict[str, list[dict[str, Any]]] = {"calendar": [], "job": [], "workflow": []}
    for number, item in enumerate(first.items):
        lists[item.kind].append(told(item, number))
    exported = manifest_of("p", lists["calendar"], lists["job"], lists["workflow"])
    file.write_text(as_yaml(exported), encoding="utf-8")
    again = read([str(file)], environ={}).body
    assert exact.dumps(escaped(again)) == exact.dumps(exported)
    second = {(item.kind, item.slug): item for item in wanted(again).items}
    assert len(second) == len(first.items)
    for item in first.items:
        other = second[item.kind, item.slug]
        assert changes(item.spec, other.spec) == []
        assert (item.enabled is not False) == (other.enabled is not False)
