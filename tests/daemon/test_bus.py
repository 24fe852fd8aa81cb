"""Live signals between processes, over PostgreSQL and over Valkey: fast when all is well, silent never for good."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from strait_core.store import pool
from strait_daemon.bus import IDS_PER_MESSAGE, MOST_GATHERED, SHARE_SECS, Bus, Everything
from strait_daemon.embedded import ValkeyServer
from strait_daemon.embedded.binaries import find_valkey
from strait_daemon.line import Line
from strait_daemon.transports import CHANNEL
from strait_daemon.transports.postgresql import PostgresTransport
from strait_daemon.transports.redis import RedisTransport, clients_at
from tests.support.daemon import end, free_port, spawn
from tests.support.proxy import Proxy, proxying
from tests.support.rig import eventually, proxied


class Ear:
    """A bus, and what it has heard."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.wakes = 0
        self.taken: list[UUID] = []
        # What it was told of lanes, message by message, and whether it has room for what waits there.
        self.freed: list[list[int]] = []
        self.room = False
        bus.on_wake(self._woken)
        bus.on_freed(self._freed)
        bus.on_taken(self.taken.extend)
        bus.start()

    def _woken(self) -> None:
        self.wakes += 1

    def _freed(self, lanes: list[int]) -> bool:
        self.freed.append(lanes)
        return self.room


def postgres(url: str) -> Bus:
    """A bus over LISTEN and NOTIFY."""
    return Bus(PostgresTransport(Line(url, pooled=False), Line(url, pooled=False)))


@pytest.fixture(params=["postgresql", "valkey"])
def make(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    """Makes buses that hear each other."""
    if request.param == "postgresql":
        url = request.getfixturevalue("migrated")
        return lambda: postgres(url)
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    return lambda: Bus(RedisTransport(server.url))


@pytest.fixture
def sentinel_url(valkey_server: ValkeyServer, tmp_path: Path) -> Iterator[str]:
    """The URL of a sentinel that watches over the session's server."""
    port, server = free_port(), urlsplit(valkey_server.url)
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {server.port} 1\n"
        f"sentinel auth-pass main {server.password}\n"
    )
    with spawn([str(find_valkey()), str(settings), "--sentinel"], {}, tmp_path / "log") as process:
        yield f"redis+sentinel://:{server.password}@127.0.0.1:{port}/main/0"
        end(process)


async def test_sentinels_name_the_server(sentinel_url: str, valkey_server: ValkeyServer) -> None:
    """A bus that asks sentinels and one that knows the server hear each other."""
    async with hearing(
        lambda: Bus(RedisTransport(sentinel_url)), lambda: Bus(RedisTransport(valkey_server.url))
    ) as made:
        far, near = made
        run = uuid4()
        near.bus.runs_taken([run])
        await eventually(lambda: run in far.taken, 10)


def test_urls_of_servers_and_sentinels() -> None:
    """TLS, several sentinels, names and passwords that are escaped, the usual service and port."""
    plain, secure = clients_at("redis://:x@h:1/2")[0], clients_at("rediss://h")[0]
    assert plain.connection_pool.connection_kwargs["db"] == 2
    assert secure.connection_pool.connection_class is SSLConnection
    master, *sentinels = clients_at("rediss+sentinel://u:p%40@a,b:7/first/3?sentinel_password=s")
    kwargs = master.connection_pool.connection_kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["db"]) == ("u", "p@", 3)
    assert isinstance(master.connection_pool, SentinelConnectionPool)
    assert (master.connection_pool.service_name, master.connection_pool.is_master) == ("first", True)
    asked = [one.connection_pool.connection_kwargs for one in sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in asked] == [("a", 26_379, "s"), ("b", 7, "s")]
    assert all(one.connection_pool.connection_class is SSLConnection for one in sentinels)
    usual = clients_at("redis+sentinel://a")[0].connection_pool
    assert isinstance(usual, SentinelConnectionPool)
    assert usual.service_name == "mymaster"


@pytest_asyncio.fixture
async def ears(make: Callable[[], Bus]) -> AsyncIterator[list[Ear]]:
    """Three processes that know of each other."""
    async with hearing(make, make, make) as made:
        yield made


@asynccontextmanager
async def hearing(*makers: Callable[[], Bus]) -> AsyncIterator[list[Ear]]:
    """Buses that have found each other."""
    ears = [Ear(make()) for make in makers]
    try:
        await eventually(lambda: all(len(ear.bus._peers) >= len(ears) - 1 for ear in ears), 10)
        yield ears
    finally:
        for ear in ears:
            await ear.bus.stop()


async def test_a_wake_reaches_every_process(ears: list[Ear]) -> None:
    """And its own at once, without the way around."""
    before = [ear.wakes for ear in ears]
    ears[0].bus.wake()
    assert ears[0].wakes == before[0] + 1
    await eventually(lambda: all(ear.wakes > was for ear, was in zip(ears, before, strict=True)), 5)


async def test_who_takes_freed_slots_itself_tells_the_others_later_and_at_once(ears: list[Ear]) -> None:
    """A message for each slot would cost every process a claim that finds it taken. Who has no room says so at once."""
    speaker, *listeners = ears
    speaker.room = True
    began, lanes = monotonic(), list(range(1, 11))
    for lane in lanes:
        speaker.bus.freed([lane])
        await asyncio.sleep(0.001)
    assert speaker.freed == [[lane] for lane in lanes]
    await eventually(lambda: [list(chain(*ear.freed)) for ear in listeners] == [lanes] * 2)
    # One by the time it took, and one that may have gone with a greeting.
    most = 2 + (monotonic() - began) / SHARE_SECS
    assert all(len(ear.freed) <= most for ear in listeners)
    speaker.room = False
    speaker.bus.freed([11])
    assert speaker.bus._kick.is_set()
    await eventually(lambda: [ear.freed[-1] for ear in listeners] == [[11]] * 2)


async def test_a_cancel_reaches_the_worker_that_holds_the_run(ears: list[Ear]) -> None:
    """Many more ids than fit into one message arrive whole, once, and in order."""
    ids = [uuid4() for _ in range(3 * IDS_PER_MESSAGE + 1)]
    ears[1].bus.runs_taken(ids)
    assert ears[1].taken == ids
    await eventually(lambda: len(ears[0].taken) >= len(ids) and len(ears[2].taken) >= len(ids), 5)
    assert ears[0].taken == ears[2].taken == ids


async def test_an_ear_hears_of_every_run_from_any_process(ears: list[Ear]) -> None:
    """Runs that are new and runs that moved, here and elsewhere; nobody is told of new ones without an ear."""
    unheard, made, moved, near = (uuid4() for _ in range(4))
    ears[1].bus.runs_made([unheard])
    with ears[0].bus.watch_all() as everything:
        await eventually(lambda: any(feeding for _, _, feeding in ears[1].bus._peers.values()), 5)
        ears[1].bus.runs_made([made])
        ears[2].bus.runs_changed([moved])
        ears[0].bus.runs_made([near])
        heard: list[UUID] = []

        def all_heard() -> bool:
            heard.extend(everything.take())
            return {made, moved, near} <= set(heard)

        await eventually(all_heard, 5)
        assert unheard not in heard
    ears[1].bus.runs_changed([made])
    assert everything.take() == []


async def test_an_ear_keeps_so_many_and_no_more() -> None:
    """Of more runs than it can keep it only says that there are some."""
    ear = Everything()
    ear.add([uuid4() for _ in range(MOST_GATHERED)])
    ear.add([uuid4()])
    assert len(ear.take()) == MOST_GATHERED
    assert not ear.moved.is_set()


async def test_a_watcher_hears_of_its_run_from_any_process(ears: list[Ear]) -> None:
    """Only the event of the run that moved is set; nothing is kept for it once nobody watches."""
    mine, other = uuid4(), uuid4()
    with ears[0].bus.watch(mine) as event, ears[0].bus.watch(mine) as twin, ears[0].bus.watch(other) as silent:
        await eventually(lambda: any(watching for _, watching, _ in ears[1].bus._peers.values()), 5)
        for each in (event, twin, silent):
            each.clear()
        ears[1].bus.runs_changed([uuid4(), mine])
        await asyncio.wait_for(asyncio.gather(event.wait(), twin.wait()), 5)
        assert not silent.is_set()
        event.clear()
        ears[0].bus.runs_changed([mine])
        assert event.is_set()
    assert ears[0].bus._watchers == {}


async def test_a_hundred_rounds_lose_nothing(ears: list[Ear]) -> None:
    """In good weather every single signal arrives: a lost one would cost a poll each time."""
    for _ in range(100):
        run_id = uuid4()
        speaker, *listeners = random.sample(ears, 3)
        speaker.bus.runs_taken([run_id])
        await eventually(lambda run_id=run_id, heard=listeners: all(run_id in ear.taken for ear in heard), 2)  # type: ignore[misc]


JUNK: list[Any] = [
    b"\xff\xfe\x00",
    "no JSON",
    "[]",
    "null",
    "{}",
    '{"sender": 1}',
    '{"sender": "x", "changed": ["!!!"], "taken": ["short"]}',
    '{"sender": "x", "taken": ["' + "\u00e9" * 22 + '"]}',
    '{"sender": "x", "hello": true, "unknown": {"a": [1]}}',
]


async def test_junk_on_the_channel_stops_nobody(ears: list[Ear], make: Callable[[], Bus], request: Any) -> None:
    """Whatever anybody else publishes there, the next signal is heard."""
    with ears[0].bus.watch(uuid4()):
        if "valkey" in request.node.name:
            redis = Redis.from_url(request.getfixturevalue("valkey_server").url)
            for text in JUNK:
                await redis.publish(CHANNEL, text)
            await redis.aclose()
        else:
            conn = await pool.connect(request.getfixturevalue("migrated"))
            for text in JUNK[1:]:
                await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, text))
            await conn.close()
        run_id = uuid4()
        ears[1].bus.runs_taken([run_id])
        await eventually(lambda: run_id in ears[0].taken and run_id in ears[2].taken, 5)


@asynccontextmanager
async def proxied_valkey(server: ValkeyServer) -> AsyncIterator[Proxy]:
    """A proxy in front of the session's Valkey."""
    head, _, rest = server.url.rpartition("127.0.0.1:")
    port, _, database = rest.partition("/")
    async with proxying("127.0.0.1", int(port), f"{head}127.0.0.1:{{port}}/{database}") as proxy:
        yield proxy


@pytest.mark.parametrize("kind", ["postgresql", "valkey"])
@pytest.mark.parametrize("fault", ["cut", "refuse"])
async def test_a_lost_connection_is_made_again(kind: str, fault: str, request: Any) -> None:
    """After the fault everybody is told to look again, and signals flow in both directions."""
    async with AsyncExitStack() as stack:
        if kind == "postgresql":
            url = request.getfixturevalue("migrated")
            proxy = await stack.enter_async_context(proxied(url))
            makers = [lambda: postgres(proxy.url), lambda: postgres(url)]
        else:
            server = request.getfixturevalue("valkey_server")
            proxy = await stack.enter_async_context(proxied_valkey(server))
            makers = [lambda: Bus(RedisTransport(proxy.url)), lambda: Bus(RedisTransport(server.url))]
        far, near = await stack.enter_async_context(hearing(*makers))
        wakes = far.wakes
        with far.bus.watch(uuid4()) as event:
            event.clear()
            getattr(proxy, fault)()
            near.bus.runs_taken([uuid4()])
            proxy.refuse(False)
            await asyncio.wait_for(event.wait(), 10)
            assert far.wakes > wakes

        def flows(speaker: Ear, listener: Ear) -> Callable[[], bool]:
            def spoken() -> bool:
                speaker.bus.runs_taken([UUID(int=7)])
                return UUID(int=7) in listener.taken

            return spoken

        await eventually(flows(near, far), 10)
        await eventually(flows(far, near), 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "valkey"])
async def test_a_frozen_listener_finds_out(kind: str, request: Any) -> None:
    """Half-open: the connection that listens looks alive and says nothing. It is given up and made again."""
    async with AsyncExitStack() as stack:
        if kind == "postgresql":
            url = request.getfixturevalue("migrated")
            proxy = await stack.enter_async_context(proxied(url))
            makers = [
                lambda: Bus(PostgresTransport(Line(url, pooled=False), Line(proxy.url, pooled=False))),
                lambda: postgres(url),
            ]
        else:
            server = request.getfixturevalue("valkey_server")
            proxy = await stack.enter_async_context(proxied_valkey(server))
            makers = [lambda: Bus(RedisTransport(proxy.url)), lambda: Bus(RedisTransport(server.url))]
        far, near = await stack.enter_async_context(hearing(*makers))
        seen = proxy.connections
        proxy.freeze()
        await eventually(lambda: proxy.connections > seen, 30, "nobody noticed")
        proxy.thaw()
        run_id = uuid4()

        def heard() -> bool:
            near.bus.runs_taken([run_id])
            return run_id in far.taken

        await eventually(heard, 20)
        assert far.taken


async def test_a_dead_transport_holds_up_nobody(migrated: str) -> None:
    """Signals into the void return at once and pile up nowhere; stopping takes no longer than a moment."""
    async with proxied(migrated) as proxy, hearing(lambda: postgres(proxy.url), lambda: postgres(migrated)) as ears:
        proxy.freeze()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(1_000):
            ears[0].bus.wake()
            ears[0].bus.runs_changed([uuid4() for _ in range(10)])
        assert loop.time() - began < 1
        began = loop.time()
        await ears[0].bus.stop()
        assert loop.time() - began < 5
