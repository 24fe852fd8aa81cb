"""How runs descend from each other: a run spawns children, and a run is continued by another one."""

from __future__ import annotations

from typing import Final

# Ancestors that a run may have, over both kinds of descent.
MAX_DEPTH: Final = 10
SPAWNED: Final = "spawn"
CONTINUED: Final = "continue"
