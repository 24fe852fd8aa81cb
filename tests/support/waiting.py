"""Waiting for something to come true, with a deadline and a word about what was missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECS = 0.01


def eventually(look: Callable[[], T], seconds: float = 20, missing: Callable[[], str] = lambda: "it never came") -> T:
    """Look again and again until the answer is truthy, and return it; fail with `missing()` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s: {missing()}"
        time.sleep(_PAUSE_SECS)
    return answer
