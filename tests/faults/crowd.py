"""A crowd: one program that watches many runs and workflow runs at once, each as `strait runs watch` does.

It reads their ids from stdin, a line each, and writes to stdout what every watcher hears, a JSON list a line:

    [id, "stream"]               a stream of it has begun
    [id, "lost"]                 that was lost, as the person at the terminal would be told
    [id, "told", seq, state]     the stream has told a state of the run
    [id, "shown", seq, state]    it was shown
    [id, "heard", state]         the stream has told a state of the workflow run
    [id, "moved", state]         it was shown
    [id, "step", name, state]    a state of one of its steps was shown
    [id, "over"]                 it was watched to its end
    [id, "fault", text]          the watcher has given up
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

import httpx

from strait_cli import exact, flow_watch, watch
from strait_cli.session import Session
from strait_cli.stream import Message
from strait_core import ids

_LOCK: Final = threading.Lock()


def say(about: str, *words: object) -> None:
    """Write a line, at once."""
    line = json.dumps([about, *words]) + "\n"
    with _LOCK:
        sys.stdout.write(line)
        sys.stdout.flush()


class Noted(watch.Seen):
    """What has been shown of a run; says what the stream tells, before anything told twice is left out."""

    def news(self, message: Message) -> dict[str, Any] | None:
        """The change a message tells of, None when it has been told."""
        # Without an id it was asked for, where no stream was to be had.
        if message.event in {"snapshot", "status"} and message.id is not None:
            say(self.run_id, "told", int(message.id.partition(".")[0]), exact.loads(message.data)["status"])
        return super().news(message)


class NotedFlow(flow_watch.Seen):
    """The same of a workflow run."""

    def news(self, message: Message) -> dict[str, Any] | None:
        """The change a message tells of, None when it has been told."""
        if message.event in {"snapshot", "status"} and message.id is not None:
            say(self.run_id, "heard", exact.loads(message.data)["status"])
        return super().news(message)


def follow(about: str) -> None:
    """Watch one of them to its end."""
    session = Session({})

    def answered(response: httpx.Response) -> None:
        if response.is_success and response.url.path.endswith("/stream"):
            say(about, "stream")

    session.api.http.event_hooks["response"].append(answered)
    try:
        for words in shown(session, about):
            say(about, *words)
        say(about, "over")
    except BaseException as fault:  # noqa: BLE001 - the test looks at it
        say(about, "fault", repr(fault))
    finally:
        session.close()


def shown(session: Session, about: str) -> Iterator[tuple[object, ...]]:
    """What a person would be shown."""

    def lost(_: Exception) -> None:
        say(about, "lost")

    if ids.parse(ids.Prefix.WORKFLOW_RUN, about) is not None:
        for change in flow_watch.changes(session, NotedFlow(about), deadline=None, on_loss=lost):
            if change["event"] == "step":
                yield "step", change["step_ref"], change["state"]
            else:
                yield "moved", change.get("run", change)["status"]
        return
    for change in watch.changes(session, Noted(about), until=frozenset(), deadline=None, on_loss=lost):
        if change["event"] in {"snapshot", "status"}:
            now = change.get("run", change)
            yield "shown", now["seq"], now["status"]


def main() -> None:
    """Watch all of them at once."""
    threads = [threading.Thread(target=follow, args=(line.strip(),)) for line in sys.stdin]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
