"""What an endpoint can answer, and how the run ends: dispatched for real, read from the database."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from strait_core.run import Status
from tests.support.endpoint import Endpoint
from tests.support.nameserver import serving_names
from tests.support.rig import Rig
from tests.support.scripted import Visit, answer, answering, scripted

MEBIBYTE = 1024 * 1024


async def once(rig: Rig, url: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run with one attempt: the run as it ended, and that attempt."""
    job = await rig.job(url, **{"max_attempts": 1, **changes})
    (run_id,) = await rig.add(job)
    run = await rig.wait(run_id)
    (attempt,) = await rig.attempts(run_id)
    return run, attempt


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"a": [1, 2.50, "\xc3\xa9"]}', '{"a": [1, 2.50, "\u00e9"]}'),
        (b"", "null"),
        (b"0", "0"),
        (b'"word"', '"word"'),
        (b" [] ", " [] "),
        (b'{"big": 1e400, "long": 123456789012345678901234567890}', None),
        (b'"\\u0000"', None),
        (b'"\\ud800"', '{"text":"\\"\\\\ud800\\""}'),
        (b"plain words", '{"text":"plain words"}'),
        (b"NaN", '{"text":"NaN"}'),
        (b'{"a": NaN}', '{"text":"{\\"a\\": NaN}"}'),
        (b'{"a": 1} trailing', '{"text":"{\\"a\\": 1} trailing"}'),
        (b"\x00\x01", '{"text":"\\u0000\\u0001"}'),
        (b"\xff\xfe", '{"base64":"//4="}'),
        (b"[" * 128 + b"]" * 128, None),
        (b"[" * 129 + b"]" * 129, json.dumps({"text": "[" * 129 + "]" * 129}, separators=(",", ":"))),
        (b"[" * 500_000 + b"]" * 500_000, json.dumps({"text": "[" * 500_000 + "]" * 500_000}, separators=(",", ":"))),
        (b'"' + b"[" * 1_000 + b'"', None),
    ],
    ids=[
        "json",
        "empty",
        "zero",
        "string",
        "blanks",
        "numbers no double holds",
        "an escape no text holds",
        "half a character",
        "text",
        "NaN",
        "NaN inside",
        "trailing",
        "control characters",
        "binary",
        "128 deep",
        "129 deep",
        "500,000 deep",
        "brackets in a string",
    ],
)
async def test_a_2xx_body_becomes_the_result(rig: Rig, body: bytes, result: str | None) -> None:
    """JSON is kept to the letter, nothing is null, anything else is wrapped; the run completes whatever was sent."""
    async with scripted(answering("200 OK", body)) as endpoint:
        run, attempt = await once(rig, endpoint.url)
    assert run["status"] == Status.COMPLETED
    assert run["result"] == (body.decode() if result is None else result)
    assert (run["result_truncated"], run["error"], attempt["http_status"]) == (False, None, 200)


@pytest.mark.parametrize(("size", "cut"), [(MEBIBYTE, False), (MEBIBYTE + 1, True), (3 * MEBIBYTE, True)])
async def test_a_body_over_one_mebibyte_is_cut_with_a_mark(rig: Rig, size: int, cut: bool) -> None:
    """The bound is exact, and a cut result says that it is cut."""
    async with scripted(answering("200 OK", b"x" * size)) as endpoint:
        run, _ = await once(rig, endpoint.url)
    assert run["status"] == Status.COMPLETED
    assert run["result"] == json.dumps({"text": "x" * MEBIBYTE}, separators=(",", ":"))
    assert run["result_truncated"] is cut


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "broken off"])
async def test_a_long_json_body_is_text_when_cut(rig: Rig, whole: bool) -> None:
    """Half a JSON document is not passed off as JSON; a character cut in two is left out."""
    body = json.dumps(["\u00e9" * 400_000] * (1 if whole else 2), ensure_ascii=False).encode()
    async with scripted(answering("200 OK", body)) as endpoint:
        run, _ = await once(rig, endpoint.url)
    if whole:
        assert json.loads(run["result"]) == json.loads(body)
    else:
        assert json.loads(run["result"]) == {"text": body[:MEBIBYTE].decode(errors="ignore")}
    assert run["result_truncated"] is not whole


async def test_a_long_binary_body_is_marked_as_cut(rig: Rig) -> None:
    """What is not text is cut at the same bound and says so; what is left of it is all there."""
    async with scripted(answering("200 OK", b"\xff" * (MEBIBYTE + 1))) as endpoint:
        run, _ = await once(rig, endpoint.url)
    assert run["status"] == Status.COMPLETED
    assert base64.b64decode(json.loads(run["result"])["base64"]) == b"\xff" * MEBIBYTE
    assert run["result_truncated"] is True


async def test_gzip_is_unpacked_and_bounded_after_that(rig: Rig) -> None:
    """A bomb costs no more than the bound: a gibibyte of zeros in a mebibyte of gzip is cut, and quickly."""
    bomb = gzip.compress(b"\0" * MEBIBYTE * 64, 9) * 16
    async with scripted(answering("200 OK", bomb, Content_Encoding="gzip")) as endpoint:
        run, _ = await once(rig, endpoint.url)
    assert (run["status"], run["result_truncated"]) == (Status.COMPLETED, True)
    packed = gzip.compress(b'{"packed": true}')
    async with scripted(answering("200 OK", packed, Content_Encoding="gzip")) as endpoint:
        run, _ = await once(rig, endpoint.url, slug="packed")
    assert run["result"] == '{"packed": true}'


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (300, "redirect"),
        (302, "redirect"),
        (304, "redirect"),
        (400, "client"),
        (401, "auth"),
        (404, "client"),
        (418, "client"),
        (429, "rate_limited"),
        (500, "server"),
        (599, "server"),
    ],
)
async def test_any_other_status_is_an_error_that_uses_the_attempt_up(rig: Rig, status: int, error_class: str) -> None:
    """Not 2xx, nothing left to try: dead_letter, with the status and the body's beginning as the error."""
    body = b"" if status == 304 else b"said \x1b[31mred\nand\x00 so on"
    async with scripted(answering(f"{status} Whatever", body)) as endpoint:
        run, attempt = await once(rig, endpoint.url)
    assert run["status"] == Status.DEAD_LETTER
    assert run["error"] == f"HTTP {status}: " + ("no body" if status == 304 else "said  [31mred and  so on")
    assert (run["error_class"], attempt["http_status"], attempt["outcome"]) == (error_class, status, "dead_letter")


async def test_redirects_are_not_followed(rig: Rig, endpoint: Endpoint) -> None:
    """A 3xx is a non-2xx: nobody visits the place it names."""
    run, _ = await once(rig, endpoint.url("/redirect"))
    assert run["status"] == Status.DEAD_LETTER
    assert [call.path for call in endpoint.calls] == ["/redirect"]


@pytest.mark.parametrize(
    ("head", "changes"),
    [
        ({"X_Strait_Retry": "no"}, {}),
        ({"X_Strait_Retry": " NO "}, {}),
        ({}, {"non_retryable_statuses": (422, 500)}),
    ],
    ids=["header", "header in capitals", "status"],
)
async def test_told_not_to_retry(rig: Rig, head: dict[str, str], changes: dict[str, Any]) -> None:
    """A response that says so, or a status the job names, fails the run at once."""
    async with scripted(answering("500 Oops", b"", **head)) as endpoint:
        run, _ = await once(rig, endpoint.url, max_attempts=5, **changes)
    assert (run["status"], run["attempt"], run["error"]) == (Status.FAILED, 1, "HTTP 500: no body")


async def _reset_at_once(visit: Visit) -> None:
    visit.reset()


async def _close_at_once(_: Visit) -> None:
    return


async def _reset_in_the_body(visit: Visit) -> None:
    await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    visit.reset()


async def _break_off(visit: Visit) -> None:
    await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


async def _break_off_chunks(visit: Visit) -> None:
    await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")


async def _bad_gzip(visit: Visit) -> None:
    await visit.say(answer("200 OK", b"this is no gzip", Content_Encoding="gzip"))


async def _garbage(visit: Visit) -> None:
    await visit.say(b"\x16\x03\x01 SSH-2.0 220 ready\r\n\r\n")


async def _endless_head(visit: Visit) -> None:
    await visit.say(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "error_class"),
    [
        (_reset_at_once, "connection"),
        (_close_at_once, "connection"),
        (_reset_in_the_body, "protocol"),
        (_break_off, "protocol"),
        (_break_off_chunks, "protocol"),
        (_bad_gzip, "protocol"),
        (_garbage, "protocol"),
        (_endless_head, "protocol"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_an_endpoint_that_breaks_off_or_speaks_no_http(rig: Rig, script: Any, error_class: str) -> None:
    """Whatever comes instead of an answer is an error with a name, never a fault of ours."""
    async with scripted(script) as endpoint:
        run, attempt = await once(rig, f"{endpoint.url}?token=hidden")
    assert (run["status"], run["error_class"], attempt["http_status"]) == (Status.DEAD_LETTER, error_class, None)
    assert run["error"].startswith(f"{error_class} error: ")
    assert "None" not in run["error"]
    # Errors travel on: to the fallback, to webhooks.
    assert "hidden" not in run["error"]


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_connection_refused(rig: Rig, host: str) -> None:
    """The error names where nobody listens, and why."""
    port = _closed_port()
    run, _ = await once(rig, f"http://{host}:{port}/")
    assert (run["status"], run["error_class"]) == (Status.DEAD_LETTER, "connection")
    assert f"{host}:{port}" in run["error"]
    assert "refused" in run["error"].lower()


async def test_a_name_nobody_knows(rig: Rig) -> None:
    """A DNS failure is an error of its own class, which names the host."""
    async with serving_names() as names:
        rig.parts.guard._lookup = names.lookup
        run, _ = await once(rig, "http://nobody.example/")
    assert (run["status"], run["error_class"]) == (Status.DEAD_LETTER, "dns")
    assert "nobody.example" in run["error"]


async def test_tls_that_cannot_be_trusted(rig: Rig, tls_server: ssl.SSLContext) -> None:
    """A certificate nobody vouches for ends the attempt before a byte of the request is sent."""
    async with scripted(answering("200 OK"), tls=tls_server) as endpoint:
        run, _ = await once(rig, endpoint.url)
        assert endpoint.visits == []
    assert (run["status"], run["error_class"]) == (Status.DEAD_LETTER, "tls")
    assert "certificate" in run["error"].lower()


async def test_tls_to_a_port_that_speaks_none(rig: Rig) -> None:
    """https:// to a plain port is a TLS error, not a fault of ours."""

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        run, _ = await once(rig, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (run["status"], run["error_class"]) == (Status.DEAD_LETTER, "tls")


@pytest.fixture
def tls_server(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that it signed itself."""
    from tests.support.certificate import self_signed

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, "127.0.0.1"))
    return context


async def test_a_result_is_as_the_schema_says(rig: Rig):
    """A 2xx whose result is not, is an error of its own class, retried like any other."""
    schema = {"type": "object", "required": ["ok"]}
    async with scripted(answering("200 OK", b'{"ok": 1}')) as endpoint:
        run, _ = await once(rig, endpoint.url, result_schema=schema)
    assert (run["status"], run["result"]) == (Status.COMPLETED, '{"ok": 1}')
    async with scripted(answering("200 OK", b'{"no": 1}')) as endpoint:
        run, attempt = await once(rig, endpoint.url, slug="bad", result_schema=schema)
    assert (run["status"], run["error_class"], run["result"]) == (Status.DEAD_LETTER, "result_schema", None)
    assert (attempt["http_status"], attempt["outcome"]) == (200, "dead_letter")
    assert run["error"] == 'result_schema: the result: "ok" is a required property'
