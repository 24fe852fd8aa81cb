"""The guard in front of everything that leaves: with a name server that lies, real connections, and real runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import aiohttp.connector
import pytest
import pytest_asyncio
from aiohttp import web
from multidict import CIMultiDict

from strait_core.address import CLOSED, Openings, read_openings
from strait_core.run import Status
from strait_daemon.egress.client import EgressClient, EgressError, Timing
from strait_daemon.egress.guard import SAVE_SECS, Guard, Refused
from tests.support.certificate import self_signed
from tests.support.endpoint import Endpoint
from tests.support.hostile_urls import HOSTILE, PUBLIC
from tests.support.nameserver import NameServer, serving_names
from tests.support.rig import Rig, running

# Stands for a public address here; 127.0.0.1 is then what nobody may call.
OPEN = "127.0.0.5"
OPENINGS = read_openings(OPEN)


@pytest_asyncio.fixture
async def names() -> AsyncIterator[NameServer]:
    """A name server of the test's own."""
    async with serving_names() as server:
        yield server


@asynccontextmanager
async def listening(host: str = OPEN, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """A web server on that address: its port, and the Host of every request that reached it."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.host)
        return web.Response(text="{}", status=302, headers={"Location": f"http://127.0.0.1:{request.url.port}/"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        await runner.cleanup()


async def call(guard: Guard, *urls: str) -> list[int | str]:
    """POST to each URL in turn with one client: the status, or the class of the error."""
    client = EgressClient(guard)
    found: list[int | str] = []
    for url in urls:
        try:
            answer = await client.post(guard.prepared(url), CIMultiDict(), b"{}", Timing(monotonic()))
            found.append(answer.status)
        except EgressError as error:
            found.append(error.kind)
        except Refused:
            found.append("refused")
    await client.close()
    return found


async def test_no_hostile_url_is_saved_or_called():
    """The corpus against the guard: refused when saved, when prepared, and without a single look-up."""
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"]

    guard = Guard(CLOSED, lookup)
    for url in HOSTILE:
        assert await guard.refusal(url), url
        with pytest.raises(Refused):
            guard.prepared(url)
    assert asked == []
    for url, host in PUBLIC.items():
        assert await guard.refusal(url) is None, url
        assert guard.prepared(url).raw_host == host


async def test_a_client_refuses_a_literal_that_nobody_looked_at():
    """An address that comes to the client by a way around every other check is refused when its socket is made."""
    from yarl import URL

    client = EgressClient(Guard(CLOSED))
    for url in ("http://127.0.0.1:9/", "http://[::1]:9/", "http://[::ffff:127.0.0.1]:9/", "http://localhost:9/"):
        with pytest.raises(EgressError) as error:
            await client.post(URL(url), CIMultiDict(), b"", Timing(monotonic()))
        assert error.value.kind == "ssrf"
    await client.close()


async def test_a_name_is_refused_when_any_of_its_addresses_is_not_public(names: NameServer):
    """One private address among public ones is enough, in either family, at save and at dial."""
    guard = Guard(OPENINGS, names.lookup)
    for bad in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::a00:1"):
        names.names["mixed.example"] = [("8.8.8.8", OPEN, bad, "2606:4700::1111")]
        assert "not a public address" in (await guard.refusal("http://mixed.example/") or "")
        assert await call(guard, "http://mixed.example/") == ["ssrf"]


async def test_a_name_that_is_rebound_reaches_nothing(names: NameServer):
    """Public when it is saved, private when it is dialed: the request is refused, whatever comes after."""
    async with listening("127.0.0.1") as (port, seen):
        guard = Guard(OPENINGS, names.lookup)
        names.names["rebound.example"] = [(OPEN,), ("127.0.0.1",)]
        url = f"http://rebound.example:{port}/"
        assert await guard.refusal(url) is None
        assert await call(guard, url, url) == ["ssrf", "ssrf"]
        assert seen == []


async def test_the_connection_goes_to_the_address_that_was_checked(names: NameServer):
    """One look-up for a connection: a server that answers otherwise the next time is not asked a next time."""
    async with listening() as (port, seen):
        guard = Guard(OPENINGS, names.lookup)
        names.names["flipping.example"] = [(OPEN,), ("127.0.0.1",)]
        url = f"http://flipping.example:{port}/"
        assert await call(guard, url, url, url) == [302, 302, 302]
        assert names.asked["flipping.example"] == 1
        assert seen == [f"flipping.example:{port}"] * 3


async def test_a_name_is_resolved_anew_for_a_new_connection(names: NameServer, monkeypatch: pytest.MonkeyPatch):
    """Without the connection and past the seconds that an answer is kept, the name is looked at again."""
    async with listening() as (port, seen):
        guard = Guard(OPENINGS, names.lookup)
        names.names["later.example"] = [(OPEN,), ("127.0.0.1",)]
        client = EgressClient(guard)
        url = guard.prepared(f"http://later.example:{port}/")
        assert (await client.post(url, CIMultiDict(Connection="close"), b"{}", Timing(monotonic()))).status == 302
        connector = client._session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        connector.clear_dns_cache()
        with pytest.raises(EgressError, match=r"later.example resolves to 127.0.0.1"):
            await client.post(url, CIMultiDict(), b"{}", Timing(monotonic()))
        await client.close()
        assert len(seen) == 1


async def test_a_name_without_an_answer_is_saved_and_not_called(names: NameServer):
    """No answer at save is no refusal, and at dial an error of the name; a server that is silent costs a second."""
    guard = Guard(OPENINGS, names.lookup)
    names.silent.add("silent.example")
    began = monotonic()
    assert await guard.refusal("http://silent.example/") is None
    assert SAVE_SECS <= monotonic() - began < SAVE_SECS + 2
    assert await guard.refusal("http://nowhere.example/") is None
    assert await call(guard, "http://nowhere.example/") == ["dns"]


async def test_tls_is_verified_against_the_name(names: NameServer, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """The connection goes to an address, the certificate must be for the name."""
    path = self_signed(tmp_path, "right.example")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    trusting = ssl.create_default_context(cafile=str(path))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    async with listening(context=served) as (port, seen):
        guard = Guard(OPENINGS, names.lookup)
        names.names |= {"right.example": [(OPEN,)], "wrong.example": [(OPEN,)]}
        urls = [f"https://{host}:{port}/" for host in ("right.example", "RIGHT.example.", "wrong.example", OPEN)]
        assert await call(guard, *urls) == [302, 302, "tls", "tls"]
        assert seen == [f"right.example:{port}"] * 2


@pytest.mark.parametrize(
    ("openings", "expected"),
    [(CLOSED, Status.FAILED), (OPENINGS, Status.FAILED), (Openings(private=True), Status.COMPLETED)],
    ids=["closed", "another address", "open"],
)
async def test_a_run_whose_endpoint_is_refused_fails_at_once(
    migrated: str, endpoint: Endpoint, openings: Openings, expected: Status
):
    """One attempt, class ssrf, no retry, and not a byte at the endpoint."""
    async with running(migrated, ALLOW_PRIVATE_ENDPOINTS=openings) as rig:
        job = await rig.job(endpoint.url(), max_attempts=3)
        (run_id,) = await rig.add(job)
        run = await rig.wait(run_id)
        assert run["status"] == expected
        assert len(endpoint.calls) == (expected is Status.COMPLETED)
        (attempt,) = await rig.attempts(run_id)
        if expected is Status.FAILED:
            assert (run["error_class"], run["attempt"], attempt["outcome"]) == ("ssrf", 1, "failed")
            assert "127.0.0.1" in run["error"]


async def test_a_run_whose_endpoint_was_rebound_fails_at_once(migrated: str, endpoint: Endpoint, names: NameServer):
    """The name was public when the job was saved; the worker asks again, and the run fails."""
    names.names["rebound.example"] = [("8.8.8.8",), ("127.0.0.1",)]
    async with running(migrated, ALLOW_PRIVATE_ENDPOINTS=CLOSED) as rig:
        rig.parts.guard._lookup = names.lookup
        url = f"http://rebound.example:{endpoint.port}/ok"
        assert await rig.parts.guard.refusal(url) is None
        run = await finished(rig, url)
        assert (run["status"], run["error_class"]) == (Status.FAILED, "ssrf")
        assert endpoint.calls == []


async def finished(rig: Rig, url: str) -> dict[str, Any]:
    """The end of one run of a job with that endpoint."""
    (run_id,) = await rig.add(await rig.job(url))
    return await rig.wait(run_id)


async def test_slow_names_hold_up_nobody(names: NameServer, migrated: str, endpoint: Endpoint):
    """While a name server keeps one endpoint's look-ups waiting, runs of others go on."""
    names.silent.add("silent.example")
    async with running(migrated) as rig:
        rig.parts.guard._lookup = names.lookup
        await rig.add(await rig.job("http://silent.example/", slug="silent", timeout_secs=1, max_attempts=1), 20)
        began = asyncio.get_running_loop().time()
        run = await finished(rig, endpoint.url())
        assert run["status"] == Status.COMPLETED
        assert asyncio.get_running_loop().time() - began < 1
        await rig.wait_all()
