"""Who may call: the bearer of the internal secret, on the routes of runs the bearer of a run token.

Wrong ones are told so, after ten a minute more and more slowly.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from hmac import compare_digest
from time import monotonic
from typing import Final

from strait_core.errors import AuthError
from strait_daemon.tokens import Claims, TokenReader

FREE_FAILURES: Final = 10
WINDOW_SECS: Final = 60.0
# Each failure beyond the free ones waits this much longer than the one before, up to the most.
STEP_SECS: Final = 0.25
MOST_SECS: Final = 5.0
# Addresses remembered; when there are more, the one that failed longest ago is forgotten.
MOST_ADDRESSES: Final = 10_000


class Gate:
    """Checks credentials in constant time, and slows down whoever keeps failing; a right one never waits."""

    def __init__(self, secret: str, tokens: TokenReader) -> None:
        self._tokens = tokens
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

    async def check_token(self, header: bytes | None, address: str, now: datetime) -> Claims:
        """What a run token that we made says; AuthError for none, a wrong one, or one whose time is over."""
        scheme, _, token = (header or b"").partition(b" ")
        claims = self._tokens.read(token.strip()) if scheme.lower() == b"bearer" else None
        if claims is not None and claims.exp > now.timestamp():
            return claims
        # A token that only came too late is no guess at the key.
        wait = 0.0 if claims is not None else self._wait_after_failure(address)
        if wait:
            await asyncio.sleep(wait)
        if claims is not None:
            raise AuthError("the run token has expired", hint="its attempt is over; stop working on it")
        said = "no run token" if header is None else "wrong run token"
        raise AuthError(said, hint="send Authorization: Bearer <X-Run-Token of the request that brought the run>")

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
