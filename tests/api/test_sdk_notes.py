"""What an endpoint notes on its run: progress, metadata, outputs, checkpoints, state; and what of it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strait_core.run import Status
from strait_core.store.claims import Claimed
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import Speaker, speaking

EXACT = b'{"big": 12345678901234567890, "n": 1.50, "e": 1e400, "t": "\xc3\xa9\xf0\x9f\x98\x80"}'


@pytest.fixture
def run(api: Caller) -> dict[str, Any]:
    """A queued run with metadata."""
    return api.trigger(api.make_job(), metadata={"a": "1", "b": "2"})


@pytest.fixture
def started(api: Caller, run: dict[str, Any]) -> Claimed:
    """Its first attempt."""
    return api.start(api.claim(run))


@pytest.fixture
def endpoint(api: Caller, contract: Contract, run: dict[str, Any], started: Claimed) -> Iterator[Speaker]:
    """Who works on it."""
    with speaking(api, contract, started, run) as speaker:
        yield speaker


def test_a_run_shows_what_was_noted(api: Caller, run: dict[str, Any], started: Claimed, endpoint: Speaker):
    """While it works, and after it has ended; lists carry the progress, and leave out what may be long."""
    assert (run["progress"], run["outputs"], run["usage"], run["cost_microusd"]) == (None, {}, [], 0)
    endpoint.say("POST", "progress", {"percent": 12.5, "message": "reading"}, status=204)
    endpoint.say("POST", "output", {"name": "rows", "value": 7}, status=204)
    endpoint.say("POST", "output", {"name": "rows", "value": {"n": [8]}}, status=204)
    endpoint.say("POST", "annotate", {"metadata": {"b": None, "c": "3"}}, status=204)
    for finish in (lambda: None, lambda: api.finish(started)):
        finish()
        now = api.run(run["id"])
        assert {name: now["progress"][name] for name in ("percent", "message")} == {
            "percent": 12.5,
            "message": "reading",
        }
        assert (now["outputs"], now["metadata"]) == ({"rows": {"n": [8]}}, {"a": "1", "c": "3"})
        (listed,) = api.call("GET", f"/v1/runs?project_id={api.project}")["data"]
        assert listed["progress"] == now["progress"]
        assert not {"outputs", "usage"} & set(listed)


def test_progress_alone(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """Percent or words suffice; the ends of the range count; nothing at all says nothing."""
    said: list[dict[str, Any]] = [
        {"percent": 0}, {"percent": 100}, {"message": "x" * 1_000}, {"percent": None, "message": ""},
    ]  # fmt: skip
    for body in said:
        endpoint.say("POST", "progress", body, status=204)
        assert api.run(run["id"])["progress"]["percent"] == body.get("percent")
    for body in ({}, {"percent": None}, {"percent": -0.1}, {"percent": 100.1}, {"percent": "5"}, {"percent": True}):
        endpoint.say("POST", "progress", body, status=422)
    endpoint.say("POST", "progress", {"message": "x" * 1_001}, status=422)
    for sent in (b'{"percent": NaN}', b'{"percent": 1e999}', b'{"message": "\\u0000"}', b'{"message": "\\ud800"}'):
        endpoint.say("POST", "progress", content=sent, status=422)


def test_metadata_keeps_its_bounds(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """Fifty entries in all, however they come; a refused annotation changes nothing."""
    endpoint.say("POST", "annotate", {"metadata": {f"k{n}": "v" for n in range(48)}}, status=204)
    for metadata in ({"one": "more"}, {"a": "x" * 1_025}, {"": "x"}, {"x" * 65: "x"}):
        assert endpoint.say("POST", "annotate", {"metadata": metadata}, status=422)["code"] == "validation"
    assert len(api.run(run["id"])["metadata"]) == 50
    endpoint.say("POST", "annotate", {"metadata": {"a": None, "one": "more"}}, status=204)
    assert len(api.run(run["id"])["metadata"]) == 50


def test_no_annotation_is_lost_to_another(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """Forty at once: each finds its place."""
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(lambda n: endpoint.say("POST", "annotate", {"metadata": {f"k{n}": "v"}}, status=204), range(40)))
    assert len(api.run(run["id"])["metadata"]) == 42


def test_values_come_back_as_they_were_sent(endpoint: Speaker):
    """Digits, exponents and characters of checkpoints and state; an output is JSON on the run."""
    head = {"Authorization": f"Bearer {endpoint.token}"}
    base = f"/sdk/v1/runs/{endpoint.run_id}"
    endpoint.say("GET", "checkpoint", status=404)
    endpoint.say("POST", "checkpoint", content=b'{"data": ' + EXACT + b"}", status=204)
    assert endpoint.client.get(f"{base}/checkpoint", headers=head).content == EXACT
    endpoint.say("PUT", "state/a.b:c", content=b'{"value": ' + EXACT + b"}", status=204)
    assert endpoint.client.get(f"{base}/state/a.b:c", headers=head).content == EXACT
    assert EXACT in endpoint.client.get(f"{base}/state", headers=head).content


def test_state_is_put_read_and_forgotten(endpoint: Speaker):
    """Per key, and all at once; forgetting twice is no fault."""
    assert endpoint.say("GET", "state") == {"data": {}}
    endpoint.say("GET", "state/a", status=404)
    endpoint.say("PUT", "state/a", {"value": None}, status=204)
    endpoint.say("PUT", "state/b", {"value": [1]}, status=204)
    endpoint.say("PUT", "state/b", {"value": [2]}, status=204)
    assert endpoint.say("GET", "state") == {"data": {"a": None, "b": [2]}}
    assert endpoint.say("GET", "state/b") == [2]
    for _ in range(2):
        endpoint.say("DELETE", "state/b", status=204)
    assert endpoint.say("GET", "state") == {"data": {"a": None}}
    for key in ("a b", "a%00", "x" * 257, "%C3%A9"):
        endpoint.say("PUT", f"state/{key}", {"value": 1}, status=422)


def test_what_a_run_keeps_is_bounded(endpoint: Speaker):
    """Single values 64 KiB, a checkpoint 1 MiB, fifty outputs, a mebibyte in all: refused, never cut."""
    text = "x" * (64 * 1024 - 2)
    endpoint.say("PUT", "state/k", {"value": text + "x"}, status=422)
    for n in range(15):
        endpoint.say("PUT", f"state/k{n}", {"value": text}, status=204)
    endpoint.say("PUT", "state/k15", {"value": text}, status=409)
    endpoint.say("PUT", "state/k14", {"value": text}, status=204)
    endpoint.say("DELETE", "state/k0", status=204)
    endpoint.say("PUT", "state/k15", {"value": text}, status=204)
    for n in range(50):
        endpoint.say("POST", "output", {"name": f"o{n}", "value": n}, status=204)
    endpoint.say("POST", "output", {"name": "o50", "value": 50}, status=409)
    endpoint.say("POST", "output", {"name": "o49", "value": text}, status=204)
    for name in ("", "x" * 65):
        endpoint.say("POST", "output", {"name": name, "value": 1}, status=422)
    endpoint.say("POST", "checkpoint", {"data": "x" * (1024 * 1024 - 2)}, status=204)
    endpoint.say("POST", "checkpoint", {"data": "x" * (1024 * 1024 - 1)}, status=422)
    endpoint.say("POST", "checkpoint", {"data": "x" * (1024 * 1024 + 20_000)}, status=413)
    assert len(endpoint.say("GET", "checkpoint")) == 1024 * 1024 - 2


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"{}", b"[]", b"null", b'{"data": 1, "data": 2}', b'{"data": {"a": 1, "a": 2}}', b'{"data": "\\u0000"}',
        b'{"data": {"\\u0000": 1}}', b'{"data": "\\ud800"}', b'{"data": NaN}', b'{"data": 1, "more": 1}',
        b'{"data": ' + b"[" * 200 + b"]" * 200 + b"}", b'{"data": "\xff"}',
    ],
)  # fmt: skip
def test_a_checkpoint_is_read_strictly(endpoint: Speaker, sent: bytes):
    """What §7 refuses anywhere outside a payload is refused here, and what was kept stays."""
    endpoint.say("POST", "checkpoint", {"data": "kept"}, status=204)
    assert endpoint.say("POST", "checkpoint", content=sent, status=422)["code"] == "validation"
    assert endpoint.say("GET", "checkpoint") == "kept"


def test_a_later_attempt_finds_what_an_earlier_one_kept(
    api: Caller, contract: Contract, run: dict[str, Any], started: Claimed, endpoint: Speaker
):
    """Checkpoint and state belong to the run, through retries and a replay; no other run sees them."""
    endpoint.say("POST", "checkpoint", {"data": {"page": 3}}, status=204)
    endpoint.say("PUT", "state/k", {"value": "v"}, status=204)
    endpoint.say("POST", "heartbeat", status=204)
    api.retry(started)
    second = api.start(api.claim(run))
    endpoint.say("POST", "heartbeat", status=401)
    with speaking(api, contract, second, run) as later:
        assert later.say("GET", "checkpoint") == {"page": 3}
        assert later.say("GET", "state/k") == "v"
    api.finish(second, Status.FAILED)
    api.call("POST", f"/v1/runs/{run['id']}/replay")
    with speaking(api, contract, api.start(api.claim(run)), run) as replayed:
        assert replayed.say("GET", "checkpoint") == {"page": 3}
        assert replayed.say("GET", "state") == {"data": {"k": "v"}}
    other = api.trigger(api.make_job("other"))
    with speaking(api, contract, api.start(api.claim(other)), other) as stranger:
        stranger.say("GET", "checkpoint", status=404)
        assert stranger.say("GET", "state") == {"data": {}}


def test_nothing_is_noted_on_a_run_that_is_over(api: Caller, run: dict[str, Any], started: Claimed, endpoint: Speaker):
    """Every call is told so with 410, and changes nothing."""
    api.finish(started)
    before = api.run(run["id"])
    calls: list[tuple[str, str, Any]] = [
        ("GET", "payload", None),
        ("GET", "checkpoint", None),
        ("GET", "state", None),
        ("GET", "state/k", None),
        ("PUT", "state/k", {"value": 1}),
        ("DELETE", "state/k", None),
        ("POST", "heartbeat", {}),
        ("POST", "progress", {"percent": 1}),
        ("POST", "annotate", {"metadata": {"late": "yes"}}),
        ("POST", "checkpoint", {"data": 1}),
        ("POST", "output", {"name": "late", "value": 1}),
    ]
    for method, path, body in calls:
        assert endpoint.say(method, path, body, status=410)["code"] == "gone"
    assert api.run(run["id"]) == before
