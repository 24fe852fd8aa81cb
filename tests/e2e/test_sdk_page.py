"""The Python of docs/sdk.md, run as it stands: an endpoint of its own speaks to a real daemon."""

from __future__ import annotations

import json
import re
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.daemon import ROOT, Daemon, running_daemon
from tests.support.waiting import eventually

ROWS = list(range(250))


@pytest.fixture
def page(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Every Python block of the page, as one module that speaks to the test's daemon."""
    monkeypatch.setenv("STRAIT_SERVER", daemon.url)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/sdk.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    module = types.ModuleType("sdk_page")
    exec(compile("\n\n".join(blocks), "docs/sdk.md", "exec"), module.__dict__)
    return module


@pytest.fixture
def daemon(migrated: str) -> Iterator[Daemon]:
    """A daemon on the test's own database."""
    with running_daemon(migrated) as running:
        yield running


@contextmanager
def endpoint(work: Any, status: int) -> Iterator[str]:
    """An endpoint that hands each request's headers to `work` and answers with what that returns."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(work(self.headers)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_what_the_page_shows_works(daemon: Daemon, page: types.ModuleType) -> None:
    """Rows are imported page by page; the run shows lines, progress, output, metadata and cost."""

    def work(headers: Any) -> Any:
        attempt = page.Attempt(headers)
        page.ask_model(attempt, "hello")
        return page.import_rows(attempt, ROWS)

    with endpoint(work, 200) as url:
        daemon.make_job(url)
        run = daemon.wait_for(daemon.trigger()["id"])
    assert (run["status"], run["result"], run["outputs"]) == ("completed", 250, {"rows": 250})
    assert (run["progress"]["percent"], run["progress"]["message"]) == (100, "250 rows")
    assert (run["metadata"], run["cost_microusd"]) == ({"source": "example"}, 250)
    lines = daemon.call("GET", f"/v1/runs/{run['id']}/logs")["data"]
    assert [line["data"]["from"] for line in lines] == [0, 100, 200]


def test_the_callback_of_the_page_works(daemon: Daemon, page: types.ModuleType) -> None:
    """202 at once, the work in a thread of its own, its result by callback."""
    threads: list[threading.Thread] = []

    def work(headers: Any) -> None:
        threads.append(threading.Thread(target=page.work_later, args=(page.Attempt(headers), ROWS)))
        threads[-1].start()

    with endpoint(work, 202) as url:
        daemon.make_job(url, completion="callback")
        run = daemon.wait_for(daemon.trigger()["id"])
        for thread in threads:
            thread.join(10)
    assert (run["status"], run["result"], run["attempt"]) == ("completed", {"imported": 250}, 1)
    eventually(lambda: not any(thread.is_alive() for thread in threads))
