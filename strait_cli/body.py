"""From flags to request bodies: payloads as they were written, `--set a.b=1`, and the fields of a job."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from strait_cli.keys import read_secret
from strait_core.errors import UsageError


def _field(kind: Any, *names: str, text: str, metavar: str = "TEXT") -> Any:
    return Annotated[kind | None, typer.Option(*names, help=text, metavar=metavar, show_default=False)]


def _number(name: str, text: str) -> Any:
    return _field(int, name, text=text, metavar="N")


def _pairs(*names: str, text: str) -> Any:
    return _field(list[str], *names, text=f"{text}.", metavar="KEY=VALUE")


# Every field of a job but those that create and update treat apart (name, slug, endpoint_url, project_id).
JOB_FIELDS: Final[Mapping[str, Any]] = {
    "description": _field(str, "--description", text="What the job is for."),
    "tags": _pairs("--tags", "--tag", text="A tag, inherited by its runs"),
    "enabled": Annotated[
        bool | None, typer.Option("--enabled/--no-enabled", help="Whether it takes triggers.", show_default=False)
    ],
    "headers": _field(list[str], "--headers", "--header", text="A request header.", metavar="NAME=VALUE"),
    "signing_secret": _field(str, "--signing-secret", text="Signs requests: @FILE, - or env:NAME.", metavar="SECRET"),
    "fallback_endpoint_url": _field(
        str, "--fallback-endpoint-url", text="Called when the endpoint cannot be reached.", metavar="URL"
    ),
    "webhook_url": _field(str, "--webhook-url", text="Is told when a run has ended.", metavar="URL"),
    "webhook_secret": _field(str, "--webhook-secret", text="Signs webhooks: @FILE, - or env:NAME.", metavar="SECRET"),
    "timeout_secs": _number("--timeout-secs", "Seconds one attempt may take, 1 to 86400 (300)."),
    "max_attempts": _number("--max-attempts", "Attempts before it is given up, 1 to 100 (3)."),
    "retry_strategy": _field(str, "--retry-strategy", text="exponential, linear, fixed or custom.", metavar="STRATEGY"),
    "retry_delays_secs": _field(
        str, "--retry-delays-secs", text="Delays of the custom strategy: 1,10,60.", metavar="N,N"
    ),
    "retry_priority_boost": _number("--retry-priority-boost", "Added to the priority at each retry, 0 to 10 (1)."),
    "non_retryable_statuses": _field(
        str, "--non-retryable-statuses", text="HTTP statuses that fail at once: 400,404.", metavar="N,N"
    ),
    "poison_pill_threshold": _number("--poison-pill-threshold", "The same error so often in a row ends it; 0 = off."),
    "breaker_threshold": _number(
        "--breaker-threshold", "Failures in a row that hold its runs for a while; 0 = off (5)."
    ),
    "priority": _number("--priority", "0 to 10; the highest runs first (0)."),
    "max_concurrency": _number("--max-concurrency", "Attempts that may run at once; 0 = no limit."),
    "max_concurrency_per_key": _number("--max-concurrency-per-key", "The same for each concurrency key; 0 = no limit."),
    "rate_limit_max": _number("--rate-limit-max", "Attempts that may start in the rate's window; 0 = no limit."),
    "rate_limit_window_secs": _number("--rate-limit-window-secs", "Seconds of the rate's window."),
    "rate_limit_keys": _field(
        str, "--rate-limit-keys", text="Rates for each key: a JSON list, @file or -.", metavar="JSON"
    ),
    "run_ttl_secs": _number("--run-ttl-secs", "Seconds after which an unstarted run expires; 0 = never."),
    "default_run_metadata": _pairs("--default-run-metadata", text="Metadata every run begins with"),
    "version_policy": _field(str, "--version-policy", text="pin or latest.", metavar="POLICY"),
    "payload_schema": _field(str, "--payload-schema", text="Schema of payloads: JSON, @file or -.", metavar="JSON"),
    "result_schema": _field(str, "--result-schema", text="Schema of results: JSON, @file or -.", metavar="JSON"),
    "completion": _field(str, "--completion", text="response, or callback: 2xx only accepts.", metavar="MODE"),
    "max_cost_per_run_microusd": _number("--max-cost-per-run-microusd", "A run that reports more fails; 0 = no limit."),
    "dedup_window_secs": _number("--dedup-window-secs", "Seconds in which the same payload makes one run; 0 = off."),
    "debounce_window_secs": _number("--debounce-window-secs", "Seconds without a trigger before it runs; 0 = off."),
    "debounce_max_wait_secs": _number("--debounce-max-wait-secs", "Seconds a debounced run waits at most; 0 = no end."),
    "batch_window_secs": _number("--batch-window-secs", "Seconds whose triggers make one run; 0 = off."),
    "batch_max_size": _number("--batch-max-size", "Triggers in one batch at most, 1 to 1000 (100)."),
    "on_complete_trigger_job": _field(
        str, "--on-complete-trigger-job", text="Started by runs that completed.", metavar="JOB"
    ),
    "on_complete_trigger_workflow": _field(
        str, "--on-complete-trigger-workflow", text="Likewise, a workflow.", metavar="WORKFLOW"
    ),
    "on_complete_payload_mapping": _field(
        str, "--on-complete-payload-mapping", text="Its payload: JSON with {{result.x}}, @file or -.", metavar="JSON"
    ),
    "on_failure_trigger_job": _field(
        str, "--on-failure-trigger-job", text="Started by runs that failed for good.", metavar="JOB"
    ),
    "on_failure_trigger_workflow": _field(
        str, "--on-failure-trigger-workflow", text="Likewise, a workflow.", metavar="WORKFLOW"
    ),
    "on_failure_payload_mapping": _field(
        str, "--on-failure-payload-mapping", text="Its payload: JSON with {{error}}, @file or -.", metavar="JSON"
    ),
    "cron": _field(str, "--cron", text="When it runs by itself: '0 9 * * 1-5'.", metavar="EXPR"),
    "timezone": _field(str, "--timezone", text="Zone of the schedule: Europe/Berlin (UTC).", metavar="ZONE"),
    "misfire_policy": _field(str, "--misfire-policy", text="coalesce, all or skip what was missed.", metavar="POLICY"),
    "misfire_max_lateness_secs": _number("--misfire-max-lateness-secs", "A later tick is skipped; 0 = any lateness."),
    "misfire_max_runs": _number("--misfire-max-runs", "Missed ticks made up for at most, 1 to 1000 (100)."),
    "overlap_policy": _field(
        str, "--overlap-policy", text="allow, skip, cancel_running or queue_one.", metavar="POLICY"
    ),
    "jitter_secs": _number("--jitter-secs", "Spread ticks over so many seconds, up to 3600; 0 = none."),
    "dst_gap": _field(str, "--dst-gap", text="A time that the clocks skip: transition, skip or shift.", metavar="RULE"),
    "calendar": _field(str, "--calendar", text="The schedule goes by this calendar.", metavar="SLUG"),
    "calendar_mode": _field(str, "--calendar-mode", text="exclude its days, or only those.", metavar="MODE"),
    "calendar_roll": _field(str, "--calendar-roll", text="A day without: none, next or previous.", metavar="ROLL"),
    "execution_window_cron": _field(
        str, "--execution-window-cron", text="Runs start only then: '0 9-17 * * 1-5'.", metavar="EXPR"
    ),
    "start_within_secs": _number("--start-within-secs", "Late unless started so soon after its tick; 0 = off."),
    "finish_within_secs": _number("--finish-within-secs", "Late unless ended so soon after its tick; 0 = off."),
    "expect_every_secs": _number("--expect-every-secs", "Late when nothing succeeded for so long; 0 = off."),
    "alert_webhook_url": _field(str, "--alert-webhook-url", text="Is told what was late.", metavar="URL"),
    "dst_overlap": _field(str, "--dst-overlap", text="A time that comes twice: first, second or both.", metavar="RULE"),
}
TRIGGER_FIELDS: Final[Mapping[str, Any]] = {
    "tags": _pairs("--tags", "--tag", text="A tag of the run"),
    "metadata": _pairs("--metadata", text="Metadata of the run"),
    "scheduled_at": _field(str, "--scheduled-at", text="Not before: 2030-01-31T09:00:00Z.", metavar="TIME"),
    "priority": _number("--priority", "0 to 10 instead of the job's."),
    "ttl_secs": _number("--ttl-secs", "Expire if not started within so many seconds."),
    "max_attempts": _number("--max-attempts", "Attempts instead of the job's."),
    "timeout_secs": _number("--timeout-secs", "Seconds per attempt instead of the job's."),
    "retry_strategy": _field(str, "--retry-strategy", text="Instead of the job's.", metavar="STRATEGY"),
    "concurrency_key": _field(
        str, "--concurrency-key", text="Shares the job's cap per key with this key.", metavar="KEY"
    ),
    "debounce_key": _field(str, "--debounce-key", text="Debounced with triggers of this key only.", metavar="KEY"),
    "batch_key": _field(str, "--batch-key", text="Batched with triggers of this key only.", metavar="KEY"),
}
# Never shown, so never part of what is edited.
SECRETS: Final = frozenset({"signing_secret", "webhook_secret"})
_PAIRS: Final = frozenset({"tags", "headers", "default_run_metadata", "metadata"})
# Given as JSON.
_DOCUMENTS: Final = frozenset(
    {
        "payload_schema",
        "result_schema",
        "on_complete_payload_mapping",
        "on_failure_payload_mapping",
        "rate_limit_keys",
    }
)
_LISTS: Final = frozenset({"retry_delays_secs", "non_retryable_statuses"})


def fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a job or a trigger as the body's fields."""
    return {name: _value(name, value) for name, value in given.items()}


def _value(name: str, value: Any) -> Any:
    if name in _PAIRS:
        return pairs(value, flag(name))
    if name in SECRETS:
        return read_secret(value, flag=flag(name))
    if name in _DOCUMENTS:
        return parse_json(read_text(value, flag(name)), flag(name))
    if name in _LISTS:
        return [_whole(part, flag(name)) for part in str(value).split(",") if part.strip()]
    return value


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """`key=value` texts as an object."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f'{flag}: "{text}" is not KEY=VALUE')
        found[key] = value
    return found


def _whole(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f'{flag}: "{text}" is not a whole number') from None


def payload_text(payload: str | None, sets: Sequence[str], *, edit: bool, flag: str = "--payload") -> str | None:
    """The payload as JSON text, None when nothing speaks of one.

    As it was written, byte for byte, unless `--set` changes it: numbers and key order are the sender's.
    """
    text = None if payload is None else read_text(payload, flag)
    if text is not None:
        parse_json(text, flag)
    if sets:
        value = {} if text is None else parse_json(text, flag)
        for one in sets:
            assign(value, one)
        text = json.dumps(value, ensure_ascii=False)
    if edit:
        from strait_cli.ask import edited  # noqa: PLC0415 - rarely wanted

        text = edited(json.dumps(parse_json(text or "{}", "--payload"), indent=2) + "\n", suffix=".json")
        parse_json(text, "the edited payload")
    return text


def read_text(given: str, flag: str) -> str:
    """Text given directly, as `@file` or as `-` for standard input."""
    try:
        if given == "-":
            return sys.stdin.read()
        if given.startswith("@"):
            return Path(given[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {given[1:] or given}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{flag}: {given[1:] or given} is not UTF-8 text") from error
    return given


def parse_json(text: str, flag: str) -> Any:
    """Strict JSON, or a usage error that shows the place."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        hint = """quote it for the shell: --payload '{"key": "value"}', or --set key=value"""
        raise UsageError(f"{flag} is not JSON: {error}", hint=hint) from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def assign(target: Any, text: str) -> None:
    """Apply one `--set a.b=1`: the value is JSON when it reads as JSON, else text."""
    path, equals, raw = text.partition("=")
    parts = path.split(".")
    if not equals or not all(parts):
        raise UsageError(f'--set: "{text}" is not path=value', hint="--set user.id=42 --set user.name=Ada")
    place = target
    for part in parts[:-1]:
        place = place.setdefault(part, {}) if isinstance(place, dict) else _element(place, part, text)
    if isinstance(place, dict):
        place[parts[-1]] = _typed(raw)
    else:
        _element(place, parts[-1], text)
        place[int(parts[-1])] = _typed(raw)


def _element(place: Any, part: str, text: str) -> Any:
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    raise UsageError(f'--set: "{text}" does not fit the payload at "{part}"')


def _typed(raw: str) -> Any:
    try:
        return json.loads(raw, parse_constant=_refuse)
    except ValueError:
        return raw
