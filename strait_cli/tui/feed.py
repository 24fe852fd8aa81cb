"""The feed of all moves for the dashboard: a thread follows the stream, what it hears comes by the mailbox."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from strait_cli import exact
from strait_cli.client import Client
from strait_cli.paths import path_of
from strait_cli.stream import follow
from strait_cli.tui.mailbox import Mailbox
from strait_core.errors import StraitError

Row = dict[str, Any]
# How soon a stream is asked for again that was refused: by a server that has none, or with another key.
AGAIN_SECS: Final = 20.0


class Feed:
    """The moves of runs from now on, for as long as it takes; on the screen's own thread, a burst of them at once.

    `say` is told whether there is a stream, each time that this changes.
    """

    def __init__(
        self, client: Client, mailbox: Mailbox, take: Callable[[list[Row]], None], say: Callable[[bool], None]
    ) -> None:
        self._client = client
        self._mailbox = mailbox
        self._take = take
        self._say = say
        self._moves: list[Row] = []
        self._lock = threading.Lock()
        self._has_stream = False
        self.stop = threading.Event()

    def begin(self) -> None:
        """Follow in a thread of its own, until `stop` is set."""
        threading.Thread(target=self._follow, daemon=True, name="strait-feed").start()

    def _follow(self) -> None:
        while not self.stop.is_set():
            try:
                self._read()
            except (StraitError, ValueError):
                # What is on the screen is polled meanwhile, and any trouble told by that.
                self._told(has_stream=False)
            self.stop.wait(AGAIN_SECS)

    def _read(self) -> None:
        stream = follow(
            self._client,
            path_of("stream"),
            patience=math.inf,
            on_stream=lambda has_stream: self._told(has_stream=has_stream),
            stop=self.stop,
        )
        for message in stream:
            if message.event == "status":
                move = exact.loads(message.data)
                # A workflow run that moves has no row anywhere.
                if "run_id" in move:
                    self._gather(move)

    def _told(self, *, has_stream: bool) -> None:
        if has_stream != self._has_stream:
            self._has_stream = has_stream
            self._mailbox.put(partial(self._say, has_stream))

    def _gather(self, move: Row) -> None:
        with self._lock:
            self._moves.append(move)
            is_first = len(self._moves) == 1
        if is_first:
            self._mailbox.put(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            moves, self._moves = self._moves, []
        self._take(moves)
