"""Ways to run the command line in tests: as a fresh process in a pipe, and as one on a terminal that can be read."""

from __future__ import annotations

import codecs
import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyte

from strait_cli.main import main
from tests.support.daemon import environment, strait_command
from tests.support.waiting import eventually

SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def rows(self) -> list[list[str]]:
        """Standard output as a piped table: rows of cells, the headings first."""
        return [line.split("\t") for line in self.out.splitlines()]


class Tty(io.TextIOWrapper):
    """A stream that says it leads to a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@dataclass
class Shell:
    """A home folder, a working folder and an environment in which `strait` is typed."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The working directory."""
        folder = self.home / "here"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def config(self) -> Path:
        """The user's configuration file."""
        return self.home / ".config/strait/config.toml"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What the command sees."""
        # A null backend would hide the fallback; this one says, as a machine without a key store does, that it is none.
        found = environment(self.home, {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", **self.settings})
        return {**found, **(more or {})}

    def run(
        self,
        *words: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        code: int | None = None,
        fresh: bool = False,
        columns: int | None = None,
    ) -> Answer:
        """Run `strait WORDS` in a pipe; `code` is the exit code to expect, `fresh` a process of its own.

        With `columns` both outputs are a terminal of that width, in this process.
        """
        if columns is not None:
            env = {"TERM": "xterm-256color", "COLUMNS": str(columns), **(env or {})}
        answer = self._fresh(words, stdin, env) if fresh else self._inside(words, stdin, env, tty=columns is not None)
        if code is not None:
            assert answer.code == code, f"strait {' '.join(words)}: {answer}"
        return answer

    def _inside(
        self, words: tuple[str, ...], stdin: str, env: Mapping[str, str] | None, *, tty: bool = False
    ) -> Answer:
        """The same program, in this process: its environment, its folder and its three streams are exchanged."""
        buffers = io.BytesIO(), io.BytesIO()
        kind = Tty if tty else io.TextIOWrapper
        out, err = (kind(one, encoding="utf-8", newline="", write_through=True) for one in buffers)
        before, folder, streams = dict(os.environ), Path.cwd(), (sys.stdin, sys.stdout, sys.stderr)
        try:
            os.environ.clear()
            os.environ.update(self.environment(env))
            os.chdir(self.folder)
            sys.stdin, sys.stdout, sys.stderr = io.StringIO(stdin), out, err
            code = main(words)
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        return Answer(code, *(one.getvalue().decode() for one in buffers))

    def _fresh(self, words: tuple[str, ...], stdin: str, env: Mapping[str, str] | None) -> Answer:
        done = subprocess.run(
            [*strait_command(), *words],
            input=stdin,
            env=self.environment(env),
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None, fresh: bool = False) -> Answer:
        """Run it and expect exit code 0."""
        return self.run(*words, stdin=stdin, env=env, code=0, fresh=fresh)

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start it in pipes and leave it running."""
        return subprocess.Popen(
            [*strait_command(), *words],
            env=self.environment(env),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def terminal(self, *words: str, columns: int = 100, env: Mapping[str, str] | None = None) -> Terminal:
        """Start it on a terminal of its own."""
        return Terminal(words, {"TERM": "xterm-256color", **self.environment(env)}, self.folder, columns)


class Terminal:
    """`strait` on a pseudo-terminal: what a person would see, and keys to press."""

    def __init__(self, words: tuple[str, ...], environ: Mapping[str, str], folder: Path, columns: int) -> None:
        self.screen = pyte.Screen(columns, 50)
        self._stream = pyte.Stream(self.screen)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = ""
        self.code: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            command = strait_command()
            os.chdir(folder)
            os.execve(command[0], [*command, *words], dict(environ))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

    def _read(self, wait: float) -> bool:
        """Take what is there; False once the terminal is closed."""
        if not select.select([self._fd], [], [], wait)[0]:
            return True
        try:
            data = os.read(self._fd, 65_536)
        except OSError:
            return False
        text = self._decode.decode(data)
        self.raw += text
        self._stream.feed(text)
        return bool(data)

    @property
    def shown(self) -> str:
        """The screen's lines, without the blanks at their ends and the empty ones at the bottom."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def until(self, text: str) -> Terminal:
        """Wait until the screen shows the text."""
        eventually(
            lambda: (self._read(0.05) and text in self.shown) or text in self.shown,
            SECONDS,
            lambda: f"{text!r} is not on the screen:\n{self.shown}",
        )
        return self

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def wait(self) -> int:
        """Read to the end; the exit code, negative for a signal."""
        deadline = time.monotonic() + SECONDS
        while self._read(0.1):
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def color_of(self, text: str) -> str:
        """The foreground colour of the first place where the text stands."""
        for y, line in enumerate(self.screen.display):
            if text in line:
                color: str = self.screen.buffer[y][line.index(text)].fg
                return color
        raise AssertionError(f"{text!r} is not on the screen:\n{self.shown}")


def trigger(shell: Shell, *words: str) -> dict[str, Any]:
    """Trigger a run and return it."""
    run: dict[str, Any] = shell.ok("trigger", *words, "-o", "json").json
    return run


def ended(shell: Shell, *words: str) -> dict[str, Any]:
    """Trigger a run and wait for its end, whatever that is."""
    answer = shell.run("trigger", *words, "--wait", "-o", "json")
    assert answer.code in {0, 9}, answer
    run: dict[str, Any] = answer.json
    return run
