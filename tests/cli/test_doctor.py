"""`strait doctor`: a line for each thing, the fix where one is needed, 1 when something fails; with and without a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.runner import Shell
from tests.cli.scripted import answer, scripted
from tests.support.daemon import free_port
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually


def by_name(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["check"]: one for one in found}


def test_all_is_well(shell: Shell, job: str):
    """Both sides in one list; nothing fails, so exit 0."""
    found = by_name(shell.ok("doctor", "-o", "json").json)
    wanted = {
        "configuration", "key", "server", "versions", "key accepted", "clocks", "secret INTERNAL_SECRET",
        "secret JWT_SIGNING_KEY", "redis", "open files", "postgresql", "migrations", "autovacuum", "fsync", "connections",
        "held snapshots", "workers", "queue",
    }  # fmt: skip
    assert wanted <= found.keys()
    assert {one["status"] for one in found.values()} <= {"pass", "warn"}
    assert all(one["fix"] for one in found.values() if one["status"] == "warn")
    rows = shell.ok("doctor").rows
    assert [row[1] for row in rows if row[0] == "pass"] == [
        name for name, one in found.items() if one["status"] == "pass"
    ]


def test_it_reads_well_on_a_narrow_terminal(shell: Shell):
    """80 columns, the verdict in colour, fixes below what they are for."""
    screen = shell.terminal("doctor", columns=80)
    assert screen.wait() == 0
    assert screen.color_of("pass  postgresql") == "green"
    assert max(len(line) for line in screen.shown.splitlines()) <= 80


def test_without_a_server(alone: Shell):
    """It fails, says how to go on, and looks at the database that the environment names."""
    offline = alone.run("doctor", "-o", "json", code=1)
    server = by_name(offline.json)["server"]
    assert (server["status"], "strait dev" in server["fix"]) == ("fail", True)
    url = f"postgresql://me:hunter2@127.0.0.1:{free_port()}/x"
    looked = alone.run("doctor", "-o", "json", env={"DATABASE_URL": url, "INTERNAL_SECRET": "short"}, code=1)
    found = by_name(looked.json)
    assert "cannot reach PostgreSQL at 127.0.0.1:" in found["postgresql"]["detail"]
    assert any("INTERNAL_SECRET has 5 characters" in one["detail"] for one in looked.json if one["check"] == "settings")
    assert "hunter2" not in looked.out + looked.err


def test_a_refused_key_is_told_from_a_missing_one(shell: Shell):
    """Each with its own fix."""
    wrong = by_name(shell.run("doctor", "-o", "json", "--api-key", "x" * 32, code=1).json)
    assert wrong["key accepted"]["status"] == "fail"
    del shell.settings["INTERNAL_SECRET"]
    none = by_name(shell.run("doctor", "-o", "json", code=1).json)
    assert (none["key"]["status"], "strait login" in none["key"]["fix"]) == ("fail", True)


def test_what_this_side_can_get_wrong(shell: Shell):
    """A configuration that others read, a local file that nobody trusts."""
    shell.ok("context", "create", "a", "--server", shell.settings["STRAIT_SERVER"])
    shell.config.chmod(0o644)
    (shell.folder / ".strait.toml").write_text('server = "http://127.0.0.1:1"\n')
    found = by_name(shell.ok("doctor", "-o", "json").json)
    assert (found["configuration"]["status"], found["configuration"]["fix"]) == ("warn", f"chmod 600 {shell.config}")
    assert "strait config trust" in found["local file"]["fix"]


def test_clocks_that_differ_are_noticed(alone: Shell):
    """An hour is told; a server of another version too."""
    health = answer("200 OK", '{"status": "ok", "version": "0.0.1"}', Content_Type="application/json")
    body = '{"now": "2030-01-01T00:00:00Z", "version": "0.0.1", "findings": []}'
    with scripted([health, answer("200 OK", body, Content_Type="application/json")]) as server:
        found = by_name(alone.ok("doctor", "-o", "json", "--server", server.url, "--api-key", "k").json)
    assert (found["clocks"]["status"], found["versions"]["status"]) == ("warn", "warn")
    assert found["clocks"]["fix"]


def test_endpoints_that_keep_failing_are_named(shell: Shell, cli_endpoint: Endpoint):
    """With the job to look at."""
    url = cli_endpoint.url("/status/500")
    shell.ok(
        "jobs",
        "create",
        "--name",
        "B",
        "--slug",
        "breaks",
        "--endpoint",
        url,
        "--max-attempts",
        "1",
        "--breaker-threshold",
        "1",
    )
    shell.run("trigger", "breaks", "--wait", code=9)
    found = eventually(lambda: by_name(shell.ok("doctor", "-o", "json").json).get("endpoint of breaks", {}))
    assert (found["status"], found["fix"].startswith("strait jobs test breaks")) == ("warn", True)


@pytest.mark.parametrize("words", [("--database", "env:X"), ("--invariants", "-o", "yaml")])
def test_flags_that_do_not_go_together(alone: Shell, words: tuple[str, ...]):
    """Exit 2 before anything is looked at."""
    assert alone.run("doctor", *words, code=2).out == ""
