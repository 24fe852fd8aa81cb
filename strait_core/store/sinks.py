"""Where changes are sent on to: how far each sink has got, who sends to it, and what keeps it from going on.

One process at a time sends to a sink: it holds it until a time, and puts that off while it lives. Who holds one knows
its place; a move of who has lost it meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from strait_core.store.changes import Place
from strait_core.store.pool import Conn, query
from strait_core.store.sql import load

_SQL = load("sinks")


@dataclass(frozen=True, slots=True)
class Held:
    """A sink in the caller's hands: everything up to `place` has been sent, the last `fails` attempts were in vain.

    `lost_at`: since when changes that were not sent in time are not kept any more; None = none, or others came since.
    """

    place: Place
    fails: int
    lost_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a sink stands. `waiting_since`: when the first change was made that it has not been sent; None = it has all.

    `moved_at`: when it took something last. `failing_since` with `error`, and whether that `is_refused` (somebody has
    to look) or may pass by itself. `lost_at`: as in `Held`.
    """

    name: str
    moved_at: datetime | None
    failing_since: datetime | None
    is_refused: bool
    error: str | None
    lost_at: datetime | None
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A process's claim to a sink."""

    name: str
    by: UUID

    async def make(self, conn: Conn) -> None:
        """Let the sink be there; one that is new begins with the changes from now on."""
        await conn.execute(query(_SQL["make"]), {"name": self.name})

    async def hold_if_free(self, conn: Conn, now: datetime, until: datetime) -> Held | None:
        """Hold it until then, or go on holding it; None while another does, or while it is not to be tried."""
        values = {"name": self.name, "by": self.by, "now": now, "until": until}
        row = await (await conn.cursor(binary=True).execute(query(_SQL["hold_if_free"]), values)).fetchone()
        return None if row is None else Held(Place(row[0], row[1]), row[2], row[3])

    async def move_if_held(self, conn: Conn, to: Place, now: datetime, until: datetime) -> bool:
        """Everything up to there has been sent; holds it until then."""
        values = {"position": to.position, "entry": to.entry, "now": now, "until": until}
        return await self._did(conn, "move_if_held", values)

    async def skip_if_held(self, conn: Conn, to: Place, now: datetime) -> bool:
        """What lay before this place is not kept any more."""
        return await self._did(conn, "skip_if_held", {"position": to.position, "entry": to.entry, "now": now})

    async def put_off_if_held(self, conn: Conn, now: datetime, due: datetime, error: str, *, is_refused: bool) -> bool:
        """Let go of it; nobody tries it before `due`."""
        values = {"now": now, "due": due, "error": error, "is_refused": is_refused}
        return await self._did(conn, "put_off_if_held", values)

    async def let_go(self, conn: Conn) -> None:
        """Leave it to others, at once."""
        await self._did(conn, "let_go", {})

    async def _did(self, conn: Conn, statement: str, values: dict[str, Any]) -> bool:
        cursor = await conn.execute(query(_SQL[statement]), {"name": self.name, "by": self.by, **values})
        return cursor.rowcount > 0


async def standing(conn: Conn, names: Sequence[str]) -> list[Standing]:
    """How those of these sinks stand that have ever been sent to, by name."""
    cursor = await conn.cursor(binary=True).execute(query(_SQL["standing"]), {"names": list(names)})
    return [Standing(*row) for row in await cursor.fetchall()]
