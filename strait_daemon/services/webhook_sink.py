"""Changes by webhook: batches, POSTed one after the other, signed by Standard Webhooks.

Nothing is skipped because a receiver does not want it: what follows would come out of order. Whatever it answers, a
batch is sent until it is accepted, or until the feed does not keep it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from time import monotonic
from typing import Final

import msgspec
from multidict import CIMultiDict

from strait_core.retry import parse_retry_after
from strait_core.signing import key_of, signed_headers
from strait_core.store.changes import StoredChange
from strait_daemon.clock import Clock
from strait_daemon.egress.client import Answer, EgressClient, EgressError, Timing
from strait_daemon.egress.guard import Guard, Refused
from strait_daemon.services.relay import SEND_SECS, NotTakenError

NAME: Final = "webhook"
LONGEST_PAUSE_SECS: Final = 60.0
# After an answer that will not change by itself; and after 410, by which a receiver asks not to be called again.
REFUSED_SECS: Final = 300.0
GONE_SECS: Final = 3_600.0
MOST_RETRY_AFTER_SECS: Final = 3_600.0
# Answers of the 4xx that may well be others a little later.
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class WebhookSink:
    """A receiver at a URL; `secret` is spelled as in a job's `webhook_secret`."""

    name = NAME
    longest_pause_secs = LONGEST_PAUSE_SECS

    def __init__(self, url: str, secret: str, post: tuple[EgressClient, Guard], clock: Clock, agent: str) -> None:
        self._url = url
        self._key = key_of(secret)
        self._client, self._guard = post
        self._clock = clock
        self._agent = agent

    async def send(self, batch: Sequence[StoredChange]) -> None:
        """POST the batch, once."""
        body = msgspec.json.encode(
            {"type": "changes", "timestamp": batch[-1].at, "data": {"changes": [one.shown for one in batch]}}
        )
        try:
            url = self._guard.prepared(self._url)
            async with asyncio.timeout(SEND_SECS - 1):
                answer = await self._client.post(url, self._headers(batch, body), body, Timing(monotonic()))
        except Refused as error:
            raise NotTakenError(f"ssrf error: {error.reason}", is_refused=True, after_secs=REFUSED_SECS) from error
        except EgressError as error:
            refused = error.kind == "ssrf"
            after = REFUSED_SECS if refused else 0.0
            raise NotTakenError(f"{error.kind} error: {error}", is_refused=refused, after_secs=after) from error
        except TimeoutError as error:
            raise NotTakenError(f"timeout: no answer within {SEND_SECS - 1:g} s") from error
        if not 200 <= answer.status < 300:
            raise self._judged(answer)

    def _headers(self, batch: Sequence[StoredChange], body: bytes) -> CIMultiDict[str]:
        # The id names the batch's first and last place: another batch, though it begins alike, is another message.
        first, last = batch[0], batch[-1]
        message = f"chg_{first.position}-{first.entry}_{last.position}-{last.entry}"
        headers = {"Content-Type": "application/json", "User-Agent": self._agent}
        return CIMultiDict({**headers, **signed_headers(self._key, message, int(self._clock.now().timestamp()), body)})

    def _judged(self, answer: Answer) -> NotTakenError:
        status = answer.status
        asked = parse_retry_after(answer.headers.get("Retry-After"), self._clock.now())
        after = 0.0 if asked is None else min(asked.total_seconds(), MOST_RETRY_AFTER_SECS)
        is_refused = status < 500 and status not in _PASSING
        if is_refused:
            after = max(after, GONE_SECS if status == HTTPStatus.GONE else REFUSED_SECS)
        return NotTakenError(f"HTTP {status}", is_refused=is_refused, after_secs=after)

    async def close(self) -> None:
        """Nothing is its own."""
