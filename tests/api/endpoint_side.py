"""What an endpoint says with the token of its attempt, in the tests of the SDK's routes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from strait_core.store.claims import Claimed
from strait_daemon.tokens import TokenMaker
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.server import SECRET


def token_for(api: Caller, run_id: str, attempt: int, *, timeout_secs: int = 300, ago_secs: float = 0) -> str:
    """The token that dispatch would send, or would have sent that long ago."""
    now = api.server.parts.clock.now() - timedelta(seconds=ago_secs)
    return TokenMaker(SECRET[::-1]).make(run_id, attempt, now, timeout_secs)


@dataclass
class Speaker:
    """The endpoint of one attempt."""

    client: httpx.Client
    run_id: str
    token: str

    def say(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """One call; fails unless it is answered with `status`. `content` in place of a body is sent as it is."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent = {"json": body} if body is not None else {}
        answer = self.client.request(method, f"/sdk/v1/runs/{self.run_id}/{path}", headers=headers, **sent, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


@contextmanager
def speaking(api: Caller, contract: Contract, started: Claimed, run: dict[str, Any]) -> Iterator[Speaker]:
    """The endpoint of the attempt that has been started."""
    with api.server.client(event_hooks={"response": [contract.check]}) as client:
        yield Speaker(client, run["id"], token_for(api, run["id"], started.attempt))
