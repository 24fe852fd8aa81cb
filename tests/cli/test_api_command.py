"""`strait api`: any request, with the settings in force and without leaking them."""

from __future__ import annotations

import pytest

from tests.cli.runner import Shell


def test_a_path_alone_is_a_get(shell: Shell, job: str):
    """The whole object, as JSON without being asked."""
    assert shell.ok("api", f"/v1/jobs/{job}").json["slug"] == job


def test_a_body_makes_it_a_post(shell: Shell, job: str):
    """With `--set`, and with numbers that keep their digits in `--data`."""
    assert shell.ok("api", f"/v1/jobs/{job}/trigger", "--set", "payload.a=1").json["payload"] == {"a": 1}
    answer = shell.ok("api", "post", f"/v1/jobs/{job}/trigger", "--data", '{"payload":{"n":1.10}}')
    assert '"n": 1.10' in answer.out


def test_query_and_jq(shell: Shell, job: str):
    """Parameters are encoded, and the answer can be filtered."""
    answer = shell.ok("api", "GET", "/v1/jobs", "--query", "limit=1", "--jq", ".data[].slug")
    assert answer.out == f"{job}\n"


def test_all_pages_as_one_list(shell: Shell, job: str):
    """The cursor is followed to the end."""
    ids = [shell.ok("api", f"/v1/jobs/{job}/trigger", "--data", "{}").json["id"] for _ in range(3)]
    found = shell.ok("api", "/v1/runs", "--paginate", "-o", "jsonl").lines
    assert [run["id"] for run in found] == ids[::-1]


def test_an_answer_without_a_body(shell: Shell, job: str):
    """Nothing on stdout, a remark on stderr."""
    shell.ok("api", "POST", f"/v1/jobs/{job}/trigger", "--data", '{"dry_run":true}')
    answer = shell.ok("api", "DELETE", f"/v1/jobs/{job}")
    assert answer.out == ""
    assert "204" in answer.err


def test_an_answer_that_is_no_json(shell: Shell):
    """Metrics come as they are."""
    assert "# HELP" in shell.ok("api", "/metrics").out


def test_a_refusal_is_an_error_like_any_other(shell: Shell):
    """Exit code and panel by what the server said."""
    shell.run("api", "/v1/jobs/nobody", code=5)
    assert shell.run("api", "POST", "/v1/jobs", "--data", "{}", "-o", "json", code=7).json["error"]["code"]


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/v1/jobs", "//evil.example.com/x", "v1/jobs", "", "@evil"])
def test_the_key_goes_to_the_server_only(shell: Shell, path: str):
    """What is no path of the server is refused before anything is sent."""
    assert shell.run("api", path).code == 2


def test_what_it_does_not_do(shell: Shell):
    """An unknown method, pages of a POST, a stream, a body that is not JSON."""
    shell.run("api", "FETCH", "/v1/jobs", code=2)
    shell.run("api", "POST", "/v1/jobs", "--paginate", code=2)
    assert "runs watch" in shell.run("api", "/v1/runs/x/stream", code=2).err
    assert "--data" in shell.run("api", "POST", "/v1/jobs", "--data", "{", code=2).err
