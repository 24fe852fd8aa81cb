"""The HTTP side: what is retried and how long, idempotency keys, and problems as errors of the tree."""

from __future__ import annotations

import json
import time

import pytest

from strait_cli.client import Client, Connection
from strait_cli.errors import ProblemError, as_json, panel
from strait_cli.main import exit_code
from strait_cli.paths import is_loopback, path_of
from strait_core import errors
from strait_core.errors import StraitError, UnavailableError, ValidationError
from tests.cli.scripted import CUT, answer, scripted

OK = answer("200 OK", '{"ok": true}')
BUSY = answer("503 Service Unavailable", '{"code": "unavailable", "detail": "later"}', Retry_After="0")


def client(url: str, key: str | None = "sesame", project: str | None = None, timeout: float = 5) -> Client:
    """A client for that address."""
    return Client(Connection(url, key, "--api-key", project, timeout))


def test_a_request_says_who_asks():
    """Key, project, program and media type go with every request."""
    with scripted([OK]) as server:
        assert client(server.url, project="web").get("/v1/jobs", {"limit": 5, "status": None}) == {"ok": True}
    assert server.seen[0].startswith("GET /v1/jobs?limit=5 HTTP/1.1")
    assert server.headers("authorization") == ["Bearer sesame"]
    assert server.headers("x-project-id") == ["web"]
    assert (server.headers("user-agent")[0] or "").startswith("strait/")


@pytest.mark.parametrize("first", [BUSY, answer("429 Too Many Requests", Retry_After="0"), CUT])
def test_a_post_is_repeated_with_the_same_key(first: bytes):
    """Whatever went wrong on the way, the server can tell the second try from a second wish."""
    with scripted([first, first, OK]) as server:
        assert client(server.url).post("/v1/jobs", {"a": 1}) == {"ok": True}
    keys = server.headers("idempotency-key")
    assert len(keys) == 3
    assert keys[0]
    assert len(set(keys)) == 1


def test_two_posts_have_two_keys():
    """Unless the caller names one."""
    with scripted([OK, OK, OK]) as server:
        one = client(server.url)
        one.post("/v1/jobs", {})
        one.post("/v1/jobs", {})
        one.post("/v1/jobs", {}, key="mine")
    keys = server.headers("idempotency-key")
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_what_may_have_happened_is_not_repeated_without_a_key():
    """A PATCH whose connection broke is reported, not sent again."""
    with scripted([CUT, OK]) as server, pytest.raises(UnavailableError, match="broke"):
        client(server.url).patch("/v1/jobs/a", {})
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "500 Internal Server Error"])
def test_an_answer_is_final(status: str):
    """Only 429 and 503 ask for another try."""
    with scripted([answer(status), OK]) as server, pytest.raises(StraitError):
        client(server.url).post("/v1/jobs", {})
    assert len(server.seen) == 1


def test_advice_beyond_the_bound_is_passed_on_at_once():
    """A server that asks for a minute is not waited for: the error says so."""
    began = time.monotonic()
    with (
        scripted([answer("503 Service Unavailable", Retry_After="60")]) as server,
        pytest.raises(UnavailableError) as caught,
    ):
        client(server.url).get("/v1/stats")
    assert caught.value.retry_after == 60
    assert time.monotonic() - began < 2


def test_all_tries_together_are_bounded():
    """A server that is always busy costs five seconds, not more."""
    began = time.monotonic()
    with scripted([BUSY] * 50) as server, pytest.raises(UnavailableError):
        client(server.url).get("/v1/stats")
    assert len(server.seen) > 3
    assert time.monotonic() - began < 6


def test_a_server_that_is_not_there_is_named():
    """With the address, the reason and the way out; the wait is short."""
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"http://127.0.0.1:9: connection refused") as caught:
        client("http://127.0.0.1:9").get("/v1/stats")
    assert time.monotonic() - began < 4
    assert "strait dev" in (caught.value.hint or "")


def test_a_server_that_does_not_answer_is_named():
    """The time limit is the request's own."""
    with scripted([], silent=True) as server, pytest.raises(UnavailableError, match=r"within 0\.2 s"):
        client(server.url, timeout=0.2).get("/v1/stats")


PROBLEMS = [
    (401, errors.AuthError, 4),
    (403, errors.AuthError, 4),
    (404, errors.NotFoundError, 5),
    (405, errors.MethodNotAllowedError, 1),
    (409, errors.ConflictError, 6),
    (412, errors.PreconditionError, 6),
    (413, errors.TooLargeError, 7),
    (431, errors.HeadTooLargeError, 7),
    (415, errors.UnsupportedMediaError, 7),
    (400, errors.ValidationError, 7),
    (422, errors.ValidationError, 7),
    (429, errors.RateLimitedError, 8),
    (500, errors.UnavailableError, 8),
    (503, errors.UnavailableError, 8),
    (418, errors.StraitError, 1),
]


@pytest.mark.parametrize(("status", "kind", "code"), PROBLEMS)
def test_a_problem_becomes_its_error(status: int, kind: type[StraitError], code: int):
    """Status to class, class to exit code; code, detail, hint and request id are the server's."""
    body: dict[str, object] = {"code": "special", "detail": "what happened", "hint": "what next", "request_id": "req_1"}
    body |= {"errors": [{"pointer": "/slug", "message": "is taken"}]}
    reply = answer(f"{status} X", json.dumps(body), Retry_After="99")
    with scripted([reply]) as server, pytest.raises(StraitError) as caught:
        client(server.url).call("POST", "/v1/jobs", body={}, once=True)
    error = caught.value
    assert type(error) is kind
    assert exit_code(error) == code
    assert isinstance(error.__cause__, ProblemError)
    shown = as_json(error)["error"]
    assert (shown["code"], shown["message"], shown["request_id"]) == ("special", "what happened", "req_1")
    # Where a credential came from, only this side knows.
    assert shown["hint"] == (
        "the key sent came from --api-key; strait config explain shows what else there is" if code == 4 else "what next"
    )
    if isinstance(error, ValidationError):
        assert "slug: is taken" in panel(error)


def test_another_program_on_the_port_is_suspected():
    """A page instead of a problem still ends in an error that helps."""
    page = answer("302 Found", "<html>", Location="/login")
    with scripted([page]) as server, pytest.raises(StraitError, match="HTTP 302") as caught:
        client(server.url).get("/v1/stats")
    assert "Strait server" in (caught.value.hint or "")


def test_pages_follow_the_cursor_up_to_the_limit():
    """A list is read page by page, and says whether there is more."""

    def page(*ids: str, cursor: str | None) -> bytes:
        return answer("200 OK", json.dumps({"data": [{"id": one} for one in ids], "next_cursor": cursor}))

    with scripted([page("a", "b", cursor="x"), page("c", cursor="y")]) as server:
        pages = client(server.url).pages("/v1/runs", {"status": "failed"}, limit=3)
        assert [one["id"] for one in pages] == ["a", "b", "c"]
        assert pages.more
    assert "limit=3" in server.seen[0]
    assert "status=failed" in server.seen[1]
    assert "cursor=x" in server.seen[1]
    with scripted([page("a", cursor=None)]) as server:
        pages = client(server.url).pages("/v1/runs", limit=3)
        assert len(list(pages)) == 1
        assert not pages.more


def test_a_key_with_a_line_break_is_refused():
    """It would be another header."""
    with pytest.raises(ValidationError):
        client("http://127.0.0.1:9", key="a\nX-Evil: 1")


@pytest.mark.parametrize("part", ["..", "a/b", "a?b", "a%2fb", "a#b", "é"])
def test_a_part_of_a_path_is_one_segment(part: str):
    """Nothing a person types becomes another route."""
    path = path_of("jobs", part)
    assert path.startswith("/v1/jobs/")
    assert "/" not in path.removeprefix("/v1/jobs/")
    assert "?" not in path


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost", True),
        ("http://[::1]:80", True),
        ("http://127.evil.example.com", False),
        ("https://localhost.evil.example.com", False),
    ],
)
def test_what_is_this_machine(url: str, answer: bool):
    """Names that only begin like loopback are not."""
    assert is_loopback(url) is answer
