"""How threads that fetch hand over to the screen that draws: a burst of a thousand changes wakes it once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from textual.message import Message
from textual.message_pump import MessagePump

from strait_core.errors import StraitError

T = TypeVar("T")
Act = Callable[[], None]


class Mailbox:
    """What threads ask the screen to do; its owner handles `Mailbox.Arrived` by calling `work_off`."""

    class Arrived(Message):
        """There is something in the mailbox."""

    def __init__(self, owner: MessagePump) -> None:
        self._owner = owner
        self._acts: list[Act] = []
        self._lock = threading.Lock()

    def put(self, act: Act) -> None:
        """From any thread: do this on the screen's own."""
        with self._lock:
            self._acts.append(act)
            is_first = len(self._acts) == 1
        if is_first:
            self._owner.post_message(self.Arrived())

    def work_off(self) -> None:
        """Do everything that has gathered, in order."""
        with self._lock:
            acts, self._acts = self._acts, []
        for act in acts:
            act()


class Fetcher:
    """One request at a time for each purpose, in threads; answers and troubles come by the mailbox."""

    def __init__(
        self, mailbox: Mailbox, start: Callable[[Act], object], on_trouble: Callable[[str, StraitError | None], None]
    ) -> None:
        self._mailbox = mailbox
        self._start = start
        self._on_trouble = on_trouble
        self._busy: set[str] = set()

    def fetch(self, purpose: str, call: Callable[[], T], then: Callable[[T], None]) -> None:
        """Call in a thread, then take the answer on the screen's; left out while the same purpose is under way.

        What fails is told to `on_trouble` with its purpose, and None when it goes well again.
        """
        if purpose in self._busy:
            return
        self._busy.add(purpose)
        self._start(lambda: self._carry_out(purpose, call, then))

    def is_busy(self, purpose: str) -> bool:
        """Whether such a request is under way."""
        return purpose in self._busy

    def _carry_out(self, purpose: str, call: Callable[[], T], then: Callable[[T], None]) -> None:
        try:
            answer = call()
        except StraitError as error:
            trouble = error
            self._mailbox.put(lambda: self._failed(purpose, trouble))
            return
        self._mailbox.put(lambda: self._arrived(purpose, answer, then))

    def _failed(self, purpose: str, error: StraitError) -> None:
        self._busy.discard(purpose)
        self._on_trouble(purpose, error)

    def _arrived(self, purpose: str, answer: T, then: Callable[[T], None]) -> None:
        self._busy.discard(purpose)
        self._on_trouble(purpose, None)
        then(answer)
