"""What `strait demo` shows: one job from nothing to completed, on real parts, and nothing left behind.

The daemon is a child (`dev`, with throw-away data); what follows is what a person would type, through the same code.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from strait_cli import watch
from strait_cli.output import dump
from strait_cli.paths import path_of
from strait_cli.session import Session
from strait_cli.stream import Message
from strait_cli.table import dressed, safe
from strait_core.errors import ConfigError, StraitError, UnavailableError

_START_SECS: Final = 90.0
# The drain has nothing to wait for; PostgreSQL's own stop is bounded by 20 s.
_STOP_SECS: Final = 30.0
_TICK_SECS: Final = 0.08
_WATCH_SECS: Final = 60.0
_LAST_LINES: Final = 40
_CONFIG_FAULT: Final = 3
_PROJECT: Final = "dev"
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PAYLOAD: Final = {"greeting": "Hello from Strait!"}
NEXT: Final = (
    ("strait dev", "start it for good: the same parts, with data that stays"),
    ('strait trigger hello-world --payload \'{"greeting": "hi"}\' --wait', "in another shell: run the sample job"),
    ("strait runs list", "what has run, and how it ended"),
)


def demonstrate(session: Session) -> None:
    """Start a daemon, create, trigger, watch, stop; raises what the exit code should be."""
    told = Teller(session)
    key = secrets.token_urlsafe(32)
    with _daemon(key, told) as facts:
        inner = Session({**session.given, "server": facts["url"], "api_key": key, "project": _PROJECT}, lenient=True)
        run = _story(inner, told, facts)
    told.done("stopped; nothing is left running", time.monotonic() - told.began)
    if session.out.is_json:
        session.out.item(run)
    told.plain("\nTry next:\n")
    program = _program()
    shown = [(program + command.removeprefix("strait"), why) for command, why in NEXT]
    width = max(len(command) for command, _ in shown)
    for command, why in shown:
        told.plain(f"  {command:<{width}}   {told.dim(why)}")
    watch.judge(run, reached=False, shown=session.out.is_json)


def _program() -> str:
    """How to start this program from where the person stands: by its name, or by its path if no shell would find it."""
    here = Path(sys.argv[0])
    if shutil.which("strait") or here.name != "strait":
        return "strait"
    return os.path.relpath(here)


def _story(session: Session, told: Teller, facts: dict[str, Any]) -> dict[str, Any]:
    """Create, trigger, watch; the run as it ended."""
    endpoint = f"{facts['sample']}/hello"
    body = {"project_id": _PROJECT, "name": "Hello World", "slug": "hello-world", "endpoint_url": endpoint}
    job = session.api.post("/v1/jobs", body)
    told.done(f"job {told.strong(job['slug'])} created; it calls {endpoint}")
    run = session.api.post(path_of("jobs", job["slug"], "trigger"), {"payload": _PAYLOAD})
    told.done(f"run {told.strong(run['id'])} triggered with {dump(_PAYLOAD)}\n")
    seen = watch.Seen(run["id"])
    first = seen.news(Message("snapshot", json.dumps(run), None))
    if first is not None:
        told.change(session, first)
    until = time.monotonic() + _WATCH_SECS
    for change in watch.changes(session, seen, until=frozenset(), deadline=until):
        told.change(session, change)
    ended: dict[str, Any] = session.api.get(path_of("runs", run["id"]))
    attempts = session.api.get(path_of("runs", run["id"], "attempts"))
    told.plain("")
    told.plain(f"  result   {dump(ended.get('result'))}")
    told.plain(f"  timings  {_timings(attempts)}\n")
    return ended


def _timings(attempts: Any) -> str:
    rows = attempts["data"] if isinstance(attempts, dict) else attempts
    timings = rows[-1]["timings_ms"] if rows else {}
    names = {"queue_wait": "in the queue", "connect": "to connect", "ttfb": "to the first byte", "total": "in all"}
    parts = [f"{timings[name]:.0f} ms {text}" for name, text in names.items() if timings.get(name) is not None]
    return ", ".join(parts) or "none"


@dataclass(slots=True)
class Teller:
    """What a person sees besides the run itself: steps with a tick, on stderr."""

    session: Session
    began: float = field(default_factory=time.monotonic)

    @property
    def _color(self) -> bool:
        return self.session.out.err.color

    @property
    def _is_live(self) -> bool:
        """Whether a line may be written over: a person watches, on a terminal that can."""
        err, quiet = self.session.out.err, self.session.out.view.quiet
        return err.width is not None and not quiet and os.environ.get("TERM", "") not in {"dumb", ""}

    def strong(self, text: str) -> str:
        """Text that stands out."""
        return dressed(safe(text), "1", self._color)

    def dim(self, text: str) -> str:
        """Text that stands back."""
        return dressed(text, "2", self._color)

    def plain(self, text: str) -> None:
        """A line."""
        if not self.session.out.view.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def done(self, text: str, seconds: float | None = None) -> None:
        """A step that is behind us, and what it took."""
        self._clear()
        took = self.dim(f"  {seconds:.1f} s") if seconds is not None else ""
        self.plain(f"{dressed('✓', '32', self._color)} {text}{took}")

    def waiting(self, text: str, began: float) -> None:
        """A step under way; the line moves on a terminal, and is left out elsewhere."""
        if not self._is_live:
            return
        spent = time.monotonic() - began
        mark = _SPINNER[int(spent / _TICK_SECS) % len(_SPINNER)]
        sys.stderr.write(f"\r\x1b[K{dressed(mark, '36', self._color)} {text}{self.dim(f'  {spent:.1f} s')}")
        sys.stderr.flush()

    def change(self, session: Session, change: dict[str, Any]) -> None:
        """A change of the run, as `runs watch` shows it."""
        if not session.out.is_json:
            self.plain("  " + watch.line(session, change))

    def _clear(self) -> None:
        if self._is_live:
            sys.stderr.write("\r\x1b[K")


@contextmanager
def _daemon(key: str, told: Teller) -> Iterator[dict[str, Any]]:
    """A `dev` with throw-away data as long as the block, however that ends; what it says of itself."""
    environ = {
        **os.environ,
        "STRAIT_DEV_INTERNAL_SECRET": key,
        "STRAIT_DEV_JWT_SIGNING_KEY": secrets.token_urlsafe(32),
        "STRAIT_DEV_ENCRYPTION_KEY": secrets.token_urlsafe(32),
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "warning"),
    }
    environ.pop("STRAIT_DEV_DATABASE", None)
    words = ["dev", "--ephemeral", "--piped", "--no-job", "--port", str(_free_port())]
    # A session of its own: Ctrl-C reaches this process alone, which then stops the child. Should this one be killed,
    # the pipe's end tells the child.
    child = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-m", "strait_daemon", *words],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    said: deque[str] = deque(maxlen=_LAST_LINES)
    threading.Thread(target=lambda: said.extend(child.stderr or ()), daemon=True).start()
    try:
        facts = _first_words(child, said, told)
        told.done(f"PostgreSQL {facts['postgres']} and the daemon are up at {facts['url']}", _since(told.began))
        if facts.get("notice"):
            told.plain(told.dim(f"  {safe(facts['notice'])}"))
        yield facts
        told.waiting("stopping", time.monotonic())
    finally:
        _stop(child)


def _since(began: float) -> float:
    return time.monotonic() - began


def _first_words(child: subprocess.Popen[str], said: deque[str], told: Teller) -> dict[str, Any]:
    """Wait for the one line that says where it is; its own error when it ends instead."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: lines.put(child.stdout.readline() if child.stdout else ""), daemon=True).start()
    while _since(told.began) < _START_SECS:
        told.waiting("starting PostgreSQL and the daemon", told.began)
        try:
            line = lines.get(timeout=_TICK_SECS)
        except queue.Empty:
            continue
        if not line:
            raise _failed(child, said)
        facts: dict[str, Any] = json.loads(line)
        return facts
    raise UnavailableError(f"the daemon did not start within {_START_SECS:g} s", hint="strait dev shows what it does")


def _failed(child: subprocess.Popen[str], said: deque[str]) -> StraitError:
    """What the child said last, as an error of ours."""
    child.wait(_STOP_SECS)
    lines = [line.rstrip() for line in said if line.strip()]
    message, hint = _error_told(lines)
    kind = ConfigError if child.returncode == _CONFIG_FAULT else StraitError
    return kind(message or "\n".join(lines) or f"the daemon ended with {child.returncode}", hint=hint)


def _error_told(lines: Sequence[str]) -> tuple[str, str | None]:
    """What stands from `error: ` on, which may be a list, and the `fix: ` after it."""
    message: list[str] = []
    for line in lines:
        if message and line.startswith("  fix: "):
            return "\n".join(message), line.removeprefix("  fix: ")
        if message or line.startswith("error: "):
            message.append(line.removeprefix("error: "))
    return "\n".join(message), None


def _stop(child: subprocess.Popen[str]) -> None:
    """Ask, wait, insist; a second Ctrl-C in between only insists sooner."""
    try:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait(_STOP_SECS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
