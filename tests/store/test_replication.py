"""The feed of changes as a CDC service reads it: from PostgreSQL's logical log, set up as docs/cdc.md says."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import psycopg

from strait_core.store import migrate, stats
from strait_daemon.embedded import PostgresServer, find_postgres
from tests.store.scene import Scene
from tests.support.postgres import TEST_SETTINGS, binaries_source, fresh_database
from tests.support.scratch import scratch

CDC = Path(__file__).parents[2] / "docs" / "cdc.md"
READ = (
    "SELECT data FROM pg_logical_slot_get_binary_changes('strait_changes', NULL, NULL, 'proto_version', '1',"
    " 'publication_names', 'strait_changes')"
)


async def test_a_service_reads_the_feed_from_the_logical_log():
    """Every published row comes as one of `strait.changes`, whichever hour holds it; what is not published does not."""
    settings = {**TEST_SETTINGS, "wal_level": "logical"}
    (statements,) = re.findall(r"```sql\n(.*?)```", CDC.read_text("utf-8"), flags=re.DOTALL)
    with (
        tempfile.TemporaryDirectory(prefix="strait-test-", dir=scratch()) as folder,
        PostgresServer.start(
            Path(folder) / "postgres", settings=settings, binaries=find_postgres(binaries_source())
        ) as server,
    ):
        scene = await Scene.open(fresh_database(server))
        await migrate.up(scene.conn, scene.now)
        with psycopg.connect(scene.url, autocommit=True) as reader:
            for statement in statements.split(";\n"):
                if statement.strip():
                    reader.execute(statement.encode())
            job = await scene.job()
            assert await scene.finish(await scene.executing(job))
            while await stats.fold(scene.conn, scene.now):
                pass
            messages = [bytes(data) for (data,) in reader.execute(READ.encode())]
        told = await scene.rows("SELECT position FROM strait.changes")
        await scene.close()
    # A message of the protocol begins with its kind and a relation's number: R names that, I is a row of it.
    inserts = [message for message in messages if message[:1] == b"I"]
    (root,) = [message[1:5] for message in messages if message[:1] == b"R" and b"strait\x00changes\x00" in message]
    assert {message[1:5] for message in inserts} == {root}
    assert len(inserts) == len(told) > 3
    assert job.spec.project_id.encode() in b"".join(inserts)
    assert not [message for message in messages if message[:1] not in b"BCRI"]
