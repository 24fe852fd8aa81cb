"""What a start costs: which modules are loaded, and how long it takes beside a bare Python, in fresh processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.cli.runner import Shell
from tests.support.daemon import strait_command

HEAVY = {"httpx", "textual", "pydantic", "keyring", "rich", "msgspec", "yaml", "jq", "tomlkit", "psycopg"}
PROBE = """
import sys
from strait_cli.main import main
try:
    main(sys.argv[1:])
finally:
    sys.stderr.write("\\n" + " ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded(shell: Shell, *words: str, env: dict[str, str] | None = None) -> set[str]:
    """The top-level packages in memory after a command."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        env=shell.environment(env),
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("-h",), ()], ids=" ".join)
def test_the_quickest_answers_load_nothing(alone: Shell, words: tuple[str, ...]):
    """Neither a heavy package nor the parser."""
    assert loaded(alone, *words) & (HEAVY | {"typer"}) == set()


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--help"),
        ("jobs", "create", "--help"),
        ("runs", "watch", "--help"),
        ("dashboard", "--help"),
        ("config", "path"),
        ("jbos",),
        ("apply", "--help"),
        ("doctor", "--help"),
        ("top", "--help"),
        ("init", "--help"),
        # Loads every command there is.
        ("--llms",),
    ],
    ids=" ".join,
)
def test_help_and_mistakes_load_nothing_heavy(alone: Shell, words: tuple[str, ...]):
    """Every help text, not only the first."""
    assert loaded(alone, *words) & HEAVY == set()


def test_a_request_loads_the_client_only(alone: Shell):
    """No keyring, no YAML, no jq where nobody asks for them; httpx without its own command."""
    found = loaded(alone, "jobs", "list", "--api-key", "x")
    assert found & HEAVY == {"httpx"}
    assert found & {"click", "pygments"} == set()


def test_the_keyring_is_loaded_for_its_own_keys_only(alone: Shell):
    """A reference to a file or a variable needs none."""
    alone.ok("context", "create", "a", "--api-key", "env:HOME")
    assert "keyring" not in loaded(alone, "jobs", "list")


@pytest.mark.parametrize(
    "words", [("jo",), ("jobs", "g"), ("trigger", ""), ("runs", "get", ""), ("-o", "j")], ids=" ".join
)
def test_completion_loads_nothing_heavy(alone: Shell, words: tuple[str, ...]):
    """Not even the parser: commands are known from their outline."""
    found = loaded(alone, *words, env={"_STRAIT_COMPLETE": "zsh"})
    assert found & (HEAVY | {"typer"}) == set()


def cpu_seconds(words: Sequence[str], shell: Shell, env: dict[str, str] | None = None) -> float:
    """The processor time that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, env=shell.environment(env), cwd=shell.folder, capture_output=True, timeout=30, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("words", "most", "completing"),
    [
        (("--version",), 6, False),
        (("--help",), 15, False),
        (("jobs", "create", "--help"), 15, False),
        (("runs", "list"), 25, False),
        (("jobs", "g"), 15, True),
        (("trigger", "e"), 15, True),
        (("runs", "get", ""), 15, True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_start_up_stays_within_its_budget(shell: Shell, job: str, words: tuple[str, ...], most: int, completing: bool):
    """In multiples of a bare Python, in turns with it: the least of several, when nothing else disturbs them."""
    env = {"_STRAIT_COMPLETE": "zsh"} if completing else None
    both = [([sys.executable, "-c", "pass"], None), ([*strait_command(), *words], env)]
    turns = [[cpu_seconds(command, shell, given) for command, given in both] for _ in range(7)]
    bare, cost = map(min, zip(*turns, strict=True))
    assert cost / bare <= most, f"{cost / bare:.1f} times a bare Python ({bare * 1000:.0f} ms)"
