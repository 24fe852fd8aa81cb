"""Who may speak for a run: the bearer of the live attempt's own token, and nobody else."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import pytest

from strait_core.run import Status
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import Speaker, speaking, token_for
from tests.api.server import SECRET


@pytest.fixture
def run(api: Caller) -> dict[str, Any]:
    """A queued run."""
    return api.trigger(api.make_job(), payload={"a": [1.50, "\u0000"]})


def test_the_live_attempt_reads_its_payload_as_sent(api: Caller, contract: Contract, run: dict[str, Any]):
    """Byte for byte, NUL and trailing zeros too."""
    job = api.make_job("exact")
    sent = '{"payload": {"n": 1.50, "s": "\\u0000\\ud800", "n": 2}}'
    headers = {"Content-Type": "application/json"}
    made = api.call("POST", f"/v1/jobs/{job['id']}/trigger", status=201, content=sent, headers=headers)
    with speaking(api, contract, api.start(api.claim(made)), made) as endpoint:
        answer = endpoint.client.get(
            f"/sdk/v1/runs/{made['id']}/payload", headers={"Authorization": f"Bearer {endpoint.token}"}
        )
    assert answer.content == b'{"n": 1.50, "s": "\\u0000\\ud800", "n": 2}'
    assert answer.headers["content-type"] == "application/json"


def test_no_other_token_is_taken(api: Caller, contract: Contract, run: dict[str, Any]):
    """No token, one of another key or of none, the server's own secret: 401, in the one envelope (all: test_tokens)."""
    with speaking(api, contract, api.start(api.claim(run)), run) as endpoint:
        good = endpoint.token
        for token in ("x", "x y", good[:-1], unsigned(good), SECRET):
            endpoint.token = token
            assert endpoint.say("GET", "payload", status=401)["code"] == "unauthenticated"
        endpoint.token = good
        assert endpoint.say("GET", "payload") == run["payload"]
        answer = endpoint.client.get(f"/sdk/v1/runs/{run['id']}/payload")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def unsigned(token: str) -> str:
    """The same claims under the algorithm "none"."""
    head = urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def test_a_run_token_opens_nothing_else(api: Caller, contract: Contract, run: dict[str, Any]):
    """On the routes of the internal secret it is a wrong credential."""
    with speaking(api, contract, api.start(api.claim(run)), run) as endpoint:
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        assert endpoint.client.get(f"/v1/runs/{run['id']}", headers=headers).status_code == 401
        assert endpoint.client.get("/v1/jobs", headers=headers).status_code == 401


def test_another_runs_token_is_forbidden(api: Caller, contract: Contract, run: dict[str, Any]):
    """403 whether or not that other run exists."""
    other = api.trigger(api.make_job("other"))
    api.start(api.claim(other))
    with speaking(api, contract, api.start(api.claim(run)), run) as endpoint:
        for path in (other["id"], "run_01h455vb4pex5vsknk084sn02q", "x", run["id"].upper()):
            mine = Speaker(endpoint.client, path, endpoint.token)
            assert mine.say("GET", "payload", status=403)["code"] == "forbidden"


def test_a_token_ends_with_its_time_its_attempt_and_its_run(api: Caller, contract: Contract, run: dict[str, Any]):
    """Before the start, after its time or its attempt: 401. After the run: 410."""
    claimed = api.claim(run)
    with speaking(api, contract, claimed, run) as endpoint:
        endpoint.token = token_for(api, run["id"], 1)
        assert "attempt 1 is over: the run is dequeued" in endpoint.say("GET", "payload", status=401)["detail"]
        started = api.start(claimed)
        endpoint.say("GET", "payload")
        endpoint.token = token_for(api, run["id"], 1, timeout_secs=10, ago_secs=69)
        endpoint.say("GET", "payload")
        endpoint.token = token_for(api, run["id"], 1, timeout_secs=10, ago_secs=71)
        assert "expired" in endpoint.say("GET", "payload", status=401)["detail"]
        endpoint.token = first = token_for(api, run["id"], 1)
        api.retry(started)
        assert "the run is queued" in endpoint.say("GET", "payload", status=401)["detail"]
        started = api.start(api.claim(run))
        assert "at attempt 2" in endpoint.say("GET", "payload", status=401)["detail"]
        endpoint.token = token_for(api, run["id"], 3)
        endpoint.say("GET", "payload", status=401)
        endpoint.token = second = token_for(api, run["id"], 2)
        endpoint.say("GET", "payload")
        api.finish(started, Status.FAILED)
        for token in (first, second):
            endpoint.token = token
            assert endpoint.say("GET", "payload", status=410)["code"] == "gone"
