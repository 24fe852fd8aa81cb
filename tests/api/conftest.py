"""A module's API server and a client whose every answer is held against the OpenAPI document."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import httpx
import pytest

from strait_daemon.embedded import PostgresServer
from tests.api.caller import Caller
from tests.api.contract import Contract
from tests.api.server import AUTH, Server, serving
from tests.support.plain import NO_TLS
from tests.support.postgres import create_database, drop_database, unique_name

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer, migrated_template: str) -> Iterator[Server]:
    """The API server of the module, on a database of its own: what one module leaves queued is in no other's way."""
    name = unique_name()
    with serving(create_database(postgres_server, name, migrated_template)) as running:
        yield running
    drop_database(postgres_server, name)


@pytest.fixture(scope="module")
def contract(server: Server) -> Contract:
    """The document that the server serves."""
    return Contract(httpx.get(f"{server.url}/openapi.json", trust_env=False, verify=NO_TLS).json())


@pytest.fixture
def anyone(server: Server, contract: Contract) -> Iterator[httpx.Client]:
    """A client without a credential."""
    with server.client(event_hooks={"response": [contract.check]}) as client:
        yield client


@pytest.fixture
def api(server: Server, contract: Contract) -> Iterator[Caller]:
    """A caller with the credential, in a project of the test's own."""
    with server.client(headers=AUTH, event_hooks={"response": [contract.check]}) as client:
        yield Caller(client, server, f"p{next(_numbers)}")
