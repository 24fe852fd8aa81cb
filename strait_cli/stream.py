"""Server-sent events that outlive a connection: read, remember the last id, reconnect, go on where it stopped.

A thread reads the socket and the caller waits on a queue, so that a deadline and Ctrl-C act at once and not with the
next keep-alive.
"""

from __future__ import annotations

import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import httpx

from strait_cli.client import Client
from strait_core.errors import RateLimitedError, StraitError, UnavailableError

T = TypeVar("T")
PATIENCE_SECS: Final = 60.0
# Three keep-alives of 15 s may be lost before a silent connection counts as dead.
_SILENCE_SECS: Final = 46.0
# Every stream speaks at once; one that does not is held back on its way, as some proxies do until it ends.
_MUTE_SECS: Final = 5.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 3.0
_LOOK_UP_SECS: Final = 0.2
# Messages that are read ahead of the caller; whoever is slower than that leaves the rest to the server.
_AHEAD: Final = 256


@dataclass(frozen=True, slots=True)
class Message:
    """One event of a stream; `id` is None when the server gave none. Without data it only tells the place by its id."""

    event: str
    data: str
    id: str | None


class Quiet(Exception):  # noqa: N818 - not a fault: the caller's time is up
    """Raised by `follow` when the deadline passes with the stream still open."""


def follow(
    client: Client,
    path: str,
    *,
    since: str | None = None,
    deadline: float | None = None,
    patience: float = PATIENCE_SECS,
    on_loss: Callable[[StraitError], None] | None = None,
    on_stream: Callable[[bool], None] | None = None,
    poll: Callable[[str | None], Iterable[Message]] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Message]:
    """The messages of an SSE path, over any number of connections, until the caller closes the iterator.

    `since` is the id of the last message known already; each connection asks for what came behind the last one. After
    `patience` seconds without a stream the last error is raised, the first connection included: they count from the
    end of the last stream that brought a byte, be it a keep-alive. `on_stream` is told True when a stream speaks, and
    False when there is none. `poll` gives what has come behind an id where no stream is to be had, or one is held
    back: while it answers nobody loses patience. `deadline` is on `time.monotonic()`; past it, `Quiet` is raised.
    Setting `stop`, from any thread, ends it within a fraction of a second.
    """
    last_id = since
    losses = _Losses(patience, on_loss)
    while True:
        with _Reader(client, path, last_id) as reader:
            for number, message in enumerate(reader.messages(deadline, stop, None if poll is None else _MUTE_SECS)):
                if on_stream and number == 0:
                    on_stream(True)
                last_id = message.id or last_id
                if message.data:
                    if message.event != "end":
                        losses.forget()
                    yield message
        if stop is not None and stop.is_set():
            return
        if on_stream:
            on_stream(False)
        error = reader.error or UnavailableError(f"{client.connection.server} ended the stream")
        _wait(losses.pause(error, reader), deadline, stop)
        if stop is not None and stop.is_set():
            return
        # Whoever had a stream will have the next one, most of the time, and that tells everything in its order.
        if poll is not None and reader.lasted is None:
            with suppress(RateLimitedError, UnavailableError):
                for message in poll(last_id):
                    last_id = message.id or last_id
                    if message.data:
                        yield message
                losses.be_patient()


class _Losses:
    """The streams that were lost in a row: how long to wait for the next one, when to give up, when to tell."""

    def __init__(self, patience: float, on_loss: Callable[[StraitError], None] | None) -> None:
        self._patience = patience
        self._on_loss = on_loss
        self._since = time.monotonic()
        self.forget()

    def forget(self) -> None:
        """All is well: the next loss is told, and followed by a short pause."""
        self._delay, self._is_told = _FIRST_DELAY, False

    def be_patient(self) -> None:
        """The server was there just now."""
        self._since = time.monotonic()

    def pause(self, error: StraitError, reader: _Reader) -> float:
        """The seconds to wait after a stream that ended with `error`, which is raised when no patience is left."""
        if not isinstance(error, RateLimitedError | UnavailableError):
            raise error
        if reader.lasted is not None:
            self.be_patient()
            # Streams that end as soon as they have begun are asked for less and less often.
            if reader.lasted > _LONGEST_DELAY:
                self.forget()
        pause = max(self._delay * random.uniform(0.75, 1.25), error.retry_after or 0.0)  # noqa: S311 - not a secret
        if time.monotonic() - self._since + pause > self._patience:
            raise error
        if self._on_loss and not self._is_told:
            self._on_loss(error)
            self._is_told = True
        self._delay = min(self._delay * 2, _LONGEST_DELAY)
        return pause


def patiently(
    call: Callable[[], T],
    *,
    deadline: float | None = None,
    patience: float = PATIENCE_SECS,
    on_loss: Callable[[StraitError], None] | None = None,
    stop: threading.Event | None = None,
) -> T:
    """What `call` returns, tried again while the server is away, as long as `follow` would and nobody sets `stop`."""
    began, delay = time.monotonic(), _FIRST_DELAY
    while True:
        try:
            return call()
        except (RateLimitedError, UnavailableError) as error:
            if time.monotonic() - began + delay > patience or (stop is not None and stop.is_set()):
                raise
            if on_loss and delay == _FIRST_DELAY:
                on_loss(error)
        _wait(delay, deadline, stop)
        delay = min(delay * 2, _LONGEST_DELAY)


def _wait(pause: float, deadline: float | None, stop: threading.Event | None) -> None:
    left = pause if deadline is None else min(pause, deadline - time.monotonic())
    if left > 0:
        (stop or threading.Event()).wait(left)
    if deadline is not None and time.monotonic() >= deadline:
        raise Quiet


class _Reader:
    """One connection, read by a thread of its own; `error` tells how it ended, None = the server closed it.

    `lasted` are the seconds from its first byte to its end, None = there was no stream, or none with a byte in it.
    """

    def __init__(self, client: Client, path: str, last_id: str | None) -> None:
        self._client = client
        self._path = path
        self._last_id = last_id
        self._queue: queue.Queue[Message | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="strait-stream")
        self._fault: Exception | None = None
        self.error: StraitError | None = None
        self.lasted: float | None = None
        self._first_byte: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Shutting the socket down wakes the thread, which then closes what it opened; one that is still connecting is
        # left to its time limit.
        self._closed.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(1)

    def messages(
        self, deadline: float | None, stop: threading.Event | None, mute_secs: float | None = None
    ) -> Iterator[Message]:
        """The messages as they come, until the connection ends; a fault of our own is raised here, in the caller.

        A stream that has not brought a byte after `mute_secs` counts as ended; None = it may take its time.
        """
        limit = None if mute_secs is None else time.monotonic() + mute_secs
        while stop is None or not stop.is_set():
            left = None if deadline is None else deadline - time.monotonic()
            # Whoever may be stopped from outside, or waits for the first byte, looks up every so often.
            looks_up = stop is not None or (limit is not None and self._first_byte is None)
            wait = min(_LOOK_UP_SECS, _LOOK_UP_SECS if left is None else left) if looks_up else left
            try:
                message = self._queue.get(timeout=wait) if wait is None or wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                if left is not None and left <= (wait or 0):
                    raise Quiet from None
                if limit is not None and self._first_byte is None and time.monotonic() > limit:
                    self.error = UnavailableError(f"{self._client.connection.server} holds the stream back")
                    return
                continue
            if message is None:
                break
            yield message
        # Whoever has stopped it may have closed the client, too.
        if self._fault is not None and (stop is None or not stop.is_set()):
            raise self._fault

    def _run(self) -> None:
        try:
            self._read()
        except Exception as fault:  # noqa: BLE001 - after the end of the caller any error may come of its closed client
            self._fault = fault
        finally:
            if self._first_byte is not None:
                self.lasted = time.monotonic() - self._first_byte
            self._tell(None)

    def _tell(self, message: Message | None) -> None:
        """Put it into the queue as soon as there is room; in vain once the caller has left."""
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(message, timeout=_LOOK_UP_SECS)
                return

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        timeout = httpx.Timeout(5.0, read=_SILENCE_SECS)
        http = self._client.http
        request = http.build_request("GET", self._path, headers=headers, timeout=timeout)
        try:
            response = http.send(request, stream=True)
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            try:
                if self._closed.is_set():
                    return
                if not response.is_success:
                    response.read()
                    self.error = self._client.problem(response)
                    return
                for message in parse(self._heard(response)):
                    self._tell(message)
                    if self._closed.is_set():
                        return
            finally:
                response.close()
        except httpx.TransportError as error:
            self.error = self._client.transport_failure(error, request).error

    def _heard(self, response: httpx.Response) -> Iterator[bytes]:
        # A page that a proxy shows instead is no stream, however often it comes.
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        for chunk in response.iter_bytes():
            if is_stream and self._first_byte is None:
                self._first_byte = time.monotonic()
            yield chunk


def parse(chunks: Iterable[bytes]) -> Iterator[Message]:
    """The messages in a byte stream, as the HTML standard's event stream format has them.

    Lines end at LF, CR or CRLF and nowhere else: str.splitlines would also break JSON at U+2028.
    """
    event, identity, said, data = "", None, None, list[str]()
    for line in _lines(chunks):
        if not line:
            if data or identity != said:
                yield Message(event or "message", "\n".join(data), identity)
            event, data, said = "", [], identity
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                event = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                identity = value or None


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        while True:
            ends = [at for at in (pending.find(b"\n"), pending.find(b"\r")) if at >= 0]
            # A CR at the very end may be half of a CRLF: wait for the next byte.
            if not ends or (pending[min(ends)] == 0x0D and min(ends) == len(pending) - 1):
                break
            end = min(ends)
            yield pending[:end].decode("utf-8", "replace")
            del pending[: end + (2 if pending[end : end + 2] == b"\r\n" else 1)]
