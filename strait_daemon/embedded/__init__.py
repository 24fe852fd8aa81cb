"""Bundled servers: our own launcher over PostgreSQL and Valkey binaries, so that `dev`, `demo` and the tests need none.

Everything here is synchronous; asyncio callers use a thread. Nothing here knows what the servers are used for.
"""

from __future__ import annotations

from strait_daemon.embedded.binaries import PostgresBinaries, Source, find_postgres, find_valkey
from strait_daemon.embedded.cluster import default_data_dir, reset
from strait_daemon.embedded.faults import EmbeddedError, ServerInUseError
from strait_daemon.embedded.identity import Account, Identity, Namespace, Plain
from strait_daemon.embedded.postgres import PostgresServer
from strait_daemon.embedded.valkey import ValkeyServer

__all__ = [
    "Account",
    "EmbeddedError",
    "Identity",
    "Namespace",
    "Plain",
    "PostgresBinaries",
    "PostgresServer",
    "ServerInUseError",
    "Source",
    "ValkeyServer",
    "default_data_dir",
    "find_postgres",
    "find_valkey",
    "reset",
]
