"""A server whose every answer is fixed, so that a picture of a view is the same each time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Canned:
    """Answers by path; a list of events is a stream, which stays open until `hush`. What was posted is kept."""

    answers: dict[str, Any]
    posted: list[tuple[str, Any]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    cuts: int = 0

    def cut(self) -> None:
        """End every stream that is open."""
        self.cuts += 1

    def push(self, path: str, *events: str) -> None:
        """Send more events on a stream that is open."""
        self.answers[path] = [*self.answers[path], *events]


def event(kind: str, identity: str, data: Mapping[str, Any]) -> str:
    """A server-sent event."""
    return f"event: {kind}\nid: {identity}\ndata: {json.dumps(data)}\n\n"


@contextmanager
def canned(answers: dict[str, Any]) -> Iterator[Canned]:
    """Serve these answers for as long as the block."""
    kept = Canned(answers)

    class Handler(BaseHTTPRequestHandler):
        """Looks every path up; queries are not looked at."""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Answer, or stream."""
            path = self.path.partition("?")[0]
            found = kept.answers.get(path)
            if isinstance(found, list) and path.endswith("/stream"):
                self._stream(path)
            else:
                self._answer(found)

        def do_POST(self) -> None:
            """Keep what was sent, then answer."""
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            kept.posted.append((self.path, json.loads(body) if body else None))
            self._answer(kept.answers.get(f"POST {self.path}", {}))

        def _answer(self, found: Any) -> None:
            body = json.dumps({"detail": "there is no such thing"} if found is None else found).encode()
            if isinstance(found, str):
                body = found.encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, path: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            sent, cuts = 0, kept.cuts
            while not kept.over.wait(0.01) and kept.cuts == cuts:
                for one in kept.answers[path][sent:]:
                    sent += 1
                    try:
                        self.wfile.write(one.encode())
                        self.wfile.flush()
                    except OSError:
                        return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        kept.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
