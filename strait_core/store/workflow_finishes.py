"""Live attempts that end steps: the attempts, the steps and all that follows in one transaction of three sendings.

The first one holds the trees and ends the attempts, the second makes the runs of the steps that are ready now, the
third stores where the steps are and commits. What is rare (attempts that wait, completion triggers, slots of limits)
takes more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from strait_core.store import completions, endings, limits, parking, queue
from strait_core.store.pool import Conn, own_transaction, wait_at_most
from strait_core.store.queue import Finish
from strait_core.store.verdict import Verdict
from strait_core.store.workflow_live import Brought
from strait_core.store.workflow_tree import Tree, ask

# How long a batch waits for trees that somebody else holds. Another process needs milliseconds for a batch of its own.
HELD_SECS: Final = 0.5


async def finish_steps(
    conn: Conn, moves: Sequence[Finish], now: datetime, verdict: Verdict, *, free_only: bool = False
) -> None:
    """End attempts of different runs, each of which carries out a step, and let their workflow runs go on.

    What happened is added to `verdict`. Raises `faults.Held` when somebody else holds one of their trees for long; with
    `free_only` the moves that he keeps from happening are put into `verdict.later`, and all others happen.
    """
    verdict.brought = brought = Brought()
    async with own_transaction(conn):
        async with conn.pipeline():
            await conn.execute("BEGIN")
            if not free_only:
                await wait_at_most(conn, HELD_SECS)
            asked = await ask(conn, _workflow_runs(moves), free_only=free_only)
            sent = None if free_only else await queue.send_finishes(conn, moves, now)
        tree = Tree(conn, now, brought)
        await tree.take(asked)
        if sent is None:
            verdict.later |= {move.id for move in moves if move.workflow_run_id in tree.elsewhere}
            moves = [move for move in moves if move.id not in verdict.later]
            sent = await queue.send_finishes(conn, moves, now)
        verdict.held |= await queue.done(sent, verdict.freed)
        if passed_over := [move for move in moves if move.id not in verdict.held]:
            await parking.end_tied_into(conn, passed_over, now, verdict)
        ended = [move for move in moves if move.id in verdict.held and move.id not in verdict.parked]
        if follows := [move.id for move in ended if move.follow]:
            verdict.started += await completions.follow(conn, follows, now, brought)
        await endings.tell_finished(tree, ended)
        async with conn.pipeline():
            await tree.write()
            if not verdict.freed:
                await conn.execute("COMMIT")
        if verdict.freed:
            # Last, and all together: whoever frees slots takes their lanes in one order.
            await limits.free(conn, verdict.freed)
            await conn.commit()


def _workflow_runs(moves: Sequence[Finish]) -> set[UUID]:
    return {move.workflow_run_id for move in moves if move.workflow_run_id is not None}
