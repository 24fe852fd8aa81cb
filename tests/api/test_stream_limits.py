"""What streams may take: so many of a kind in a process, and so long for each piece that is sent."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

from strait_daemon.api import changes, endpoint, feed_stream, watchers
from strait_daemon.api.operation import Call, Reply
from tests.api.caller import Caller
from tests.api.server import AUTH
from tests.api.test_workflow_runs import make, start
from tests.support.waiting import eventually

ROOM = 5
RUN, FLOW, FEED, CHANGES = (
    "/v1/runs/{run}/stream",
    "/v1/workflow-runs/{flow}/stream",
    "/v1/stream",
    "/v1/changes/stream",
)


def ask(api: Caller, path: str) -> socket.socket:
    """Send the request for a stream, and read nothing."""
    connection = socket.create_connection(("127.0.0.1", api.server.port))
    connection.settimeout(30)
    head = f"GET {path} HTTP/1.1\r\nHost: strait\r\nAuthorization: {AUTH['Authorization']}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


@pytest.mark.parametrize(
    ("path", "module", "limit"),
    [
        pytest.param(RUN, watchers, "MOST", id="run"),
        pytest.param(FLOW, watchers, "MOST", id="workflow-run"),
        pytest.param(FEED, feed_stream, "MOST_LISTENERS", id="all"),
        pytest.param(CHANGES, changes, "MOST_STREAMS", id="changes"),
    ],
)
def test_a_crowd_that_comes_at_once_gets_no_more_room(
    api: Caller, monkeypatch: pytest.MonkeyPatch, path: str, module: ModuleType, limit: str
):
    """Each of many is let in or asked to come back; who leaves makes room."""
    monkeypatch.setattr(module, limit, ROOM)
    run = api.trigger(api.make_job())
    make(api, {"step_ref": "a"})
    path = path.format(run=run["id"], flow=start(api, "flow")["id"])
    # Streams of tests before this one may still be going.
    eventually(lambda: not api.server.deps.closing._bells)
    crowd = [ask(api, path) for _ in range(4 * ROOM)]
    try:
        heads = [connection.recv(4096) for connection in crowd]
        assert Counter(head.split()[1] for head in heads) == {b"200": ROOM, b"503": 3 * ROOM}
        assert all(b"retry-after: " in head.lower() for head in heads if head.split()[1] == b"503")
    finally:
        for connection in crowd:
            connection.close()

    def let_in() -> bool:
        with ask(api, path) as connection:
            return connection.recv(4096).split()[1] == b"200"

    eventually(let_in)


@pytest.mark.parametrize(("secs_each", "whole"), [(0.02, True), (0.5, False)])
async def test_a_slow_line_has_its_time_for_each_piece(monkeypatch: pytest.MonkeyPatch, secs_each: float, whole: bool):
    """However large an event is: it is given up when nothing gets through, not when all of it takes long."""
    monkeypatch.setattr(endpoint, "PIECE", 10)
    monkeypatch.setattr(endpoint, "SEND_SECS", 0.25)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(secs_each * len(message["body"]) / 10)
        sent.append(message["body"])

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def chunks() -> Any:
        yield b"b" * 200

    answer = Reply(200, b"a" * 200)
    hung_up: list[bool] = []
    call = Call({endpoint.HANG_UP: lambda: hung_up.append(True)}, receive, {}, "r")
    await endpoint._write_chunks(answer, chunks(), call, send)
    assert hung_up == ([] if whole else [True])
    assert (b"".join(sent) == b"a" * 200 + b"b" * 200) is whole
    # What has been sent is held by nobody.
    assert answer.body == b""
