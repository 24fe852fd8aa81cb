"""Log lines: every one is kept in order, reaches who reads and who watches, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strait_core.run import Status
from strait_core.store.claims import Claimed
from strait_daemon.api import follow
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.endpoint_side import Speaker, speaking
from tests.api.server import AUTH
from tests.support.sizes import size

LINES = size(ci=2_000, soak=10_000)


@pytest.fixture
def run(api: Caller) -> dict[str, Any]:
    """A queued run."""
    return api.trigger(api.make_job())


@pytest.fixture
def started(api: Caller, run: dict[str, Any]) -> Claimed:
    """Its first attempt."""
    return api.start(api.claim(run))


@pytest.fixture
def endpoint(api: Caller, contract: Contract, run: dict[str, Any], started: Claimed) -> Iterator[Speaker]:
    """Who works on it."""
    with speaking(api, contract, started, run) as speaker:
        yield speaker


def lines_of(api: Caller, run: dict[str, Any], more: str = "") -> list[dict[str, Any]]:
    """All the run's lines, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = api.call("GET", f"/v1/runs/{run['id']}/logs?limit=200{more}{cursor}")
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_lines_are_read_in_order(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """With their level, their data as sent, their attempt; pages, `after` and `level` narrow the list."""
    endpoint.say("POST", "log", {"message": "one"}, status=204)
    endpoint.say("POST", "progress", {"percent": 1}, status=204)
    sent = b'{"level": "error", "message": "\xc3\xa9", "data": {"n": 1.50, "e": 1e400}}'
    endpoint.say("POST", "log", content=sent, status=204)
    endpoint.say("POST", "log", {"level": "debug", "message": "", "data": None}, status=204)
    lines = lines_of(api, run)
    assert [(line["seq"], line["level"], line["message"]) for line in lines] == [
        (1, "info", "one"),
        (3, "error", "\u00e9"),
        (4, "debug", ""),
    ]
    assert b'"data":{"n": 1.50, "e": 1e400}' in api.client.get(f"/v1/runs/{run['id']}/logs").content
    assert {line["attempt"] for line in lines} == {1}
    assert [line["seq"] for line in lines_of(api, run, "&after=1")] == [3, 4]
    assert [line["seq"] for line in lines_of(api, run, "&after=3&level=debug,error")] == [4]
    page = api.call("GET", f"/v1/runs/{run['id']}/logs?limit=2")
    assert [line["seq"] for line in page["data"]] == [1, 3]
    assert [line["seq"] for line in lines_of(api, run, f"&cursor={page['next_cursor']}")] == [4]
    for wrong in ("after=-1", "after=x", "after=9999999999", "level=loud", "level=", "limit=0"):
        api.refuse("GET", f"/v1/runs/{run['id']}/logs?{wrong}", status=422)


@pytest.mark.parametrize(
    "sent",
    [
        b"{}", b'{"message": 1}', b'{"message": null}', b'{"message": "a", "level": "loud"}',
        b'{"message": "a", "level": null}', b'{"message": "\\u0000"}', b'{"message": "\\udfff"}',
        b'{"message": "a", "data": "\\u0000"}', b'{"message": "a", "data": {"x\\u0000": 1}}',
        b'{"message": "a", "data": {"x": 1, "x": 2}}', b'{"message": "a", "data": "\\ud800"}',
        b'{"message": "a", "data": Infinity}', b'{"message": "a", "at": "2030-01-01T00:00:00Z"}',
        b'{"message": "' + b"x" * 16_385 + b'"}', b'{"message": "a", "data": "' + b"x" * 65_536 + b'"}',
    ],
)  # fmt: skip
def test_a_line_is_read_strictly(api: Caller, run: dict[str, Any], endpoint: Speaker, sent: bytes):
    """A line that cannot be kept as it is is refused, whole; those around it are kept."""
    endpoint.say("POST", "log", {"message": "before"}, status=204)
    assert endpoint.say("POST", "log", content=sent, status=422)["code"] == "validation"
    endpoint.say("POST", "log", {"message": "x" * 16_384, "data": "x" * 65_534}, status=204)
    assert [len(line["message"]) for line in lines_of(api, run)] == [6, 16_384]
    endpoint.say("POST", "log", content=b" " * 300_000, status=413)


@pytest.mark.soak
def test_many_lines_at_once(api: Caller, run: dict[str, Any], endpoint: Speaker):
    """None is lost, none comes twice, numbers have no hole, and each sender's own order is kept."""
    senders = 16

    def send(sender: int) -> None:
        for n in range(LINES // senders):
            endpoint.say("POST", "log", {"message": f"{sender}", "data": n}, status=204)

    with ThreadPoolExecutor(senders) as crowd:
        list(crowd.map(send, range(senders)))
    lines = lines_of(api, run)
    assert [line["seq"] for line in lines] == list(range(1, LINES + 1))
    for sender in range(senders):
        own = [line["data"] for line in lines if line["message"] == str(sender)]
        assert own == list(range(LINES // senders))


def test_lines_belong_to_their_run(
    api: Caller, contract: Contract, run: dict[str, Any], started: Claimed, endpoint: Speaker
):
    """Other runs and other projects do not see them; an attempt or a run that is over adds none."""
    other = api.trigger(api.make_job("other"))
    endpoint.say("POST", "log", {"message": "mine"}, status=204)
    assert lines_of(api, other) == []
    api.refuse("GET", f"/v1/runs/{run['id']}/logs?project_id=elsewhere", status=404)
    api.refuse("GET", "/v1/runs/run_01h455vb4pex5vsknk084sn02q/logs", status=404)
    api.retry(started)
    endpoint.say("POST", "log", {"message": "late"}, status=401)
    second = api.start(api.claim(run))
    with speaking(api, contract, second, run) as later:
        later.say("POST", "log", {"message": "again"}, status=204)
        api.finish(second)
        later.say("POST", "log", {"message": "after"}, status=410)
    assert [(line["attempt"], line["message"]) for line in lines_of(api, run)] == [(1, "mine"), (2, "again")]


def events_of(api: Caller, run: dict[str, Any], last: str | None = None) -> list[tuple[str, str, Any]]:
    """(event, id, data) of a stream until the server closes it."""
    headers = {**AUTH, **({"Last-Event-ID": last} if last else {})}
    text = api.client.get(f"/v1/runs/{run['id']}/stream", headers=headers).text
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


def test_a_stream_carries_lines_and_progress(api: Caller, run: dict[str, Any], started: Claimed, endpoint: Speaker):
    """Between the states they happened in, the end last; every id goes on from where it stands."""
    endpoint.say("POST", "log", {"message": "one", "data": {"n": 1}}, status=204)
    endpoint.say("POST", "progress", {"percent": 50, "message": "half"}, status=204)
    endpoint.say("POST", "log", {"level": "warning", "message": "two"}, status=204)
    api.finish(started)
    whole = events_of(api, run, "1")
    assert [event for event, _, _ in whole] == ["status", "status", "log", "progress", "log", "attempt", "status"]
    assert [identity for _, identity, _ in whole] == ["2", "3", "3.1", "3.2", "3.3", "3.3", "4.3"]
    log, progress = whole[2][2], whole[3][2]
    assert {name: log[name] for name in ("run_id", "seq", "level", "message", "data", "attempt")} == {
        "run_id": run["id"],
        "seq": 1,
        "level": "info",
        "message": "one",
        "data": {"n": 1},
        "attempt": 1,
    }
    assert (progress["run_id"], progress["percent"], progress["message"]) == (run["id"], 50, "half")
    assert not any("status" in data for event, _, data in whole if event != "status")
    for last, rest in (("2", 1), ("3", 2), ("3.1", 3), ("3.2", 4), ("3.3", 5)):
        assert events_of(api, run, last) == whole[rest:]
    assert [event for event, _, _ in events_of(api, run, "4.3")] == ["snapshot"]


def test_an_end_among_many_lines_is_told(
    api: Caller, contract: Contract, run: dict[str, Any], started: Claimed, monkeypatch: pytest.MonkeyPatch
):
    """Of a run that was replayed: its first end too, for who missed more lines than one look reads."""
    monkeypatch.setattr(follow, "LINES", 3)
    with speaking(api, contract, started, run) as endpoint:
        for number in range(4):
            endpoint.say("POST", "log", {"message": f"first {number}"}, status=204)
    api.finish(started, Status.DEAD_LETTER)
    api.call("POST", f"/v1/runs/{run['id']}/replay")
    again = api.start(api.claim(run))
    with speaking(api, contract, again, run) as endpoint:
        for number in range(4):
            endpoint.say("POST", "log", {"message": f"second {number}"}, status=204)
    api.finish(again)
    told = events_of(api, run, "1")
    life = ["dequeued", "executing"]
    assert [data["status"] for event, _, data in told if event == "status"] == [
        *life,
        "dead_letter",
        "queued",
        *life,
        "completed",
    ]
    lines = [f"{word} {number}" for word in ("first", "second") for number in range(4)]
    assert [data["message"] for event, _, data in told if event == "log"] == lines


def test_more_lines_than_one_look_reads(api: Caller, run: dict[str, Any], started: Claimed, endpoint: Speaker):
    """The stream goes on until every line and then the end has been sent."""
    with ThreadPoolExecutor(16) as crowd:
        list(crowd.map(lambda n: endpoint.say("POST", "log", {"message": str(n)}, status=204), range(1_100)))
    api.finish(started)
    whole = events_of(api, run, "1")
    assert [data["seq"] for event, _, data in whole if event == "log"] == list(range(1, 1_101))
    assert [event for event, _, _ in whole][-2:] == ["attempt", "status"]
