"""Which peers there are, what is installed for each, and how its programs are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.environments import node_with, python_with

PROGRAMS: Final = Path(__file__).parent / "programs"


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer. Words of a shape are WHAT COUNT SIZE for its program; `drains` may name several settings."""

    name: str
    requirements: tuple[str, ...]
    program: str
    drains: Mapping[str, tuple[str, int, int]]
    single: int
    batch: int
    redis: bool = False
    note: str = ""
    node: bool = False
    more: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str] | str:
        """How its program is started (the first time its environment is made), or why it cannot be."""
        program = str(PROGRAMS / self.program)
        if not self.node:
            return [str(python_with(self.name.lower(), *self.requirements)), program]
        folder = node_with(self.name, self.requirements[0])
        return folder if isinstance(folder, str) else ["node", program]

    def folder(self) -> Path | None:
        """Where the program must be started."""
        found = node_with(self.name, self.requirements[0]) if self.node else None
        return found if isinstance(found, Path) else None


ROSTER: Final = (
    Peer(
        "PgQueuer",
        ("pgqueuer[asyncpg]==1.6.0", "uvloop==0.23.0"),
        "pgqueuer_peer.py",
        {"PgQueuer, batch 100": ("drain", 30_000, 100), "PgQueuer, batch 10": ("drain", 15_000, 10)},
        single=3_000,
        batch=50_000,
        note="five consumers in one process on uvloop and asyncpg, as its own benchmark runs; completion is buffered",
    ),
    Peer(
        "graphile-worker",
        ("graphile-worker@0.17.3",),
        "graphile.mjs",
        {
            "graphile-worker, local queue, batched completion": ("batched", 60_000, 1_000),
            "graphile-worker, plain": ("plain", 10_000, 1_000),
        },
        single=3_000,
        batch=50_000,
        node=True,
        note="Node.js; 24 jobs at once, local queue of 500 and completion batches as its performance page sets them",
    ),
    Peer(
        "Procrastinate",
        ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
        "procrastinate_peer.py",
        {"Procrastinate": ("drain", 2_000, 64)},
        single=2_000,
        batch=20_000,
        note="one worker, 64 jobs at once",
    ),
    Peer(
        "Celery",
        ("celery[redis]==5.7.0",),
        "celery_peer.py",
        {"Celery + Redis": ("drain", 5_000, 0)},
        single=5_000,
        batch=0,
        redis=True,
        note="prefork with one process per core, results off, on the bundled Valkey without persistence; each task also"
        " counts itself there with one INCR, because Celery has no cheaper sign of completion; it has no batch enqueue",
    ),
)
