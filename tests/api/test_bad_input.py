"""Bad input, one table: each case is refused by name, with the fix, and leaves nothing behind.

A case says how to provoke it and what must come of it. `provoke` answers with an outcome: a status code (or an exit
code) and everything that was said; the same checks hold for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from tests.api.bad_starts import SECRETS, STARTS, Start, begin
from tests.api.caller import Caller
from tests.api.server import SECRET
from tests.support.plain import NO_TLS

MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Outcome:
    """What came of it: a status or exit code, and all that was said."""

    code: int
    said: str


@dataclass(frozen=True)
class Case:
    """A fault: how it is provoked, its code, and words that its message must have (the fault, and the way out)."""

    name: str
    provoke: Callable[[Caller], Outcome]
    code: int
    words: tuple[str, ...]


def answered(answer: httpx.Response) -> Outcome:
    """An HTTP answer as an outcome; it must be a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return Outcome(answer.status_code, answer.text)


def create(content: bytes, headers: dict[str, str] | None = None) -> Callable[[Caller], Outcome]:
    """A POST of raw bytes to /v1/jobs."""
    return lambda api: answered(
        api.client.post("/v1/jobs", content=content, headers=JSON if headers is None else headers)
    )


def job_with(**fields: object) -> Callable[[Caller], Outcome]:
    """A job whose other fields are right."""

    def provoke(api: Caller) -> Outcome:
        right = {"project_id": api.project, "name": "x", "slug": "x", "endpoint_url": "http://127.0.0.1:9/"}
        return answered(api.client.post("/v1/jobs", json=right | fields))

    return provoke


def trigger(content: bytes, headers: dict[str, str] | None = None, end: str = "") -> Callable[[Caller], Outcome]:
    """A POST of raw bytes to the trigger of a job that works."""

    def provoke(api: Caller) -> Outcome:
        path = f"/v1/jobs/{_job(api)}/trigger{end}"
        return answered(api.client.post(path, content=content, headers=JSON if headers is None else headers))

    return provoke


def trigger_job(ref: str) -> Callable[[Caller], Outcome]:
    """A trigger of some job."""
    return lambda api: answered(api.client.post(f"/v1/jobs/{ref}/trigger", json={}))


def trigger_after(change: Callable[[Caller, str], object]) -> Callable[[Caller], Outcome]:
    """A trigger of a job after something has been done to it."""

    def provoke(api: Caller) -> Outcome:
        job_id = _job(api)
        change(api, job_id)
        return answered(api.client.post(f"/v1/jobs/{job_id}/trigger", json={}))

    return provoke


def _job(api: Caller) -> str:
    job_id: str = api.make_job("works")["id"]
    return job_id


def _chunked(size: int) -> Callable[[Caller], Outcome]:
    """A body without a declared length."""

    def provoke(api: Caller) -> Outcome:
        chunks = (b"x" * 65_536 for _ in range(size // 65_536))
        return answered(api.client.post(f"/v1/jobs/{_job(api)}/trigger", content=chunks, headers=JSON))

    return provoke


TEXT, FORM = "text/plain", "application/x-www-form-urlencoded"

REQUESTS = [
    Case("no JSON at all", create(b"hello"), 422, ("not valid JSON",)),
    Case("JSON cut short", create(b'{"name": "x"'), 422, ("not valid JSON", "ends too early")),
    Case("text after the JSON", create(b"{} {}"), 422, ("not valid JSON", "trailing")),
    Case("single quotes", create(b"{'name': 'x'}"), 422, ("not valid JSON",)),
    Case("a trailing comma", create(b'{"name": "x",}'), 422, ("not valid JSON", "comma")),
    Case("a list", create(b"[]"), 422, ("must be an object", "array")),
    Case("null", create(b"null"), 422, ("must be an object",)),
    Case("a byte order mark", create(b"\xef\xbb\xbf{}"), 422, ("byte order mark", "plain UTF-8")),
    Case("Latin-1", create(b'{"name": "\xfc"}'), 422, ("UTF-8",)),
    Case("Latin-1 in a payload", trigger(b'{"payload": "\xfc"}'), 422, ("UTF-8",)),
    Case("NaN", trigger(b'{"payload": NaN}'), 422, ("not valid JSON",)),
    Case("Infinity", trigger(b'{"payload": -Infinity}'), 422, ("not valid JSON",)),
    Case("a raw control character", trigger(b'{"payload": "\x01"}'), 422, ("not valid JSON",)),
    Case("half a surrogate pair in a name", create(b'{"name": "\\ud800"}'), 422, ("surrogate",)),
    Case("NUL in a name", create(b'{"name": "a\\u0000b"}'), 422, ("/name", "NUL")),
    Case("NUL in a key", trigger(b'{"tags": {"\\u0000": "x"}}'), 422, ("/tags", "NUL")),
    Case("a key twice", create(b'{"name": "a", "name": "b"}'), 422, ("/name", "twice")),
    Case("a key twice, spelled differently", create(b'{"name": "a", "n\\u0061me": "b"}'), 422, ("/name", "twice")),
    Case("a tag twice", trigger(b'{"tags": {"a": "1", "a": "2"}}'), 422, ("/tags/a", "twice")),
    Case("payload twice", trigger(b'{"payload": 1, "payload": 1}'), 422, ("/payload", "twice")),
    Case("129 brackets deep", trigger(b'{"payload":' + b"[" * 128 + b"]" * 128 + b"}"), 422, ("128", "deep")),
    Case("a million brackets deep", trigger(b'{"payload":' + b"[" * MIB + b"]" * MIB + b"}"), 422, ("128",)),
    Case("an unknown field", create(b'{"colour": "red"}'), 422, ("/colour", "not a field")),
    Case("a field of a later release", job_with(retry_budget=9), 422, ("/retry_budget", "not a field")),
    Case("an unknown field in an item", trigger(b'{"items":[{"x":1}]}', end="/bulk"), 422, ("/items/0/x",)),
    Case("true for a number", job_with(priority=True), 422, ("/priority", "whole number")),
    Case("text for a number", job_with(priority="1"), 422, ("/priority", "whole number", "string")),
    Case("a fraction for a number", job_with(priority=1.5), 422, ("/priority", "whole number")),
    Case("a number for text", job_with(name=1), 422, ("/name", "string")),
    Case("a number beyond all bounds", job_with(timeout_secs=10**30), 422, ("/timeout_secs", "from 1 to 86400")),
    Case("an unknown word", job_with(retry_strategy="never"), 422, ("/retry_strategy", "exponential")),
    Case("a bad URL", job_with(endpoint_url="example.com/post"), 422, ("/endpoint_url", "http://")),
    Case("a URL of another scheme", job_with(endpoint_url="file:///etc/passwd"), 422, ("/endpoint_url", "http://")),
    Case("a URL with a password", job_with(endpoint_url="http://a:b@c.example/"), 422, ("/endpoint_url", "password")),
    Case("a URL with a blank", job_with(endpoint_url="http://a.example/ b"), 422, ("/endpoint_url", "blanks")),
    Case("a URL without end", job_with(endpoint_url="http://a.example/" + "x" * 2_048), 422, ("/endpoint_url", "2048")),
    Case("a bad slug", job_with(slug="Hello World"), 422, ("/slug", "a-z")),
    Case("an empty name", job_with(name="  "), 422, ("/name", "empty")),
    Case("a header that is ours", job_with(headers={"x-run-id": "1"}), 422, ("/headers/x-run-id", "Strait")),
    Case("a header that splits", job_with(headers={"X-A": "b\r\nX-C: d"}), 422, ("/headers/X-A", "printable")),
    Case(
        "a time without offset", trigger(b'{"scheduled_at": "2030-01-01T00:00:00"}'), 422, ("/scheduled_at", "offset")
    ),
    Case("no time at all", trigger(b'{"scheduled_at": "soon"}'), 422, ("/scheduled_at", "2030-01-31")),
    Case("a form", create(b"name=x", {"Content-Type": FORM}), 415, (FORM, "application/json")),
    Case("plain text", trigger(b"{}", {"Content-Type": TEXT}), 415, (TEXT, "application/json")),
    Case("UTF-16", create(b"{}", {"Content-Type": "application/json; charset=utf-16"}), 415, ("UTF-8",)),
    Case("no content type", trigger(b"{}", {}), 415, ("content type", "application/json")),
    Case("6 MiB of payload", trigger(b'{"payload":"' + b"x" * (6 * MIB) + b'"}'), 413, ("5376 KiB", "5 MiB")),
    Case("6 MiB of payload, unannounced", _chunked(6 * MIB), 413, ("5376 KiB", "5 MiB")),
    Case("20 MiB of payload", trigger(b'{"payload":"' + b"x" * (20 * MIB) + b'"}'), 413, ("5376 KiB",)),
    Case(
        "33 MiB of bulk", trigger(b'{"items":[' + b" " * (33 * MIB) + b"]}", end="/bulk"), 413, ("32768 KiB", "fewer")
    ),
    Case("a definition of 1 MiB", create(b'{"name":"' + b"x" * MIB + b'"}'), 413, ("256 KiB",)),
    Case("an unknown job", trigger_job("nobody-knows-it"), 404, ("nobody-knows-it", "strait jobs list")),
    Case(
        "an unknown job's id", trigger_job("job_01m7zr2knhfhz838y8k8cj2g2h"), 404, ("job_01m7zr2knhfhz838y8k8cj2g2h",)
    ),
    Case(
        "a disabled job",
        trigger_after(lambda api, job: api.call("PATCH", f"/v1/jobs/{job}", {"enabled": False})),
        409,
        ("disabled", "enable it"),
    ),
    Case(
        "a paused job",
        trigger_after(lambda api, job: api.call("POST", f"/v1/jobs/{job}/pause", {"reason": "night"})),
        409,
        ("paused", "night", "strait jobs resume works"),
    ),
    Case(
        "a deleted job",
        trigger_after(lambda api, job: api.call("DELETE", f"/v1/jobs/{job}", status=204)),
        404,
        ("there is no job",),
    ),
    Case(
        "no credential",
        lambda api: answered(httpx.get(f"{api.server.url}/v1/jobs", trust_env=False, verify=NO_TLS)),
        401,
        ("Bearer",),
    ),
]


def started(start: Start) -> Callable[[Caller], Outcome]:
    """A start of the daemon with a fault in its settings or surroundings."""
    return lambda api: Outcome(*begin(start, api.server.parts.settings.database_url.get_secret_value()))


CASES = [*REQUESTS, *(Case(start.name, started(start), 3, start.words) for start in STARTS)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_by_name(api: Caller, case: Case):
    """The right code, words that name fault and fix, no secret, no traceback, nothing half-written."""
    outcome = case.provoke(api)
    assert outcome.code == case.code, outcome.said
    for word in case.words:
        assert word in outcome.said
    for secret in (SECRET, *SECRETS):
        assert secret not in outcome.said
    assert "Traceback" not in outcome.said
    jobs = api.call("GET", f"/v1/jobs?project_id={api.project}")["data"]
    assert {job["slug"] for job in jobs} <= {"works"}
    assert api.call("GET", f"/v1/runs?project_id={api.project}")["data"] == []
