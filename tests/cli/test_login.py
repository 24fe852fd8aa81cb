"""Keys that are tried before they are kept, and forgotten when asked."""

from __future__ import annotations

import pytest

from tests.cli.runner import Shell
from tests.support.daemon import SECRET


@pytest.fixture
def stranger(shell: Shell) -> Shell:
    """A shell that knows the server, but no key."""
    shell.settings.pop("INTERNAL_SECRET")
    return shell


def test_a_key_is_kept_and_used(stranger: Shell):
    """From standard input, in the context `default`, which is in force from then on."""
    stranger.run("jobs", "list", code=4)
    assert SECRET not in stranger.ok("login", "--api-key", "-", stdin=SECRET + "\n").err
    stranger.ok("jobs", "list")
    shown = stranger.ok("whoami", "-o", "json").json
    assert (shown["context"], shown["accepted"]) == ("default", True)
    assert SECRET not in stranger.config.read_text()


def test_a_wrong_key_is_not_kept(stranger: Shell):
    """The server's word counts before anything is written."""
    stranger.run("login", "--api-key", "x" * 40, code=4)
    assert not stranger.config.exists()


def test_a_context_of_its_own(stranger: Shell):
    """A named one is made, with its project, and becomes the current one."""
    words = ("login", "--context", "prod", "--project", "web", "--api-key", "env:THE_KEY")
    stranger.ok(*words, env={"THE_KEY": SECRET})
    assert stranger.ok("context", "show", "-o", "json").json["key"] == "env:THE_KEY"
    shown = stranger.ok("whoami", "-o", "json", env={"THE_KEY": SECRET, "STRAIT_PROJECT": ""}).json
    assert (shown["context"], shown["project"]) == ("prod", "web")


def test_logout_forgets_the_key_only(stranger: Shell):
    """The context stays; a key in the environment is mentioned."""
    stranger.ok("login", "--api-key", SECRET)
    answer = stranger.ok("logout", env={"INTERNAL_SECRET": SECRET})
    assert "INTERNAL_SECRET" in answer.err
    assert stranger.ok("context", "show", "-o", "json").json["key"] is None
    assert not list((stranger.home / ".local/share/strait/keys").glob("*"))
    stranger.run("logout", code=5)
    stranger.run("whoami", code=4)


def test_nobody_to_ask(stranger: Shell):
    """Without a terminal it does not wait for a key."""
    assert "--api-key" in stranger.run("login", code=2).err


def test_the_key_is_asked_for_unseen(stranger: Shell):
    """At a terminal, without an echo."""
    terminal = stranger.terminal("login").until("INTERNAL_SECRET")
    terminal.press(SECRET + "\n")
    assert terminal.wait() == 0
    assert "takes the key" in terminal.shown
    assert SECRET not in terminal.raw


def test_whoami_says_when_it_is_refused(shell: Shell):
    """Exit 4, and where the key came from."""
    assert "STRAIT_API_KEY" in shell.run("whoami", env={"STRAIT_API_KEY": "wrong" * 8}, code=4).err
