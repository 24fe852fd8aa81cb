"""The statements of a run's way as they were before there was a feed of changes; the product has no setting for it.

Deltas count and name no objects, and whoever folds them publishes nothing. Only the queue's statements are changed, all
that a drain sends: jobs, cancels and workflow runs still write their changes.
"""

from __future__ import annotations

import re
from typing import Final

from strait_core.store.sql import load

_COLUMNS: Final = "(at, moves, ids, owners, seqs, attempts, statuses)"
# `counted` of a batch: what moved how often, and beside it the arrays of objects.
_BESIDE: Final = re.compile(r"\) m, \(\n[^;]*?\n    \) c\n    WHERE m\.moves IS NOT NULL")
# `counted` of alike runs: one move, and the arrays.
_ALIKE: Final = re.compile(
    r", c\.ids,\n\s+array_fill\(job_id, [^\n]+\n(?P<rest>\s+FROM shared [^\n]*), array_agg\(id\) AS ids "
)
_COUNTED: Final = re.compile(r"^\), counted AS \(\n.*?^\)", re.DOTALL | re.MULTILINE)
_PUBLISHED: Final = re.compile(r"\), published AS \(\n.*?\n(?=\), moves AS)", re.DOTALL)


def without_objects(statement: str) -> str:
    """A statement whose delta only counts; one that appends none as it is. ValueError when it is not as we know it."""
    if "INTO strait.stats_deltas" not in statement:
        return statement
    made = statement.replace(_COLUMNS, "(at, moves)").replace("m.moves, c.*", "m.moves")
    made = _BESIDE.sub(") m\n    WHERE m.moves IS NOT NULL", made)
    made = _ALIKE.sub(r"\n\g<rest> ", made)
    counted = _COUNTED.search(made)
    if counted is None or _COLUMNS in made or re.search(r"\bc\.(\*|ids)|\bseqs?\b", counted[0]):
        raise ValueError(f"another delta than is known here:\n{statement}")
    return made


def without_publishing(fold: str) -> str:
    """The statement that folds, copying nothing; ValueError when it is not as we know it."""
    made, count = _PUBLISHED.subn("", fold)
    if count != 1 or "strait.changes" in made:
        raise ValueError(f"another way to publish than is known here:\n{fold}")
    return made


def apply() -> None:
    """Change what this process will send."""
    queue, stats = load("queue"), load("stats")
    queue.update({name: without_objects(text.decode()).encode() for name, text in queue.items()})
    stats["fold"] = without_publishing(stats["fold"].decode()).encode()
