"""Logs: nothing secret gets through, whatever part of a line it stands in."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from strait_core.run import Event
from strait_daemon.exposition import labelled
from strait_daemon.settings import LogFormat, LogLevel
from strait_daemon.telemetry import Metrics, configure_logging, masked, redact

SECRET = "hunter2-hunter2"


def redacted(**event: Any) -> dict[str, Any]:
    """An event after redaction."""
    return dict(redact(CapturingLogger(), "info", dict(event)))


@pytest.mark.parametrize(
    "key", ["secret", "internal_secret", "password", "run_token", "Authorization", "signing_key", "api_key", "dsn"]
)
def test_what_is_secret_by_name(key: str) -> None:
    """A value is blanked out by its key, whatever its type."""
    for value in (SECRET, SECRET.encode(), [SECRET], {"a": SECRET}):
        assert SECRET not in str(redacted(**{key: value}))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db:5432/strait",
        f"postgresql://me:{SECRET}@b@db/strait",
        f"postgresql://me:{SECRET}/b@db/strait",
        f"redis://:{SECRET}@cache:6379/0",
        f"postgresql://db/strait?user=me&password={SECRET}",
        f"postgresql://db/strait?password={SECRET}&sslmode=require",
        f"postgresql://db/strait?sslpassword={SECRET}",
    ],
)
def test_passwords_in_urls(url: str) -> None:
    """Well or badly written, in the middle of a text, in a list, or on a banner: the password is not shown."""
    assert SECRET not in masked(url)
    assert "b@db" not in masked(url)
    for value in (url, f"cannot reach {url}: refused", [url], {"at": url}, (url,)):
        assert SECRET not in str(redacted(event="database", detail=value))
    assert SECRET not in str(redacted(event=f"cannot reach {url}"))


def test_what_is_not_secret_stays() -> None:
    """Addresses and everything else are shown as they are."""
    event = {"event": "started", "url": "http://127.0.0.1:8080/v1/jobs?tag=a:b", "n": 1, "mail": "a@b", "none": None}
    assert redacted(**event) == event
    assert masked("postgresql://me:x@db:5432/strait") == "postgresql://me:****@db:5432/strait"
    assert masked("postgresql://db:5432/strait") == "postgresql://db:5432/strait"


def test_a_log_line_is_one_json_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """With its level, its time in UTC and its facts; an exception is in it, without the password it carries."""
    before = structlog.get_config()
    try:
        configure_logging(LogLevel.INFO, LogFormat.JSON)
        log = structlog.get_logger("strait_daemon.test")
        log.debug("unheard")
        try:
            raise ValueError(f"postgresql://me:{SECRET}@db/strait is wrong")
        except ValueError:
            log.exception("it_failed", run_id="run_1", text="two\nlines")
    finally:
        structlog.configure(**before)
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["run_id"], event["text"]) == (
        "it_failed",
        "error",
        "run_1",
        "two\nlines",
    )
    assert event["timestamp"].endswith("Z")
    assert "ValueError" in event["exception"]
    assert SECRET not in line


def test_metrics_render() -> None:
    """The exposition text carries what was counted, under its documented names."""
    metrics = Metrics()
    metrics.attempts.ended(Event.COMPLETE, 0.01)
    assert b'strait_attempts_total{outcome="complete"} 1.0' in metrics.render()


def test_the_figures_of_several_processes() -> None:
    """Each sample says whose it is, histograms too; a process that did not answer is shown as down, by its number."""
    texts = []
    for count in (1, 2):
        metrics = Metrics()
        metrics.slots.set(count)
        for _ in range(count):
            metrics.attempts.ended(Event.COMPLETE, 0.01)
        texts.append(metrics.render().decode())
    families = {family.name: family for family in labelled({0: texts[0], 1: None, 7: texts[1]})}
    shown = {(s.name, *sorted(s.labels.items())): s.value for f in families.values() for s in f.samples}
    assert [shown["strait_process_up", ("process", n)] for n in "017"] == [1, 0, 1]
    assert [shown["strait_worker_slots", ("process", n)] for n in "07"] == [1, 2]
    assert shown["strait_attempts_total", ("outcome", "complete"), ("process", "7")] == 2
    assert shown["strait_attempt_seconds_bucket", ("le", "+Inf"), ("process", "7")] == 2
    assert families["strait_attempts"].type == "counter"
