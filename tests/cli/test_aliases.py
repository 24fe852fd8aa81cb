"""The user's own commands: what they become, what they may not be, and that none hides a command."""

from __future__ import annotations

import pytest

from strait_cli import aliases, tree
from strait_cli.aliases import ShellLine
from tests.cli.runner import Shell


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, alone: Shell) -> Shell:
    """A shell whose configuration file this process reads too."""
    monkeypatch.setenv("HOME", str(alone.home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return alone


@pytest.mark.parametrize(
    ("expansion", "typed", "meant"),
    [
        ("runs list --status failed", "bad", ["runs", "list", "--status", "failed"]),
        ("runs list", "bad --limit 3", ["runs", "list", "--limit", "3"]),
        ("runs list --job $1 --limit $2", "bad web 5", ["runs", "list", "--job", "web", "--limit", "5"]),
        ("runs list --job $2", "bad a b c", ["runs", "list", "--job", "b", "a", "c"]),
        ("runs list --job 'two words'", "bad", ["runs", "list", "--job", "two words"]),
        ("jobs get x$1y", "bad -1-", ["jobs", "get", "x-1-y"]),
    ],
)
def test_what_a_line_stands_for(config: Shell, expansion: str, typed: str, meant: list[str]):
    """Numbers are replaced within words, what is left over comes last, quotes hold words together."""
    config.ok("alias", "set", "bad", expansion)
    assert aliases.expand(typed.split()) == meant


def test_an_argument_stays_one_word(config: Shell):
    """Blanks, quotes and dollars in what was typed are not read again."""
    config.ok("alias", "set", "one", "runs list --job $1")
    assert aliases.expand(["one", "a 'b $1 \"c"]) == ["runs", "list", "--job", "a 'b $1 \"c"]


def test_flags_may_stand_before_it(config: Shell):
    """A value of a global flag is not taken for the alias."""
    config.ok("alias", "set", "bad", "runs list")
    assert aliases.expand(["--server", "bad", "-q", "bad"]) == ["--server", "bad", "-q", "runs", "list"]
    assert aliases.expand(["--server", "bad"]) is None


def test_the_longest_name_counts(config: Shell):
    """An alias of two words is not taken for one of one."""
    config.ok("alias", "set", "my", "jobs list")
    config.ok("alias", "set", "my runs", "runs list")
    assert aliases.expand(["my", "runs"]) == ["runs", "list"]
    assert aliases.expand(["my", "jobs"]) == ["jobs", "list", "jobs"]


def test_an_alias_may_extend_a_noun(config: Shell):
    """`runs mine` is free, so it may be somebody's; `runs list` is not."""
    config.ok("alias", "set", "runs mine", "runs list --job $1")
    assert aliases.expand(["runs", "mine", "web"]) == ["runs", "list", "--job", "web"]
    assert aliases.expand(["runs", "list"]) is None


@pytest.mark.parametrize("name", [*tree.NOUNS, *tree.ALIASES])
def test_no_command_is_hidden(config: Shell, name: str):
    """Neither by `alias set` nor by a file that was written by hand."""
    config.run("alias", "set", name, "version", code=2)
    config.config.parent.mkdir(parents=True, exist_ok=True)
    config.config.write_text(f'[aliases]\n{name} = "version"\n"runs list" = "version"\n"r ls" = "version"\n')
    assert aliases.expand([name]) is None
    assert aliases.expand(["runs", "list"]) is None
    assert aliases.expand(["r", "ls"]) is None


@pytest.mark.parametrize(
    ("name", "expansion"),
    [
        ("", "runs list"),
        ("a b c d", "runs list"),
        ("Bad", "runs list"),
        ("-x", "runs list"),
        ("a/b", "runs list"),
        ("ok", "nonsense list"),
        ("ok", "runs list 'open"),
        ("ok", ""),
        ("ok", "! "),
        ("trigger later", "runs list"),
    ],
)
def test_what_is_no_alias(config: Shell, name: str, expansion: str):
    """A name that cannot be typed, a line that cannot be run: refused when it is set, with nothing kept."""
    answer = config.run("alias", "set", name, expansion, code=2)
    assert "next: " in answer.err or "cannot take its place" in answer.err
    assert not config.config.exists()


def test_a_missing_argument_is_named(config: Shell):
    """What the alias takes, and what it stands for."""
    config.ok("alias", "set", "of", "runs list --job $1 --limit $2")
    answer = config.run("of", "web", code=2)
    assert "takes 2 arguments" in answer.err
    assert "strait runs list --job $1 --limit $2" in answer.err


def test_a_line_for_the_shell(config: Shell):
    """It gets its arguments as the shell's own, and its exit code is ours."""
    config.ok("alias", "set", "say", '!printf "%s|" "$@"; exit 7')
    assert aliases.expand(["say", "a b"]) == ShellLine('printf "%s|" "$@"; exit 7', ["a b"])
    answer = config.run("say", "a b", "$(c)", fresh=True, code=7)
    assert answer.out == "a b|$(c)|"


def test_a_shell_line_that_is_killed(config: Shell):
    """The exit code says by which signal, as a shell does."""
    config.ok("alias", "set", "die", "!kill -TERM $$")
    assert config.run("die", fresh=True).code == 143


def test_list_and_delete(config: Shell):
    """They are shown, can be forgotten, and the file's other lines stay."""
    config.ok("context", "create", "prod", "--server", "https://strait.example.com")
    config.ok("alias", "set", "b", "runs list")
    config.ok("alias", "set", "a", "jobs list")
    assert config.ok("alias", "list", "-o", "json").json == [
        {"name": "a", "expansion": "jobs list"},
        {"name": "b", "expansion": "runs list"},
    ]
    assert "it was: jobs list" in config.ok("alias", "set", "a", "stats").err
    config.ok("alias", "delete", "a")
    config.ok("alias", "rm", "b")
    assert config.ok("alias", "list", "-o", "json").json == []
    config.run("alias", "delete", "a", code=5)
    assert "prod" in config.config.read_text()


def test_an_alias_does_not_lead_to_another(config: Shell):
    """So none can go round in circles."""
    config.ok("alias", "set", "a", "jobs list")
    config.run("alias", "set", "b", "a", code=2)
    config.config.write_text('[aliases]\na = "b"\nb = "a"\n')
    assert "no command of `strait`" in config.run("a", code=2).err


def test_a_folder_brings_no_aliases(config: Shell):
    """A stranger's .strait.toml cannot define a command."""
    (config.folder / ".strait.toml").write_text('[aliases]\nbad = "!touch stolen"\n')
    config.run("bad", fresh=True, code=2)
    config.run("stats", code=3)
    assert not (config.folder / "stolen").exists()


@pytest.mark.parametrize("text", ["aliases = 3\n", "[aliases]\nx = 3\n", "[aliases]\nx = ['a']\n"])
def test_a_broken_table_is_named(config: Shell, text: str):
    """The file and what it should look like."""
    config.config.parent.mkdir(parents=True, exist_ok=True)
    config.config.write_text(text)
    answer = config.run("x" if "[aliases]" in text else "stats", code=3)
    assert "[aliases]" in answer.err


def test_completion_offers_them(config: Shell):
    """As a first word, and to `alias delete`."""
    config.ok("alias", "set", "badness", "runs list")
    shown = config.ok("bad", env={"_STRAIT_COMPLETE": "zsh"}).out
    assert shown == "badness\truns list\n"
    assert config.ok("alias", "delete", "ba", env={"_STRAIT_COMPLETE": "bash"}).out == "badness\n"
