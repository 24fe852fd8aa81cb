"""TAB in the real shells, with the scripts of completions/ and the program itself."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strait_cli.main import main
from tests.support.daemon import environment
from tests.support.waiting import eventually

SCRIPTS = Path(__file__).parents[2] / "completions"


class Typed:
    """An interactive shell on a terminal, and what it has shown so far."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        program = shutil.which(command[0])
        assert program, f"{command[0]} is not installed: .ci/run installs what these tests need"
        self.shown = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(program, command, environ)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def until(self, text: str) -> None:
        """Wait until the text has been shown since the last wait."""

        def look() -> bool:
            while select.select([self._fd], [], [], 0.05)[0]:
                self.shown += os.read(self._fd, 65_536).decode(errors="replace")
            return text in self.shown

        eventually(look, 20, lambda: f"{text!r} was not shown:\n{self.shown}")
        self.shown = self.shown.partition(text)[2]

    def leave(self) -> None:
        """End the shell."""
        os.close(self._fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one context, whose name the shells are to find."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STRAIT_CONTEXT", raising=False)
    assert main(["context", "create", "production", "--server", "http://127.0.0.1:9"]) == 0
    return tmp_path


@pytest.fixture(params=["bash", "zsh", "fish"])
def typed(request: pytest.FixtureRequest, home: Path) -> Iterator[Typed]:
    """Each shell in turn, with its script loaded and a prompt of its own."""
    environ = {
        **environment(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "xterm",
        "STRAIT_SERVER": "http://127.0.0.1:9",
    }
    if request.param == "bash":
        shell = Typed(["bash", "--noprofile", "--norc", "-i"], environ)
        shell.press(f"PS1='rea''dy> '; bind 'set show-all-if-ambiguous on'; source {SCRIPTS}/strait.bash\n")
    elif request.param == "zsh":
        shell = Typed(["zsh", "-f", "-i"], environ)
        shell.press(f"PS1='rea''dy> '; fpath=({SCRIPTS} $fpath); autoload -Uz compinit; compinit -u -D\n")
    else:
        shell = Typed(["fish", "--no-config", "-i"], environ)
        shell.press(f"function fish_prompt; echo 'rea''dy> '; end; source {SCRIPTS}/strait.fish\n")
    shell.until("ready> ")
    yield shell
    shell.leave()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("strait vers", "ion"),
        ("strait jobs resu", "me"),
        ("strait context use prod", "uction"),
        ("strait jobs create --retry-str", "ategy"),
        ("strait runs list --status dead_l", "etter"),
    ],
)
def test_tab_completes(typed: Typed, line: str, completed: str):
    """Nouns, verbs, contexts, flags and values; the rest of the word appears."""
    typed.press(line)
    typed.until(line.rpartition(" ")[2])
    typed.press("\t")
    typed.until(completed)


def test_tab_offers_the_choices(typed: Typed):
    """What several words could follow is listed."""
    typed.press("strait workers ")
    typed.until("workers ")
    typed.press("\t\t")
    typed.until("drain")
