"""What the types alone do not say: bounds, lengths, patterns, formats, required fields; for OpenAPI and for editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from strait_core.headers import MAX_HEADERS
from strait_core.idempotency import MAX_KEY
from strait_core.job import (
    BOUNDS,
    LENGTHS,
    MAX_CONCURRENCY_KEY,
    MAX_METADATA,
    MAX_RETRY_DELAYS,
    MAX_TAGS,
    MAX_URL,
)
from strait_core.ratekeys import MAX_KEYS, MAX_RATE, MAX_TEMPLATE, MAX_WINDOW_SECS
from strait_core.signing import MAX_RAW, MIN_RAW
from strait_core.trigger import MAX_BULK_ITEMS
from strait_core.wire.manifests import Manifest
from strait_core.workflow import definition as workflow

_SLUG: Final = {"minLength": 1, "maxLength": LENGTHS["slug"], "pattern": "^[a-z0-9][a-z0-9_-]*$"}
_NAME: Final = {"minLength": 1, "maxLength": LENGTHS["name"]}
_DEFINITION: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"minimum": bounds.low, "maximum": bounds.high} for name, bounds in BOUNDS.items()},
    "name": _NAME,
    "slug": _SLUG,
    "description": {"maxLength": LENGTHS["description"]},
    "endpoint_url": {"minLength": 1, "maxLength": MAX_URL, "format": "uri"},
    "project_id": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "signing_secret": {"minLength": MIN_RAW, "maxLength": MAX_RAW, "writeOnly": True},
    "fallback_endpoint_url": {"minLength": 1, "maxLength": MAX_URL, "format": "uri"},
    "webhook_url": {"minLength": 1, "maxLength": MAX_URL, "format": "uri"},
    "alert_webhook_url": {"minLength": 1, "maxLength": MAX_URL, "format": "uri"},
    "webhook_secret": {"minLength": MIN_RAW, "maxLength": MAX_RAW, "writeOnly": True},
    "tags": {"maxProperties": MAX_TAGS},
    "headers": {"maxProperties": MAX_HEADERS},
    "default_run_metadata": {"maxProperties": MAX_METADATA},
    "retry_delays_secs": {"maxItems": MAX_RETRY_DELAYS, "items": {"type": "integer", "minimum": 1, "maximum": 3_600}},
    "rate_limit_keys": {"maxItems": MAX_KEYS},
    "non_retryable_statuses": {"items": {"type": "integer", "minimum": 300, "maximum": 599}},
}
_KEY: Final = {"minLength": 1, "maxLength": MAX_KEY}
_TRIGGER: Final[Mapping[str, Mapping[str, Any]]] = {
    "priority": _DEFINITION["priority"],
    "ttl_secs": _DEFINITION["run_ttl_secs"],
    "max_attempts": _DEFINITION["max_attempts"],
    "timeout_secs": _DEFINITION["timeout_secs"],
    "tags": _DEFINITION["tags"],
    "metadata": _DEFINITION["default_run_metadata"],
    "concurrency_key": {"minLength": 1, "maxLength": MAX_CONCURRENCY_KEY},
}
_WORKFLOW: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"minimum": bounds.low, "maximum": bounds.high} for name, bounds in workflow.BOUNDS.items()},
    **{name: _DEFINITION[name] for name in ("name", "slug", "description", "project_id", "tags", "alert_webhook_url")},
    "steps": {"minItems": 1, "maxItems": workflow.MAX_STEPS},
}
_STEP: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"minimum": bounds.low, "maximum": bounds.high} for name, bounds in workflow.STEP_BOUNDS.items()},
    "step_ref": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "depends_on": {"maxItems": workflow.MAX_STEPS - 1, "uniqueItems": True},
    "approvers": {"maxItems": workflow.MAX_APPROVERS, "uniqueItems": True},
}
_RATE_KEY: Final[Mapping[str, Mapping[str, Any]]] = {
    "name": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "key": {"minLength": 1, "maxLength": MAX_TEMPLATE},
    "max": {"minimum": 1, "maximum": MAX_RATE},
    "window_secs": {"minimum": 1, "maximum": MAX_WINDOW_SECS},
}
_MORE: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "JobCreate": _DEFINITION,
    "JobPatch": _DEFINITION,
    "JobClone": {"name": _NAME, "slug": _SLUG},
    "ManifestJob": _DEFINITION,
    "ManifestWorkflow": _WORKFLOW,
    "ManifestCalendar": {"slug": _SLUG},
    "RateLimitKey": _RATE_KEY,
    "RateKey": _RATE_KEY,
    "WorkflowCreate": _WORKFLOW,
    "WorkflowPatch": _WORKFLOW,
    "WorkflowDryRun": {"steps": _WORKFLOW["steps"]},
    "WorkflowClone": {"name": _NAME, "slug": _SLUG},
    "WorkflowStepBody": _STEP,
    **{name: {"name": _SLUG, "project": _DEFINITION["project_id"]} for name in ("Manifest", "ManifestRequest")},
    "Pause": {"reason": {"maxLength": 1_000}},
    "TriggerRequest": {**_TRIGGER, "debounce_key": _KEY, "batch_key": _KEY},
    "BulkItem": {**_TRIGGER, "idempotency_key": _KEY},
    "BulkTriggerRequest": {"items": {"minItems": 1, "maxItems": MAX_BULK_ITEMS}},
}
_REQUIRED: Final = {
    "JobCreate": ["name", "slug", "endpoint_url"],
    "WorkflowCreate": ["name", "slug", "steps"],
    "ManifestJob": ["name", "slug", "endpoint_url"],
    "ManifestWorkflow": ["name", "slug", "steps"],
    "ManifestCalendar": ["slug"],
    "WorkflowStepBody": ["step_ref"],
}


def refine(components: dict[str, dict[str, Any]]) -> None:
    """Add to the schemas of the named types what their Python types cannot carry."""
    for name, schema in components.items():
        for field, own in schema.get("properties", {}).items():
            for branch in _branches(own):
                if branch.get("type") == "string" and (field.endswith("_at") or field == "at"):
                    branch["format"] = "date-time"
                if branch.get("type") not in {None, "null"}:
                    branch.update(_MORE.get(name, {}).get(field, {}))
        if name in _REQUIRED:
            schema["required"] = _REQUIRED[name]


def _branches(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from schema.get("anyOf", (schema,))


# What a manifest's file may say in place of a value: a variable, for a secret also where it is kept.
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
_REFERENCE: Final = {"type": "string", "pattern": r"^(env:|@)|\$\{"}
_REF: Final = "#/$defs/{name}"


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest's file, from the very types and bounds by which the API judges one."""
    _, components = msgspec.json.schema_components([Manifest], ref_template=_REF)
    refine(components)
    for schema in components.values():
        for name, own in schema.get("properties", {}).items():
            own.pop("default", None)
            schema["properties"][name] = _or_variable(name, own)
    root = components.pop("Manifest")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Strait manifest",
        "description": "Jobs, workflows and calendars of one project; `strait apply` makes them so.",
        **{key: value for key, value in root.items() if key not in {"title", "description"}},
        "$defs": components,
    }


def _or_variable(name: str, own: dict[str, Any]) -> dict[str, Any]:
    """A value's schema, widened by what stands for one before it is filled in; objects and lists stay."""
    kinds = {branch.get("type") for branch in _branches(own)}
    if not kinds & {"string", "integer", "number", "boolean"} and not any("enum" in one for one in _branches(own)):
        return own
    return {"anyOf": [*_branches(own), _REFERENCE if name.endswith("_secret") else _VARIABLE]}
