"""How a command ends: exit codes, error panels and documents, interrupts, broken pipes, questions nobody can answer."""

from __future__ import annotations

import ast
import json
import re
import shlex
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import strait_cli
from strait_cli import groups, tree
from strait_cli.main import exit_code
from strait_core import errors
from strait_core.errors import StraitError
from tests.cli.runner import Shell
from tests.support.daemon import strait_command

CODES = {
    "UsageError": 2,
    "ConfigError": 3,
    "AuthError": 4,
    "ForbiddenError": 4,
    "NotFoundError": 5,
    "GoneError": 5,
    "ConflictError": 6,
    "PreconditionError": 6,
    "ValidationError": 7,
    "TooLargeError": 7,
    "HeadTooLargeError": 7,
    "UnsupportedMediaError": 7,
    "RateLimitedError": 8,
    "BudgetError": 8,
    "UnavailableError": 8,
    "RunFailedError": 9,
    "PartialError": 10,
    "DeadlineError": 124,
    "MethodNotAllowedError": 1,
    "StraitError": 1,
}


def test_every_error_has_its_exit_code():
    """By class alone; a class that is added to the tree is decided on here."""
    classes = {
        name: one
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, StraitError) and not name.startswith("_")
    }
    made = {name: one([]) if one is errors.ValidationError else one("x") for name, one in classes.items()}
    assert {name: exit_code(one) for name, one in made.items()} == CODES


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("jbos",), 2, "did you mean `strait jobs`?"),
        (("wrokers", "list"), 2, "did you mean `strait workers`?"),
        (("jobs", "crate"), 2, "did you mean `strait jobs create`?"),
        (("jobs", "lsit"), 2, "did you mean `strait jobs list`?"),
        (("xyzzy",), 2, "strait --help"),
        (("explain", "@last"), 2, "`strait runs explain`"),
        (("jobs", "create", "--nmae", "x"), 2, "did you mean --name?"),
        (("jobs", "create", "--name", "x"), 2, "--slug"),
        (("jobs", "get"), 2, "JOB"),
        (("jobs", "get", "a", "b"), 2, "strait jobs get --help"),
        (("runs", "list", "--limit", "0"), 2, "--limit"),
        (("runs", "list", "--limit", "many"), 2, "--limit"),
        (("runs", "list", "-o", "xml"), 2, "json"),
        (("jobs", "list", "--server", "127.0.0.1:80"), 2, "http://"),
        (("jobs", "list", "--context", "nowhere"), 5, "strait context list"),
        (("jobs", "list"), 8, "strait dev"),
        (("wait", "@last", "--timeout", "0.1"), 124, "did not answer within 0.1 s"),
        (("jobs", "list", "--api-key", "@nowhere"), 2, "nowhere"),
        (("serve", "--mode", "some"), 2, "all, api"),
        (("--mode", "some"), 2, "all, api"),
        (("dev", "--db", "x", "--ephemeral"), 2, "exclude"),
        (("config", "get", "colour"), 2, "color"),
        (("config", "set", "project"), 2, "--unset"),
        (("completion", "show", "powershell"), 2, "bash, zsh, fish"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_goes_wrong_is_said_with_the_way_out(alone: Shell, words: tuple[str, ...], code: int, said: str):
    """The exit code, the fault and the fix on stderr; nothing on stdout."""
    answer = alone.run(*words, code=code)
    assert said in answer.err
    assert answer.err.startswith(("error: ", "warning: ")) or "\nerror: " in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


def test_a_wrong_key_is_told_from_none(shell: Shell):
    """Exit 4, with where the key came from, and never the key."""
    secret = shell.settings.pop("INTERNAL_SECRET")
    assert "INTERNAL_SECRET" in shell.run("jobs", "list", code=4).err
    wrong = shell.run("jobs", "list", "--api-key", secret[:-1], code=4)
    assert "--api-key" in wrong.err
    assert secret[:-1] not in wrong.err


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "get", "missing", "-o", "json"),
        ("-o", "json", "jobs", "get", "missing"),
        ("jobs", "get", "missing", "--output=json"),
        ("jobs", "get", "missing", "-ojson"),
    ],
    ids=" ".join,
)
def test_an_error_as_json(shell: Shell, words: tuple[str, ...]):
    """One document on stdout with code, message, hint and request id; nothing on stderr."""
    answer = shell.run(*words, code=5)
    assert set(answer.json["error"]) == {"code", "message", "hint", "request_id"}
    assert answer.json["error"]["code"] == "not_found"
    assert answer.json["error"]["request_id"]
    assert answer.err == ""


def test_faults_are_listed_in_json_too(shell: Shell):
    """Every semantic fault with its pointer."""
    answer = shell.run("jobs", "create", "--name", "", "--slug", "A", "--endpoint", "x", "-o", "json", code=7)
    assert {one["pointer"] for one in answer.json["error"]["faults"]} == {"/name", "/slug", "/endpoint_url"}


@pytest.mark.parametrize("env", [{"STRAIT_FORMAT": "json"}, {"STRAIT_FORMAT": "jsonl"}])
def test_a_format_from_the_environment_holds_for_errors(alone: Shell, env: dict[str, str]):
    """Even when the parser is what failed."""
    assert json.loads(alone.run("jobs", "nonsense", env=env, code=2).out)["error"]["code"] == "usage"


def test_an_error_beside_an_expression_is_no_data(alone: Shell):
    """With --jq, stdout holds results only."""
    answer = alone.run("jobs", "list", "-o", "json", "--jq", ".[].id", code=8)
    assert answer.out == ""
    assert answer.err


def test_help_by_name(alone: Shell):
    """`strait help jobs create` is `strait jobs create --help`."""
    assert alone.ok("help").out == alone.ok("--help").out
    assert alone.ok("help", "jobs", "create").out == alone.ok("jobs", "create", "--help").out
    assert alone.run("help", "jbos", code=2).err.endswith("did you mean `strait jobs`?\n")


def test_an_unforeseen_fault_is_an_error_too(alone: Shell):
    """Exit 1 and a sentence, in the format asked for; the traceback for those who want it."""
    alone.config.parent.mkdir(parents=True)
    alone.config.parent.joinpath("config.toml").mkdir()
    (alone.home / ".local").write_text("a file where a folder should be")
    assert alone.run("config", "get", "server", code=3).err
    broken = {"PYTHONPATH": str(alone.home), "STRAIT_FORMAT": "json"}
    (alone.home / "httpx.py").write_text("raise RuntimeError('broken on purpose')")
    alone.config.rmdir()
    answer = alone.run("jobs", "list", env=broken, code=1, fresh=True)
    assert "broken on purpose" in answer.json["error"]["message"]
    assert answer.err == ""
    shown = alone.run("jobs", "list", env={**broken, "STRAIT_TRACEBACK": "1"}, code=1, fresh=True)
    assert "Traceback" in shown.err


def test_a_broken_configuration_is_reported_once(alone: Shell):
    """Exit 3 with file and fix; the commands that repair it still work."""
    alone.config.parent.mkdir(parents=True)
    alone.config.write_text("nonsense")
    assert "config.toml" in alone.run("jobs", "list", code=3).err
    assert alone.ok("config", "path").out.strip() == str(alone.config)
    alone.ok("config", "edit", env={"EDITOR": "cp /dev/null"})
    assert alone.config.read_text() == ""


@pytest.mark.parametrize(
    "words",
    [
        ("dev", "reset"),
        ("jobs", "delete", "echo"),
        ("runs", "cancel", "@last"),
        ("workers", "drain", ""),
        ("context", "delete", "one"),
        ("config", "trust"),
    ],
    ids=" ".join,
)
def test_nobody_is_asked_where_nobody_is(shell: Shell, job: str, words: tuple[str, ...]):
    """Without a terminal a destructive verb does nothing, says what it would do, and ends with 2."""
    shell.ok("context", "create", "one")
    shell.ok("trigger", job, "--wait")
    (shell.folder / ".strait.toml").write_text("")
    worker = shell.ok("workers", "list", "-o", "name").out.split()[0]
    answer = shell.run(*(word or worker for word in words), stdin="y\n", code=2)
    assert "would " in answer.err
    assert "--yes" in answer.err


def test_ctrl_c_leaves_the_run_alone(shell: Shell, job: str):
    """130, quickly, with the way back."""
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    run = shell.ok("trigger", job, "--scheduled-at", later, "-o", "json").json["id"]
    watching = shell.start("runs", "watch", run)
    assert watching.stdout is not None
    assert "delayed" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=10)
    assert watching.returncode == 130
    assert f"strait runs watch {run}" in err
    assert "Traceback" not in err
    assert shell.ok("runs", "get", run, "--jq", ".status").out == "delayed\n"
    shell.ok("runs", "cancel", run, "--yes")


@pytest.mark.parametrize("words", [("--help",), ("config", "explain"), ("jobs", "create", "--help")], ids=" ".join)
def test_a_reader_that_goes_is_no_error(alone: Shell, words: tuple[str, ...]):
    """Quiet, with the code a killed program would leave."""
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait(10)
    assert reader.stdin is not None
    done = subprocess.run(
        [*strait_command(), *words],
        env=alone.environment(),
        cwd=alone.folder,
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    reader.stdin.close()
    assert done.stderr == b""
    assert done.returncode == 141


def hints() -> list[tuple[str, str]]:
    """Every command that a message of the program recommends: file, and the words after `strait`."""
    found = set()
    for path in sorted(Path(strait_cli.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            if isinstance(text, str):
                found |= {(path.name, line) for line in re.findall(r"\bstrait ((?:--)?[a-z][^`,;…()|\n]*)", text)}
    return sorted(found)


def quoted_words(line: str) -> list[str]:
    """The words of a line, those in quotes as one; up to a quote that was cut off."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.partition("'")[0].split()


@pytest.mark.parametrize(("where", "line"), hints())
def test_every_command_in_a_message_exists(where: str, line: str):
    """Noun, verb and flags; a hint that does not work is worse than none."""
    noun, *rest = quoted_words(line)
    if noun.startswith("--"):
        return
    if noun == "help":
        assert set(rest) <= {*tree.TOPICS, "X"}, where
        return
    assert tree.canonical(noun) in tree.NOUNS, where
    command = groups.load(tree.canonical(noun))
    while (
        (verbs := getattr(command, "commands", {}))
        and rest
        and re.fullmatch(r"[a-z][a-z-]*", rest[0])
        and rest[0] != "shows"
    ):
        verb, *rest = rest
        assert tree.VERB_ALIASES.get(verb, verb) in verbs, where
        command = verbs[tree.VERB_ALIASES.get(verb, verb)]
    flags = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= flags, where


def test_there_are_messages_to_check():
    """The search above finds what it is for."""
    assert len(hints()) > 40
    assert ("watch.py", "runs attempts X") in hints()
