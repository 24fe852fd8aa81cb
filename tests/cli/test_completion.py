"""What TAB offers, and that the scripts in completions/ are the program's own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from strait_cli.scripts import SCRIPTS
from strait_core.run import Status
from tests.cli.runner import Shell
from tests.cli.scripted import scripted

ROOT = Path(__file__).parents[2]


def offered(shell: Shell, *words: str, shell_name: str = "zsh") -> dict[str, str]:
    """The candidates for the last word, with their descriptions."""
    answer = shell.ok(*words, env={"_STRAIT_COMPLETE": shell_name})
    assert answer.err == ""
    return dict(line.partition("\t")[::2] for line in answer.out.splitlines())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("",), {"dev", "jobs", "runs", "completion"}),
        (("jo",), {"jobs"}),
        (("--se",), {"--server"}),
        (("--ver",), {"--verbose", "--version"}),
        (("jobs", "cl"), {"clone"}),
        (("-o", "json", "j", "cl"), {"clone"}),
        (("-o", "js"), {"json", "jsonl"}),
        (("jobs", "list", "-o", "ya"), {"yaml"}),
        (("jobs", "list", "--output=ya"), {"yaml"}),
        (("jobs", "list", "--output", "=", "ya"), {"yaml"}),
        (("jobs", "create", "--retry-s"), {"--retry-strategy"}),
        (("jobs", "create", "--retry-strategy", "e"), {"exponential"}),
        (("jobs", "update", "x", "--unset", "run"), {"run_ttl_secs"}),
        (("workflows", "update", "x", "--unset", "max"), {"max_concurrent_runs", "max_parallel_steps"}),
        (("wr", "steps", "re"), {"reject", "retry", "replay-subtree"}),
        (("dev", "--port", "1", "--e"), {"--ephemeral"}),
        (("nonsense", ""), {"dev", "jobs"}),
        (("runs", "list", "--status", "failed,com"), {"failed,completed"}),
        (("runs", "watch", "x", "--until", "exec"), {"executing"}),
        (("runs", "list", "--status", ""), set(Status)),
        (("config", "get", "pro"), {"project"}),
        (("completion", "show", ""), {"bash", "zsh", "fish"}),
        (("serve", "--mode", ""), {"all", "api", "worker"}),
        (("dev", "re"), {"reset"}),
        (("dev", "--ep"), {"--ephemeral"}),
        (("dev", "--db", ""), {":files"}),
        (("trigger", "x", "--payload", "@"), {":files"}),
        (("jobs", "clone", "x", "new", ""), set()),
        (("stats", ""), set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_needs_no_server(alone: Shell, words: tuple[str, ...], expected: set[str]):
    """Commands, flags, fixed values, files."""
    found = set(offered(alone, *words))
    assert expected <= found
    if words[-1]:
        assert found == expected


def test_a_used_flag_is_not_offered_again(alone: Shell):
    """Unless it may be repeated."""
    found = offered(alone, "jobs", "create", "--name", "x", "--tag", "a=b", "--")
    assert "--name" not in found
    assert "--tag" in found


def test_contexts_are_offered(alone: Shell):
    """For the flag and for the verbs, with their servers."""
    alone.ok("context", "create", "prod", "--server", "https://strait.example.com")
    for words in [("context", "use", ""), ("jobs", "list", "--context", ""), ("context", "delete", "p")]:
        assert offered(alone, *words) == {"prod": "https://strait.example.com"}
    assert offered(alone, "context", "create", "") == {}


def test_slugs_and_runs_come_from_the_server(shell: Shell, job: str):
    """Slugs with names; runs newest first with job, state and age; projects; workers."""
    ids = [shell.ok("trigger", job, "--wait", "-o", "json").json["id"] for _ in range(2)]
    assert offered(shell, "jobs", "get", "e") == {"echo": "Echo"}
    assert offered(shell, "trigger", "") == {"echo": "Echo"}
    assert offered(shell, "runs", "list", "--job", "") == {"echo": "Echo"}
    runs = offered(shell, "runs", "watch", "")
    assert list(runs) == ["@last", "@failed", *reversed(ids)]
    assert runs[ids[0]].startswith("echo · completed · ")
    assert set(offered(shell, "r", "cancel", ids[0], ids[1][:8])) == set(ids)
    assert list(offered(shell, "runs", "watch", "@")) == ["@last", "@failed"]
    assert shell.settings["STRAIT_PROJECT"] in offered(shell, "jobs", "list", "--project", "p")
    assert len(offered(shell, "workers", "drain", "")) >= 1


def test_flags_typed_so_far_choose_the_server(alone: Shell, shell: Shell, job: str):
    """--server and --project on the line count, as they will when it is run."""
    del job
    url, project = shell.settings["STRAIT_SERVER"], shell.settings["STRAIT_PROJECT"]
    words = ("--server", url, "--project", project, "trigger", "--api-key", shell.settings["INTERNAL_SECRET"], "")
    assert offered(alone, *words) == {"echo": "Echo"}


def test_bash_gets_values_only(alone: Shell):
    """It would show the description as part of the word."""
    assert offered(alone, "jo", shell_name="bash") == {"jobs": ""}


def test_offline_is_silent_and_quick(alone: Shell):
    """Nobody there, somebody who never answers, a wrong key, a broken configuration: nothing is printed."""
    with scripted([], silent=True) as server:
        began = time.monotonic()
        assert offered(alone, "--server", server.url, "trigger", "") == {}
        spent = time.monotonic() - began
    began = time.monotonic()
    assert offered(alone, "trigger", "") == {}
    # The wait for the silent server is bounded: beside a refused connection it costs its 150 ms and no more.
    assert spent < time.monotonic() - began + 0.5
    alone.config.parent.mkdir(parents=True)
    alone.config.write_text("nonsense")
    assert offered(alone, "trigger", "") == {}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_in_the_checkout_are_current(name: str):
    """`make docs` writes them."""
    script, file, _ = SCRIPTS[name]
    assert (ROOT / "completions" / file).read_text(encoding="utf-8") == script


@pytest.mark.parametrize("name", SCRIPTS)
def test_install_writes_where_the_shell_looks(alone: Shell, name: str):
    """Below the home folder; no start-up file is touched."""
    alone.ok("completion", "install", name)
    written = [path for path in alone.home.rglob("*strait*") if path.is_file()]
    assert [path.read_text() for path in written] == [alone.ok("completion", "show", name).out]
    assert alone.ok("completion", "show", env={"SHELL": f"/usr/bin/{name}"}).out == SCRIPTS[name][0]
