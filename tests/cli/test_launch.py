"""Handing over to the daemon: the same process, flags as words, secrets in the environment only."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import pytest

from tests.cli.runner import Shell
from tests.support.daemon import free_port

# What stands in for the daemon's package in these tests: it says how it was called, and who it is.
RECORDER = """
import json, os, sys
print(json.dumps({"words": sys.argv[1:], "environ": dict(os.environ), "pid": os.getpid(), "path": sys.path}))
"""
URL = "postgresql://me:hunter2@db.test/strait"


@pytest.fixture
def recording(alone: Shell) -> Shell:
    """A shell whose `python -m strait_daemon` only records."""
    package = alone.home / "recorder/strait_daemon"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(RECORDER)
    alone.settings["PYTHONPATH"] = f"{package.parent}:{alone.environment()['PYTHONPATH']}"
    return alone


@pytest.mark.parametrize(
    ("words", "expected", "environ"),
    [
        (("serve",), ["serve"], {}),
        (("serve", "--processes", "2"), ["serve", "--processes", "2"], {}),
        (("--mode", "all"), ["serve", "--mode", "all"], {}),
        (("--mode=worker",), ["serve", "--mode", "worker"], {}),
        (("server", "--mode", "api"), ["serve", "--mode", "api"], {}),
        (("serve", "--port", "9090", "--host", "0.0.0.0"), ["serve"], {"PORT": "9090", "HOST": "0.0.0.0"}),
        (("serve", "--database", URL), ["serve"], {"DATABASE_URL": URL, "STRAIT_DATABASE_URL": URL}),
        (("serve", "--database", "env:MINE"), ["serve"], {"DATABASE_URL": URL}),
        (("serve", "--database", "-"), ["serve"], {"DATABASE_URL": URL}),
        (("migrate", "status"), ["migrate", "status", "--output", "table"], {}),
        (
            ("migrate", "up", "--database", URL, "-o", "json"),
            ["migrate", "up", "--output", "json"],
            {"DATABASE_URL": URL},
        ),
        (("doctor", "--invariants"), ["doctor", "--invariants", "--output", "table"], {}),
        (
            ("doctor", "--invariants", "--database", URL, "-o", "json"),
            ["doctor", "--invariants", "--output", "json"],
            {"DATABASE_URL": URL},
        ),
        (("dev",), ["dev", "--port", "8080"], {}),
        (
            ("dev", "--port", "9090", "--ephemeral", "--no-sample"),
            ["dev", "--ephemeral", "--port", "9090", "--no-sample"],
            {},
        ),
        (("dev", "--db", "here"), ["dev", "--db", "here", "--port", "8080"], {}),
        (("dev", "--database", URL), ["dev", "--port", "8080"], {"STRAIT_DEV_DATABASE": URL}),
        (("dev", "reset", "--yes"), ["dev-reset"], {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_the_daemon_is_told(
    recording: Shell, words: tuple[str, ...], expected: list[str], environ: dict[str, str]
):
    """Its words, its environment; no secret among the words; nothing of the working directory is importable."""
    (recording.folder / "json.py").write_text("raise SystemExit('a stranger was imported')")
    answer = recording.run(*words, stdin=URL, env={"MINE": URL}, code=0, fresh=True)
    told = json.loads(answer.out)
    assert told["words"] == expected
    assert {name: told["environ"].get(name) for name in environ} == environ
    assert not any("hunter2" in word for word in told["words"])
    assert str(recording.folder) not in told["path"]


def test_the_process_stays_the_same(recording: Shell):
    """Signals and supervisors hold on to one pid."""
    process = recording.start("serve")
    out, _ = process.communicate(timeout=20)
    assert json.loads(out)["pid"] == process.pid


def test_dev_writes_the_context_local(recording: Shell):
    """Server and key for the next shell; secrets private, made once, and chosen unless another context is."""
    del recording.settings["STRAIT_SERVER"]
    first, second = str(free_port()), str(free_port())
    recording.ok("dev", "--port", first, fresh=True)
    folder = recording.home / ".local/share/strait/dev"
    secrets = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(secrets) == {"internal_secret", "jwt_signing_key"}
    assert all(len(text.strip()) >= 32 for text in secrets.values())
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert recording.ok("config", "get", "server").out == f"http://127.0.0.1:{first}\n"
    assert recording.ok("config", "get", "api_key", "--reveal").out == secrets["internal_secret"]
    recording.settings["PORT"] = second
    recording.ok("dev", fresh=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == secrets
    assert recording.ok("config", "get", "server").out == f"http://127.0.0.1:{second}\n"


def test_a_dev_that_will_be_refused_writes_nothing(recording: Shell):
    """Its port is taken: the context of the one that runs stays as it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        recording.ok("dev", "--port", str(taken.getsockname()[1]), fresh=True)
    assert recording.ok("context", "list", "-o", "name").out == ""


def test_dev_leaves_a_chosen_context_chosen(recording: Shell):
    """Whoever works with production is not moved without a word."""
    recording.ok("context", "create", "prod", "--server", "https://strait.example.com")
    answer = recording.ok("dev", "--port", str(free_port()), fresh=True)
    assert "strait context use local" in answer.err
    assert recording.ok("context", "show", "-o", "name").out == "prod\n"


def test_dev_takes_secrets_that_are_there(recording: Shell):
    """Whoever comes first makes them."""
    path = recording.home / ".local/share/strait/dev/internal_secret"
    path.parent.mkdir(parents=True)
    path.write_text("made by the daemon, a little earlier\n")
    recording.ok("dev", "--port", str(free_port()), fresh=True)
    assert path.read_text() == "made by the daemon, a little earlier\n"
    assert Path(path.parent, "jwt_signing_key").exists()
