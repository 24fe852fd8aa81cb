"""Colours, marks and lengths: what the views have in common to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from rich.text import Text
from textual.theme import Theme

from strait_cli import times
from strait_cli.table import safe

Clock = Callable[[], datetime]
FOREGROUND: Final = "#d8dce8"
DIM: Final = "#7c849c"
FAINT: Final = "#4a5068"
GREEN: Final = "#8fd19e"
CYAN: Final = "#6fcfe0"
BLUE: Final = "#82a7f5"
YELLOW: Final = "#f0cb7a"
ORANGE: Final = "#f2a66f"
RED: Final = "#f0727f"
PURPLE: Final = "#c59bf0"
GREY: Final = "#9aa1b5"

THEME: Final = Theme(
    name="strait",
    primary=BLUE,
    secondary=PURPLE,
    accent=CYAN,
    warning=YELLOW,
    error=RED,
    success=GREEN,
    foreground=FOREGROUND,
    background="#12151f",
    surface="#171b28",
    panel="#1e2333",
    dark=True,
    variables={
        "footer-key-foreground": CYAN,
        "footer-description-foreground": "#aab1c5",
        "footer-background": "#171b28",
        "border": "#333a52",
        "block-cursor-background": "#2c3550",
        "block-cursor-foreground": FOREGROUND,
        "block-cursor-text-style": "none",
    },
)

# Runs, workflow runs and their steps: the colour and the mark of each state.
STATES: Final[Mapping[str, tuple[str, str]]] = {
    "completed": (GREEN, "✓"),
    "executing": (CYAN, "●"),
    "running": (CYAN, "●"),
    "dequeued": (BLUE, "◐"),
    "queued": (YELLOW, "○"),
    "pending": (DIM, "○"),
    "delayed": (ORANGE, "◔"),
    "waiting": (PURPLE, "◇"),
    "paused": (ORANGE, "‖"),
    "failed": (RED, "✗"),
    "timed_out": (RED, "✗"),
    "crashed": (RED, "✗"),
    "system_failed": (RED, "✗"),
    "dead_letter": (RED, "✗"),
    "compensation_failed": (RED, "✗"),
    "compensating": (ORANGE, "↺"),
    "compensated": (ORANGE, "↺"),
    "canceled": (GREY, "⊘"),
    "skipped": (GREY, "⊘"),
    "expired": (GREY, "⊘"),
}
LEVELS: Final[Mapping[str, str]] = {"debug": DIM, "info": BLUE, "warning": YELLOW, "error": RED}
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def now() -> datetime:
    """This moment; views take it as their clock."""
    return datetime.now(UTC)


def color_of(state: str) -> str:
    """The colour of a state; one that is not known stands back."""
    return STATES.get(state, (DIM, "·"))[0]


def state_text(state: str, *, bold: bool = False) -> Text:
    """A state with its mark, in its colour."""
    color, mark = STATES.get(state, (DIM, "·"))
    return Text(f"{mark} {safe(state)}", style=f"bold {color}" if bold else color)


def plain(text: object, style: str = "") -> Text:
    """Text of the server's in one line that cannot drive a terminal."""
    return Text(safe(str(text)), style=style, no_wrap=True, overflow="ellipsis")


def clock(at: str | None) -> str:
    """A time of day here, to the millisecond; blanks when there is none."""
    when = times.parse(at or "")
    return f"{when.astimezone():%H:%M:%S}.{when.microsecond // 1000:03}" if when else " " * 12


def between(since: str | None, until: str | datetime | None) -> float | None:
    """Seconds between two times; None when one of them is missing."""
    began = times.parse(since or "")
    ended = until if isinstance(until, datetime) else times.parse(until or "")
    return None if began is None or ended is None else max(0.0, (ended - began).total_seconds())


def ends(left: Text, right: Text, width: int) -> Text:
    """Two texts at the ends of a line of that width; the left one gives way."""
    room = max(1, width - right.cell_len - 1)
    if left.cell_len > room:
        left = left.copy()
        left.truncate(room, overflow="ellipsis")
    return Text.assemble(left, " " * max(1, width - left.cell_len - right.cell_len), right, no_wrap=True)


def bar(part: float, width: int, color: str) -> Text:
    """How much of a whole is done; `part` is 0…1."""
    filled = round(max(0.0, min(1.0, part)) * width)
    return Text.assemble(("━" * filled, color), ("━" * (width - filled), FAINT))


def spark(values: list[float], width: int, color: str) -> Text:
    """The last values as a line of small columns, the newest at the right."""
    shown = values[-width:]
    most = max(shown, default=0.0)
    columns = "".join(_BLOCKS[0 if not one else max(1, round(one / most * 8))] for one in shown)
    return Text(" " * (width - len(columns)) + columns, style=color, no_wrap=True)
