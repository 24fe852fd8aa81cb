"""Changes into a Redis stream: once each, in order, through a Redis that goes away and relays that die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from structlog.testing import capture_logs

from strait_core.store import changes, sinks
from strait_core.store.changes import StoredChange
from strait_core.wire.changes import Change
from strait_daemon.embedded import ValkeyServer
from strait_daemon.services import redis_sink
from strait_daemon.services.redis_sink import RedisSink
from strait_daemon.services.relay import LEASE, LOOK_SECS, NotTakenError, Relay
from tests.services.relaying import Town
from tests.services.stage import Stage
from tests.support.proxy import proxying


class Stream:
    """A stream of the test's own, seen from the consumer's side."""

    def __init__(self, server: ValkeyServer) -> None:
        self.url = server.url
        self.name = f"changes-{uuid4().hex}"
        self.redis: Redis = Redis.from_url(server.url)

    def sink(self, url: str | None = None) -> RedisSink:
        return RedisSink(url or self.url, self.name)

    async def entries(self) -> list[tuple[str, Change]]:
        """What is there: ids and changes."""
        rows: Any = await self.redis.xrange(self.name)
        return [(at.decode(), msgspec.json.decode(fields[b"change"], type=Change)) for at, fields in rows]


@pytest_asyncio.fixture
async def stream(valkey_server: ValkeyServer) -> AsyncIterator[Stream]:
    """A stream that nobody has written to."""
    made = Stream(valkey_server)
    yield made
    await made.redis.delete(made.name)
    await made.redis.aclose()


def entries_of(told: list[StoredChange]) -> list[tuple[str, Change]]:
    """What a stream should hold of these changes."""
    return [(f"{one.position}-{one.entry}", one.shown) for one in told]


async def test_a_stream_tells_what_the_feed_tells(stage: Stage, stream: Stream):
    """From the moment it is set up: each change once, its place as the id; nothing is sent twice."""
    town = await Town.of(stage)
    before = len(await town.told())
    relay = town.relay(stream.sink())
    assert await relay.tick() == LOOK_SECS
    await town.change(250)
    await town.drain(relay)
    await town.drain(relay)
    assert await stream.entries() == entries_of((await town.told())[before:])
    await relay.leave()


async def test_what_was_added_and_not_noted_is_not_added_again(stage: Stage, stream: Stream):
    """A relay dies between the two, or its connection does: the next one sends the batch again, and Redis knows it."""
    town = await Town.of(stage)
    first, second = town.relay(stream.sink()), town.relay(stream.sink())
    await first.tick()
    await town.change(30)
    batch = (await town.told())[1:]
    await first.sink.send(batch[:20])
    await stream.redis.xdel(stream.name, f"{batch[3].position}-{batch[3].entry}")
    stage.later(seconds=LEASE.total_seconds())
    await town.change(3)
    await town.drain(second)
    wanted = entries_of((await town.told())[1:])
    del wanted[3]
    assert await stream.entries() == wanted
    assert await first.tick() == LOOK_SECS
    for relay in town.relays:
        await relay.leave()


async def test_redis_goes_away_and_comes_back(stage: Stage, valkey_server: ValkeyServer, stream: Stream):
    """No tick fails; each attempt comes later than the one before, up to ten seconds; then all that was missed is there."""
    town = await Town.of(stage)
    async with proxying(
        "127.0.0.1", valkey_server.port, valkey_server.url.replace(str(valkey_server.port), "{port}")
    ) as way:
        relay = town.relay(stream.sink(way.url))
        await relay.tick()
        way.refuse()
        pauses: list[float] = []
        with capture_logs() as logs:
            while len(pauses) < 6:
                await town.change(40)
                await relay.tick()
                said = [line["next_secs"] for line in logs if line["event"] == "changes_not_sent"]
                pauses = said
                stage.later(seconds=pauses[-1] if pauses else 0)
        assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
        (standing,) = await sinks.standing(stage.scene.conn, ["redis"])
        assert standing.failing_since is not None
        assert not standing.is_refused
        assert valkey_server.url.split("@")[0].rpartition(":")[2] not in f"{logs}{standing.error}"
        way.refuse(False)
        await town.drain(relay)
        assert await stream.entries() == entries_of((await town.told())[1:])
        (standing,) = await sinks.standing(stage.scene.conn, ["redis"])
        assert (standing.failing_since, standing.error, standing.waiting_since) == (None, None, None)
        await relay.leave()


async def test_one_relay_at_a_time(stage: Stage, stream: Stream):
    """Of two, one sends; the other takes over when the first leaves, or has not been heard of for a while."""
    town = await Town.of(stage)
    one, other, third = (town.relay(stream.sink()) for _ in range(3))
    await one.tick()

    async def sends(relay: Relay) -> bool:
        count = len(await stream.entries())
        await town.change(1)
        await relay.tick()
        return len(await stream.entries()) > count

    assert not await sends(other)
    assert await sends(one)
    await one.leave()
    assert await sends(other)
    assert not await sends(third)
    stage.later(seconds=LEASE.total_seconds() - 1)
    assert not await sends(third)
    stage.later(seconds=1)
    assert await sends(third)
    assert not await sends(other)
    await town.drain(third)
    assert await stream.entries() == entries_of((await town.told())[1:])
    for relay in (other, third):
        await relay.leave()


async def test_two_processes_and_a_busy_feed(stage: Stage, stream: Stream):
    """Both tick all the time, and one is stopped in the middle of its ticks: no gap, no repeat, in order."""
    town = await Town.of(stage)
    one, other = town.relay(stream.sink()), town.relay(stream.sink())
    await one.tick()
    done = asyncio.Event()

    async def ticking(relay: Relay) -> None:
        while not done.is_set():
            await relay.tick()
            await asyncio.sleep(0)

    for turn in range(6):
        tasks = [asyncio.create_task(ticking(relay)) for relay in (one, other)]
        await town.change(100)
        await asyncio.sleep(0.002 * turn)
        tasks[turn % 2].cancel()
        done.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        done.clear()
        stage.later(seconds=LEASE.total_seconds())
    for relay in (one, other, one):
        await town.drain(relay)
        await relay.leave()
    assert await stream.entries() == entries_of((await town.told())[1:])


async def test_a_stream_of_another_feed_is_left_alone(stage: Stage, stream: Stream, monkeypatch: pytest.MonkeyPatch):
    """Ids that stand there already with something else, or above: refused in words, and nothing is lost in silence."""
    town = await Town.of(stage)
    relay = town.relay(stream.sink())
    await relay.tick()
    await town.change(3)
    last = (await town.told())[-1]
    for top in (f"{last.position}-2", f"{last.position + 1}-1"):
        await stream.redis.xadd(stream.name, {"change": "{}"}, id=top)
        await relay.tick()
        (standing,) = await sinks.standing(stage.scene.conn, ["redis"])
        assert standing.is_refused
        assert "holds other entries" in str(standing.error)
        assert await stream.redis.xlen(stream.name) == 1
        await stream.redis.delete(stream.name)
        stage.later(seconds=10)
    await stream.redis.set(stream.name, "no stream")
    with pytest.raises(NotTakenError, match="WRONGTYPE") as caught:
        await relay.sink.send([last])
    assert caught.value.is_refused
    await stream.redis.delete(stream.name)
    await town.drain(relay)
    assert len(await stream.entries()) == 3
    monkeypatch.setattr(redis_sink, "MOST_ENTRIES", 100)
    await town.change(400)
    await town.drain(relay)
    assert 100 <= len(await stream.entries()) < 300
    await relay.leave()


async def test_what_is_not_kept_any_more_is_given_up_once(stage: Stage, valkey_server: ValkeyServer, stream: Stream):
    """Away for longer than a day: said once, though hour after hour goes; then it sends what there is."""
    town = await Town.of(stage)
    async with proxying(
        "127.0.0.1", valkey_server.port, valkey_server.url.replace(str(valkey_server.port), "{port}")
    ) as way:
        relay = town.relay(stream.sink(way.url))
        await relay.tick()
        way.refuse()
        with capture_logs() as logs:
            for _ in range(3):
                await town.change(5)
                stage.later(hours=13)
                await changes.drop_before(stage.scene.conn, stage.scene.now - changes.KEPT)
                await town.drain(relay)
        assert [line["sink"] for line in logs if line["event"] == "changes_lost"] == ["redis"]
        (standing,) = await sinks.standing(stage.scene.conn, ["redis"])
        assert standing.lost_at is not None
        way.refuse(False)
        stage.later(seconds=10)
        await town.drain(relay)
        kept = await changes.page(stage.scene.conn, changes.START, 100)
        assert await stream.entries() == entries_of(kept)
        (standing,) = await sinks.standing(stage.scene.conn, ["redis"])
        assert standing.lost_at is None
        await relay.leave()
