"""Changes by webhook: signed batches in order, the same message at each attempt, through receivers that do not want it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from strait_core.address import CLOSED
from strait_core.store import changes, sinks
from strait_core.store.changes import StoredChange
from strait_core.wire.doctor import Verdict
from strait_daemon import checkup
from strait_daemon.exposition import Exposition
from strait_daemon.services.relay import BATCH, LEASE, LOOK_SECS, NotTakenError
from strait_daemon.services.webhook_sink import GONE_SECS, MOST_RETRY_AFTER_SECS, REFUSED_SECS
from strait_daemon.telemetry import Metrics
from tests.services.relaying import SECRET, Town, posting
from tests.services.stage import Stage
from tests.support.clock import START, VirtualClock
from tests.support.endpoint import Call, Endpoint


def verify(call: Call) -> None:
    """What a receiver does with the headers."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{wanted}"


def cursors(calls: list[Call]) -> list[str]:
    """The places of all changes that came, in the order in which they did."""
    return [one["cursor"] for call in calls for one in call.json["data"]["changes"]]


async def finding(town: Town) -> tuple[Verdict, str]:
    """What `strait doctor` says of the sink."""
    (found,) = await checkup.sink_findings(town.stage.scene.conn, town.stage.clock.now(), ["webhook"])
    return found.status, found.detail


async def test_batches_come_in_order_and_signed(stage: Stage, endpoint: Endpoint):
    """All changes from the beginning on, a page at a time, each message by the standard; metrics say how far it is."""
    town = await Town.of(stage)
    assert (await finding(town))[0] is Verdict.WARN
    async with posting(stage.clock, endpoint.url("/empty/changes")) as sink:
        relay = town.relay(sink)
        await relay.tick()
        await town.change(BATCH + 30)
        stage.later(seconds=70)
        assert await finding(town) == (Verdict.WARN, "70 s behind")
        text, _ = await Exposition(Metrics(), stage.pool, sinks=(stage.clock, ["webhook"]))()
        assert b'strait_changes_lag_seconds{sink="webhook"} 70.0' in text
        assert await relay.tick() == 0.0
        assert await relay.tick() == LOOK_SECS
        assert await relay.tick() == LOOK_SECS
        assert await finding(town) == (Verdict.PASS, "0 s behind")
    for call in endpoint.calls:
        verify(call)
        assert call.headers["Content-Type"] == "application/json"
        assert call.json["type"] == "changes"
    told = (await town.told())[1:]
    assert cursors(endpoint.calls) == [one.place.cursor for one in told]
    assert len({call.headers["webhook-id"] for call in endpoint.calls}) == len(endpoint.calls) == 2
    first: dict[str, Any] = endpoint.calls[0].json["data"]["changes"][0]
    assert (first["kind"], first["status"], first["seq"]) == ("run", "queued", 1)


async def test_places_that_hold_nothing_are_passed(stage: Stage, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    """Numbers that were taken by what was rolled back, more than one read passes: the relay goes on behind them."""
    town = await Town.of(stage)
    async with posting(stage.clock, endpoint.url("/empty/changes")) as sink:
        relay = town.relay(sink)
        await relay.tick()
        monkeypatch.setattr(changes, "READ_POSITIONS", 1)
        monkeypatch.setattr(changes, "READ_SECS", 0.0)
        await stage.scene.rows("SELECT nextval('strait.change_positions') FROM generate_series(1, 5)")
        await town.change(3)
        await town.drain(relay)
    assert cursors(endpoint.calls) == [one.place.cursor for one in (await town.told())[1:]]


async def test_an_attempt_in_vain_is_made_again(stage: Stage, endpoint: Endpoint):
    """The same message until it is accepted, ever later; another that begins alike has another id; nothing is left out."""
    town = await Town.of(stage)
    async with (
        posting(stage.clock, endpoint.url("/status/503")) as busy,
        posting(stage.clock, endpoint.url("/empty")) as well,
    ):
        relay, other = town.relay(busy), town.relay(well)
        await relay.tick()
        await town.change(3)
        await relay.tick()
        assert await other.tick() == LOOK_SECS
        stage.later(seconds=1)
        await relay.tick()
        assert len({(call.headers["webhook-id"], call.body) for call in endpoint.calls}) == 1
        assert (await finding(town))[0] is Verdict.WARN
        await town.change(4)
        stage.later(seconds=1)
        await town.drain(other)
        assert len(endpoint.calls) == 2
        stage.later(seconds=1)
        with capture_logs() as logs:
            await town.drain(other)
        assert [(line["event"], line["after_attempts"]) for line in logs] == [("changes_sent_again", 2)]
    *failed, accepted = endpoint.calls
    assert len(failed) == 2
    assert accepted.headers["webhook-id"] != failed[0].headers["webhook-id"]
    assert cursors([accepted]) == [one.place.cursor for one in (await town.told())[1:]]
    assert (await finding(town))[0] is Verdict.PASS


async def test_who_dies_behind_the_answer_sends_once_more(stage: Stage, endpoint: Endpoint):
    """The same message comes twice; its id tells."""
    town = await Town.of(stage)
    async with posting(stage.clock, endpoint.url("/empty")) as sink:
        relay, other = town.relay(sink), town.relay(sink)
        await relay.tick()
        await town.change(5)
        await sink.send((await town.told())[1:])
        stage.later(seconds=LEASE.total_seconds())
        await town.drain(other)
    one, again = endpoint.calls
    assert (one.headers["webhook-id"], one.body) == (again.headers["webhook-id"], again.body)


@pytest.mark.parametrize(
    ("path", "refused", "least", "words"),
    [
        ("/status/500", False, 0.0, "HTTP 500"),
        ("/status/429", False, 0.0, "HTTP 429"),
        ("/busy/90", False, 90.0, "HTTP 503"),
        ("/busy/999999", False, MOST_RETRY_AFTER_SECS, "HTTP 503"),
        ("/reset", False, 0.0, "connection error"),
        ("/status/400", True, REFUSED_SECS, "HTTP 400"),
        ("/redirect", True, REFUSED_SECS, "HTTP 302"),
        ("/status/410", True, GONE_SECS, "HTTP 410"),
    ],
)
async def test_what_a_receiver_may_answer(endpoint: Endpoint, path: str, least: float, words: str, *, refused: bool):
    """What passes by itself is tried again soon, or when the receiver says; what does not seldom."""
    one = StoredChange(1, 1, "run", UUID(int=1), UUID(int=2), "p", 1, 0, "queued", START)
    async with posting(VirtualClock(), endpoint.url(path)) as sink:
        with pytest.raises(NotTakenError, match=words) as caught:
            await sink.send([one])
    assert (caught.value.is_refused, caught.value.after_secs) == (refused, least)
    assert SECRET not in str(caught.value)


async def test_a_receiver_says_when(stage: Stage, endpoint: Endpoint):
    """Retry-After is honoured, by every process."""
    town = await Town.of(stage)
    async with posting(stage.clock, endpoint.url("/busy/90")) as sink:
        relay, other = town.relay(sink), town.relay(sink)
        await relay.tick()
        await town.change(1)
        with capture_logs() as logs:
            await relay.tick()
        assert [line["next_secs"] for line in logs] == [90.0]
        assert SECRET not in str(logs)
        stage.later(seconds=89)
        assert [await one.tick() for one in (relay, other)] == [LOOK_SECS, LOOK_SECS]
        assert len(endpoint.calls) == 1
        stage.later(seconds=1)
        await other.tick()
        assert len(endpoint.calls) == 2


async def test_an_address_that_is_not_public_is_not_called(stage: Stage, endpoint: Endpoint):
    """The guard stands before this webhook too: the checkup says that it is refused."""
    town = await Town.of(stage)
    async with posting(stage.clock, endpoint.url("/empty"), CLOSED) as sink:
        relay = town.relay(sink)
        await relay.tick()
        await town.change(1)
        await relay.tick()
    assert endpoint.calls == []
    status, said = await finding(town)
    assert status is Verdict.FAIL
    assert "ssrf error" in said
    (standing,) = await sinks.standing(stage.scene.conn, ["webhook"])
    assert standing.moved_at is None
