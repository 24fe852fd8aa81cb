"""Who may call: the bearer of the internal secret. Wrong ones are told so, after ten a minute more and more slowly."""

from __future__ import annotations

import asyncio
from collections import deque
from hmac import compare_digest
from time import monotonic
from typing import Final

from strait_core.errors import AuthError

FREE_FAILURES: Final = 10
WINDOW_SECS: Final = 60.0
# Each failure beyond the free ones waits this much longer than the one before, up to the most.
STEP_SECS: Final = 0.25
MOST_SECS: Final = 5.0
# Addresses remembered; when there are more, the one that failed longest ago is forgotten.
MOST_ADDRESSES: Final = 10_000


class Gate:
    """Checks credentials in constant time, and slows down whoever keeps failing; a right one never waits."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._header = b"Bearer " + self._secret
        self._failures: dict[str, deque[float]] = {}

    async def check(self, header: bytes | None, address: str) -> None:
        """Return for the right credential; AuthError for none or a wrong one."""
        if header is not None and self._is_right(header):
            return
        wait = self._wait_after_failure(address)
        if wait:
            await asyncio.sleep(wait)
        if header is None:
            raise AuthError("no credential", hint="send Authorization: Bearer <INTERNAL_SECRET>")
        raise AuthError("wrong credential", hint="send Authorization: Bearer <INTERNAL_SECRET> of this server")

    def _is_right(self, header: bytes) -> bool:
        if compare_digest(header, self._header):
            return True
        # The scheme's name does not depend on case, and more than one blank may follow it.
        scheme, _, credential = header.partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(credential.strip(), self._secret)

    def _wait_after_failure(self, address: str) -> float:
        now = monotonic()
        # Taken out and put back at the end: the first one is always the one that failed longest ago.
        times = self._failures.pop(address, None) or deque(maxlen=FREE_FAILURES + int(MOST_SECS / STEP_SECS))
        while times and now - times[0] > WINDOW_SECS:
            times.popleft()
        times.append(now)
        self._failures[address] = times
        if len(self._failures) > MOST_ADDRESSES:
            del self._failures[next(iter(self._failures))]
        return min(max(0, len(times) - FREE_FAILURES) * STEP_SECS, MOST_SECS)
