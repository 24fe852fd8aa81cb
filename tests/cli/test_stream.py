"""Streams that outlive a connection: the format, reconnecting, patience, deadlines, nothing told twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_cli import stream as stream_module
from strait_cli.stream import Message, Quiet, follow, parse, patiently
from strait_cli.watch import Seen, attempt_text, parse_until
from strait_core.errors import NotFoundError, StraitError, UnavailableError, UsageError
from tests.cli.scripted import CUT, answer, events, scripted
from tests.cli.test_client import client
from tests.support.waiting import eventually

STREAM = (
    b': comment\r\nretry: 1000\r\nevent: snapshot\r\nid: 1\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    b"event: status\ndata: x\xe2\x80\xa8y\n\nid: 7\rdata:z\r\r: keep-alive\n\nevent: lost\n\ndata: cut"
)
MESSAGES = [Message("snapshot", '{"a":\n1}', "1"), Message("status", "x\u2028y", "1"), Message("message", "z", "7")]


@given(st.lists(st.integers(1, len(STREAM)), max_size=12))
def test_chunks_do_not_matter(cuts: list[int]):
    """The same messages however the bytes are cut; lines end at LF, CR, CRLF and nowhere else."""
    ends = sorted({0, *cuts, len(STREAM)})
    chunks = [STREAM[a:b] for a, b in pairwise(ends)]
    assert list(parse(chunks)) == MESSAGES


def status(seq: int, state: str, attempt: int = 1) -> str:
    """A status event as the API sends it."""
    data = json.dumps({"run_id": "run_1", "status": state, "attempt": attempt, "at": "2030-01-01T00:00:00Z"})
    return f"event: status\nid: {seq}\ndata: {data}\n\n"


def test_a_stream_goes_on_where_it_broke():
    """Each connection names the last id; a cut, a refusal and a busy server in between lose nothing."""
    busy = answer("503 Service Unavailable", Retry_After="0")
    answers = [events(status(1, "queued")), CUT, busy, events(status(2, "executing"), status(3, "completed"))]
    lost: list[StraitError] = []
    with scripted(answers) as server:
        stream = follow(client(server.url), "/stream", on_loss=lost.append)
        found = [next(stream).id for _ in range(3)]
    assert found == ["1", "2", "3"]
    assert server.headers("last-event-id") == [None, "1", "1", "1"]
    assert len(lost) == 1


def test_a_stream_begins_where_it_is_told():
    """`since` is the first connection's Last-Event-ID."""
    with scripted([events(status(5, "completed"))]) as server:
        next(follow(client(server.url), "/stream", since="4"))
    assert server.headers("last-event-id") == ["4"]


def test_a_place_without_data_is_kept():
    """An id that comes alone is where the next connection begins; nobody is told of it."""
    with scripted([events("id: 4\n\n"), events("id: 5\n: alive\n\n", status(6, "completed"))]) as server:
        assert next(follow(client(server.url), "/stream")).id == "6"
    assert server.headers("last-event-id") == [None, "4"]


def test_polling_goes_on_where_streams_are_not_to_be_had():
    """It is asked behind the last id, not after a mere cut; the next stream begins behind what it gave."""
    busy = answer("503 Service Unavailable", Retry_After="0")
    asked: list[str | None] = []

    def poll(since: str | None) -> list[Message]:
        asked.append(since)
        if len(asked) == 2:
            raise UnavailableError("not now")
        return [Message("change", f"behind {since}", f"{since}a"), Message("", "", f"{since}b")]

    with scripted([events(status(1, "queued")), busy, busy, busy, events(status(9, "completed"))]) as server:
        stream = follow(client(server.url), "/stream", poll=poll)
        found = [next(stream).id for _ in range(4)]
    assert found == ["1", "1a", "1ba", "9"]
    assert asked == ["1", "1b", "1b"]
    assert server.headers("last-event-id") == [None, "1", "1b", "1b", "1bb"]


def test_a_stream_that_is_held_back_is_asked_for_instead(monkeypatch: pytest.MonkeyPatch):
    """One that has not said a word is left for a poll; one that has spoken may be silent for as long."""
    monkeypatch.setattr(stream_module, "_MUTE_SECS", 0.3)
    told: list[bool] = []

    def slow() -> Iterator[bytes]:
        yield events(status(1, "queued"))
        time.sleep(0.8)
        yield status(2, "executing").encode()

    polls, began = iter([[Message("status", "polled", "1")]]), time.monotonic()
    with scripted([slow()], silent=True) as server:
        stream = follow(client(server.url), "/stream", poll=lambda _: next(polls), on_stream=told.append)
        assert [next(stream).id for _ in range(3)] == ["1", "2", "1"]
    assert told == [True, False, False]
    assert time.monotonic() - began < 20


def test_what_will_not_get_better_is_raised_at_once():
    """A run that does not exist is not waited for."""
    missing = answer("404 Not Found", '{"detail": "no such run"}')
    with scripted([missing]) as server, pytest.raises(NotFoundError, match="no such run"):
        next(follow(client(server.url), "/stream"))
    assert len(server.seen) == 1


def test_patience_ends():
    """A server that stays away, or closes without a word, is given up; the first connection counts too."""
    with pytest.raises(UnavailableError, match="cannot reach"):
        next(follow(client("http://127.0.0.1:9"), "/stream", patience=0.4))
    with scripted([events()] * 100) as server, pytest.raises(UnavailableError, match="ended the stream"):
        next(follow(client(server.url), "/stream", patience=0.4))


def test_patience_begins_where_a_stream_ends():
    """One that said nothing but that it is alive, for longer than patience lasts, is opened again, and the loss told."""

    def alive(seconds: float) -> Iterator[bytes]:
        yield events()
        for _ in range(10):
            time.sleep(seconds / 10)
            yield b": keep-alive\n\n"

    lost: list[StraitError] = []
    with scripted([alive(1.0), CUT, alive(0.2), events(status(1, "completed"))]) as server:
        found = next(follow(client(server.url), "/stream", patience=0.6, on_loss=lost.append))
    assert found.id == "1"
    assert len(server.seen) == 4
    assert len(lost) == 1


def test_streams_that_end_at_once_are_asked_for_less_often():
    """A server that has only a comment for everybody is not given up, and not stormed either."""
    # The fifth pause takes 1.2 to 2 s, and those before it at least 1.1: all together more than patience is.
    with scripted([events(": hello\n\n")] * 1000) as server, pytest.raises(Quiet):
        next(follow(client(server.url), "/stream", patience=2.1, deadline=time.monotonic() + 2.3))
    assert 4 <= len(server.seen) <= 6


def test_a_page_is_no_stream():
    """What a proxy shows instead, with status 200, is given up like silence."""
    page = answer("200 OK", "<html>please log in</html>", Content_Type="text/html")
    with scripted([page] * 100) as server, pytest.raises(UnavailableError, match="ended the stream"):
        next(follow(client(server.url), "/stream", patience=0.4))


def test_who_reads_slowly_is_not_read_ahead_for_ever():
    """The reader stops, and with it the server; what comes then is whole and in order; who leaves leaves nothing."""
    sent: list[int] = []

    def flood() -> Iterator[bytes]:
        yield events()
        for number in range(1, 1601):
            yield f"id: {number}\ndata: {'x' * 65_536}\n\n".encode()
            sent.append(number)

    def stands() -> bool:
        before = len(sent)
        time.sleep(1)
        return len(sent) == before

    with scripted([flood()]) as server:
        stream = follow(client(server.url), "/stream")
        first = next(stream)
        eventually(stands)
        # Some are in the queue, some in the two sockets.
        assert len(sent) < 800
        rest = [next(stream) for _ in range(len(sent))]
        assert [one.id for one in (first, *rest)] == [str(number) for number in range(1, len(rest) + 2)]
        eventually(stands)
        assert isinstance(stream, Generator)
        stream.close()
        eventually(lambda: not any(thread.name == "strait-stream" for thread in threading.enumerate()), 2)


def test_a_fault_of_the_reader_is_the_callers():
    """What goes wrong in the reading thread is raised where somebody can act on it, and never printed by the thread."""
    closed = client("http://127.0.0.1:9")
    closed.http.close()
    stream = follow(closed, "/stream")
    with pytest.raises(RuntimeError, match="closed"):
        next(stream)


def test_an_end_while_connecting_is_quiet(monkeypatch: pytest.MonkeyPatch):
    """A caller that leaves, and closes its client, before the connection stands hears nothing of the thread's end."""
    heard: list[object] = []
    monkeypatch.setattr(threading, "excepthook", heard.append)
    with scripted([], silent=True) as server:
        gone = client(server.url)
        with pytest.raises(Quiet):
            next(follow(gone, "/stream", deadline=time.monotonic()))
        gone.http.close()
    eventually(lambda: not any(thread.name == "strait-stream" for thread in threading.enumerate()))
    assert not heard


def test_a_deadline_interrupts_silence():
    """The caller's time counts even while nothing arrives."""
    began = time.monotonic()
    with pytest.raises(Quiet):
        next(follow(client("http://127.0.0.1:9"), "/stream", deadline=began + 0.3))
    assert time.monotonic() - began < 2


def test_patience_for_a_single_call():
    """The same patience for the requests around a stream, and none for a final answer."""
    with scripted([CUT, CUT, answer("200 OK", "1")]) as server:
        one = client(server.url)
        assert patiently(lambda: one.call("GET", "/x", once=True)) == 1
    with pytest.raises(NotFoundError):
        patiently(lambda: (_ for _ in ()).throw(NotFoundError("no")).__next__())


def message(event: str, identity: int, **data: object) -> Message:
    """A message with that data."""
    return Message(event, json.dumps({"run_id": "run_1", **data}), str(identity))


def test_nothing_is_told_twice_or_backwards():
    """Repeated and late messages, as a reconnect brings them, are swallowed."""
    seen = Seen("run_1")
    told = [
        seen.news(one)
        for one in (
            message("snapshot", 3, seq=3, status="executing"),
            message("status", 2, status="dequeued", attempt=1, at="t"),
            message("attempt", 3, attempt=1, outcome="error"),
            message("status", 4, status="queued", attempt=1, at="t"),
            message("snapshot", 4, seq=4, status="queued"),
            message("attempt", 3, attempt=1, outcome="error"),
            message("status", 5, status="dequeued", attempt=1, at="t"),
            message("future-kind", 6),
        )
    ]
    assert [one and one["event"] for one in told] == [
        "snapshot",
        None,
        "attempt",
        "status",
        None,
        None,
        "status",
        None,
    ]


def test_a_stream_without_sense_is_reported():
    """Not a traceback."""
    with pytest.raises(StraitError, match="makes no sense"):
        Seen("run_1").news(Message("status", "[", "1"))


def test_until_takes_known_states_only():
    """A misspelt state would never come."""
    assert parse_until("executing, completed") == {"executing", "completed"}
    assert parse_until(None) == frozenset()
    with pytest.raises(UsageError, match="runing"):
        parse_until("runing")


@pytest.mark.parametrize(
    ("took", "width", "text"),
    [
        ({"connect": 1.2, "ttfb": 4.1}, 80, "HTTP 200 after 5 ms (connect 1, ttfb 4 ms)"),
        ({"connect": 0.2, "ttfb": 4.1, "transfer": 0.1}, 80, "HTTP 200 after 4 ms (ttfb 4 ms)"),
        ({"connect": 0.2, "ttfb": 104, "transfer": 0.1}, 80, "HTTP 200 after 104 ms (ttfb 104 ms)"),
        ({"connect": 12, "ttfb": 7104, "transfer": 12}, 80, "HTTP 200 after 7128 ms"),
        ({"connect": 12, "ttfb": 104}, None, "HTTP 200 after 116 ms (connect 12, ttfb 104 ms)"),
        ({}, 80, "HTTP 200 after 0 ms"),
    ],
)
def test_phases_are_told_as_far_as_a_line_has_room(took: dict[str, float], width: int | None, text: str):
    """Those that took no time go first, then all of them; a pipe (no width) gets all."""
    timings = {**took, "total": sum(took.values())}
    change = {"attempt": 1, "outcome": "completed", "http_status": 200, "timings_ms": timings}
    assert attempt_text(change, width) == text
