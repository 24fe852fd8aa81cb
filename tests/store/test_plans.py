"""What runs on pinned plans finds its rows by key: a plan that scans a table would be kept for the life of a connection."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
import pytest

from strait_core.store import pool
from strait_core.store.sql import load
from strait_daemon.embedded import PostgresServer
from tests.store.scene import Scene
from tests.support.postgres import create_database, drop_database, unique_name

# What is sent over connections of its own (`line.Line`), and by services that pin their transactions.
PINNED: Final[Mapping[str, tuple[str, ...]]] = {
    "queue": tuple(load("queue")),
    "completions": ("ended_runs",),
    "deadlines": ("watch", "note_successes", "expect", "expect_nothing"),
    "events": ("hold", "receive", "look_at_steps"),
    "jobs": ("definitions", "job_by_id", "jobs_by_slug"),
    "limits": tuple(name for name in load("limits") if name not in {"unpark_job", "idle_keys", "close_ranks"}),
    "parking": ("lock_tied", "untie", "tie_again", "park_if_held"),
    "rates": tuple(name for name in load("rates") if name != "refit"),
    "runs": ("lock_entries", "end_active", "drop_entries", "still_held"),
    "schedules": ("take_due", "active_ticks", "active_flows", "note_fires", "advance"),
    "sdk": ("checkpoints",),
    "waits": tuple(name for name in load("waits") if name != "waits_of_run"),
    "webhooks": ("note_ended",),
    "workflows": ("specs", "workflow_by_id", "workflows_by_id", "workflows_by_slug"),
    "workflow_runs": (
        "hold", "hold_free", "active_runs", "read_outputs", "read_payload", "read_fault", "put_steps", "move_run",
        "end_run", "close_approvals",
    ),
}  # fmt: skip
# Tables that are empty one minute and full the next: what is planned in between must be good for both. The others fill up
# once, and the next analyze makes every kept plan anew.
OFTEN_EMPTY: Final = frozenset({"runs", "ready", "due", "parked", "workflow_runs", "workflow_steps"})
# Tables that stay small: one row for each endpoint that has failed lately.
SMALL: Final = frozenset({"breakers"})
FIRST_COLUMNS: Final = """
SELECT x.relname, a.attname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_attribute a ON a.attrelid = x.oid AND a.attnum = 1
WHERE c.relname = ANY(%s) AND c.relnamespace = 'strait'::regnamespace"""
_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)[sbt]")


def numbered(statement: bytes) -> str:
    """The statement with `$1` in place of its first parameter, and so on."""
    names: dict[str, str] = {}
    text = _PLACEHOLDER.sub(lambda found: names.setdefault(found[1], f"${len(names) + 1}"), statement.decode())
    return text.replace("%%", "%")


def scans(node: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Tables that a plan reads from end to end; one that gives its first entries only is not."""
    table = node.get("Relation Name")
    whole = node["Node Type"] == "Seq Scan" or ("Index" in node["Node Type"] and "Index Cond" not in node)
    gives_first = above == "Limit" and "Filter" not in node
    if table and whole and not gives_first and node["Node Type"] != "ModifyTable":
        yield table
    for below in node.get("Plans", ()):
        # Rows are locked between a limit and what it limits.
        yield from scans(below, above if node["Node Type"] == "LockRows" else node["Node Type"])


def indexes(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The indexes that a plan reads, each with the condition under which it does."""
    if "Index Name" in node:
        yield node["Index Name"], node.get("Index Cond", "")
    for below in node.get("Plans", ()):
        yield from indexes(below)


async def plan(conn: pool.Conn, noun: str, name: str) -> Mapping[str, Any]:
    """What a connection with pinned plans does for a statement, whatever its parameters are."""
    await pool.fix_plans(conn)
    explained = conn.pgconn.exec_(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(load(noun)[name])}".encode())
    assert explained.status == psycopg.pq.ExecStatus.TUPLES_OK, explained.error_message
    value = explained.get_value(0, 0)
    assert value is not None
    (found,) = json.loads(value)
    top: Mapping[str, Any] = found["Plan"]
    return top


@pytest.fixture(scope="module")
def new_url(postgres_server: PostgresServer, template: str) -> Iterator[str]:
    """The URL of a database in which nothing has ever been written."""
    name = unique_name()
    yield create_database(postgres_server, name, template)
    drop_database(postgres_server, name)


@pytest.fixture(scope="module")
def emptied_url(postgres_server: PostgresServer, template: str) -> Iterator[str]:
    """The URL of one in which runs have come and gone, and that autovacuum has found empty then."""
    name = unique_name()
    url = create_database(postgres_server, name, template)
    asyncio.run(_emptied(url))
    yield url
    drop_database(postgres_server, name)


async def _emptied(url: str) -> None:
    scene = await Scene.open(url)
    try:
        await scene.add(await scene.job(), 2_000)
        for run in await scene.start(*await scene.claim(2_000)):
            assert await scene.finish(run)
        await scene.conn.execute("VACUUM")
        await scene.conn.execute("ANALYZE")
    finally:
        await scene.close()


@pytest.mark.parametrize(("noun", "name"), [(noun, name) for noun, names in PINNED.items() for name in names])
async def test_nothing_is_scanned(new_url: str, noun: str, name: str):
    """The plan made while all tables are empty is good for millions of rows."""
    async with await pool.connect(new_url) as conn:
        assert set(scans(await plan(conn, noun, name))) - SMALL == set()


@pytest.mark.parametrize(("noun", "name"), [(noun, name) for noun, names in PINNED.items() for name in names])
async def test_nothing_is_scanned_that_was_known_to_be_empty(emptied_url: str, noun: str, name: str):
    """Nor is an index hopped through, value by value, because its first column is not asked for."""
    async with await pool.connect(emptied_url) as conn:
        found = await plan(conn, noun, name)
        assert set(scans(found)) & OFTEN_EMPTY == set()
        firsts: dict[str, str] = dict(await (await conn.execute(FIRST_COLUMNS, [list(OFTEN_EMPTY)])).fetchall())
        assert firsts["runs_job"] == "job_id"
        used = {index: cond for index, cond in indexes(found) if index in firsts}
        assert {index for index, cond in used.items() if not re.search(rf"\b{firsts[index]}\b", cond)} == set()
