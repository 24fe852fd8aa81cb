"""What `strait doctor` sees from this side: the configuration, the way to the server, the clocks; then the daemon's."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from strait_cli import __version__, files, times
from strait_cli.paths import is_loopback
from strait_cli.session import Session
from strait_core.errors import AuthError, NotFoundError, StraitError

Finding = dict[str, Any]
# What a shell's start takes; beyond this a timeout or a token's end would be misjudged.
_SKEW_SECS: Final = 5.0
_SLOW_MS: Final = 1_000
_DIRECT_SECS: Final = 30


def finding(check: str, status: str, detail: str, fix: str | None = None) -> Finding:
    """One thing that was looked at, in the form of the API's own."""
    return {"check": check, "status": status, "detail": detail, "fix": fix}


def findings(session: Session) -> Iterator[Finding]:
    """Everything, as it is found: this side first."""
    yield from _configuration(session)
    yield from _files()
    try:
        session.api  # noqa: B018 - the key is looked for when the client is made
    except StraitError as error:
        yield finding("key found", "fail", error.message, error.hint)
        return
    reached = yield from _reachability(session)
    if reached:
        yield from _daemon(session)
    elif os.environ.get("STRAIT_DATABASE_URL") or os.environ.get("DATABASE_URL"):
        yield from _direct()


def _configuration(session: Session) -> Iterator[Finding]:
    path = files.config_file()
    layers = session.layers
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield finding("configuration", "warn", f"{path} is readable by others ({mode:o})", f"chmod 600 {path}")
        else:
            yield finding("configuration", "pass", f"{path}, context {layers.active.text or 'none'}")
    else:
        yield finding("configuration", "pass", "none: flags, environment and defaults")
    for warning in layers.warnings:
        yield finding("local file", "warn", warning, "read it, then: strait config trust")
    server = layers.value("server")
    if not (server.text or "").startswith("https://") and not is_loopback(server.text or ""):
        yield finding("encryption", "warn", f"{server.text}: the key travels in the clear", "use https://")
    key = layers.value("api_key")
    if key.text is None:
        yield finding("key", "fail", "none is set", "strait login, or set STRAIT_API_KEY to the INTERNAL_SECRET")
    else:
        yield finding("key", "pass", f"from {key.origin or key.source.value}")


def _files() -> Iterator[Finding]:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < 256:
        yield finding("open files here", "warn", f"{soft} may be open", "ulimit -n 1024")


def _reachability(session: Session) -> Generator[Finding, None, bool]:
    """Whether the server answers; gives True when it does."""
    server = session.layers.value("server").text
    began = time.monotonic()
    try:
        health = session.api.call("GET", "/health", once=True)
    except StraitError as error:
        yield finding("server", "fail", error.message, "start one: strait dev; or name another: --server URL")
        return False
    took = (time.monotonic() - began) * 1000
    status = "warn" if took > _SLOW_MS else "pass"
    slow = "a proxy or a busy machine in between?" if status == "warn" else None
    yield finding("server", status, f"{server} answers after {took:.0f} ms", slow)
    theirs = health.get("version") if isinstance(health, dict) else None
    if theirs == __version__:
        yield finding("versions", "pass", f"{__version__} on both sides")
    else:
        yield finding("versions", "warn", f"this side {__version__}, the server {theirs}", "upgrade the older one")
    return True


def _daemon(session: Session) -> Iterator[Finding]:
    began = datetime.now(UTC)
    try:
        found = session.api.get("/v1/doctor")
    except AuthError as error:
        yield finding("key accepted", "fail", error.message, error.hint)
        return
    except NotFoundError:
        yield finding("daemon", "warn", "this server cannot say how it is", "upgrade it")
        return
    except StraitError as error:
        yield finding("daemon", "fail", error.message, error.hint or "see its log")
        yield from _direct() if os.environ.get("DATABASE_URL") else ()
        return
    yield finding("key accepted", "pass", "yes")
    yield from _skew(found["now"], began, datetime.now(UTC))
    yield from found["findings"]


def _skew(theirs: str, began: datetime, ended: datetime) -> Iterator[Finding]:
    at = times.parse(theirs)
    if at is None:
        return
    # Somewhere between asking and being told: only what lies outside of that is a difference.
    off = max((began - at).total_seconds(), (at - ended).total_seconds(), 0.0)
    if off > _SKEW_SECS:
        said = f"this clock and the database's differ by {times.length(off)}"
        yield finding("clocks", "warn", said, "let both follow a time server (timedatectl set-ntp true)")
    else:
        yield finding("clocks", "pass", "agree")


def _direct() -> Iterator[Finding]:
    """Without a daemon: its own code looks at the database that the environment names."""
    # -P: a file of the working directory that happens to be called like a module of ours is not run.
    command = [sys.executable, "-P", "-m", "strait_daemon", "doctor", "--output", "json"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=_DIRECT_SECS, check=False, stdin=subprocess.DEVNULL
        )
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        yield finding("database", "fail", "the look at DATABASE_URL did not end well", "strait migrate status")
        return
    yield from found


def worst(found: Sequence[Mapping[str, Any]]) -> str:
    """The worst of all findings: pass, warn or fail."""
    order = ("pass", "warn", "fail")
    return max((str(one["status"]) for one in found), key=order.index, default="pass")
