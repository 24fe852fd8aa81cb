"""Views on a stage: a session at the canned server, a clock that stands, waiting, pictures."""

from __future__ import annotations

import html
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from strait_cli.session import Session

PICTURES: Final = Path(__file__).parents[2] / "docs/pictures"
SIZES: Final = {"80x24": (80, 24), "160x50": (160, 50)}
SECONDS: Final = 10.0
# The pictures carry no address of a font: whatever monospaced one is there will do.
_BLANK: Final = "&#160;"
_CELL: Final = 12.2
_TEXT: Final = re.compile(
    r'<text(?P<before>[^>]*?) x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="[\d.]+"(?P<after>[^>]*)>(?P<words>[^<]*)</text>'
)
_FONTS: Final = re.compile(r"@font-face \{.*?\}\n?", re.DOTALL)


def session_at(url: str) -> Session:
    """A session at this server."""
    return Session({"server": url, "api_key": "k" * 32, "project": None, "request_timeout": 5.0}, lenient=True)


def standing(second: int = 9) -> Callable[[], datetime]:
    """A clock that always shows so many seconds past nine."""
    moment = datetime(2030, 1, 31, 9, 0, second, tzinfo=UTC)
    return lambda: moment


async def until(pilot: Pilot[Any], condition: Callable[[], bool], what: Callable[[], str] = str) -> None:
    """Let the app work until something is so."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        await pilot.pause(0.02)
    await pilot.pause()


def top(app: App[Any]) -> Screen[Any]:
    """The screen that has the keys."""
    return app.screen


def focus_of(app: App[Any]) -> Widget | None:
    """What has the focus."""
    return app.focused


def text_of(app: App[Any]) -> str:
    """What a person would read on the screen, line by line."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines[:height])[
        : width * height * 2
    ]


def drawn(app: App[Any], title: str) -> str:
    """The screen as a picture."""
    return _TEXT.sub(_trimmed, _FONTS.sub("", app.export_screenshot(title=title)))


def _trimmed(found: re.Match[str]) -> str:
    """A text without the blanks at its ends, in the place where it stood: not every reader of SVG keeps them."""
    words = found["words"]
    begins = _count(words)
    text = words[begins * len(_BLANK) :]
    while text.endswith(_BLANK):
        text = text.removesuffix(_BLANK)
    if not text:
        return ""
    x = float(found["x"]) + begins * _CELL
    cells = cell_len(html.unescape(text))
    return f'<text{found["before"]} x="{x:g}" y="{found["y"]}" textLength="{cells * _CELL:g}"{found["after"]}>{text}</text>'


def _count(words: str) -> int:
    count = 0
    while words.startswith(_BLANK, count * len(_BLANK)):
        count += 1
    return count


async def check_picture(pilot: Pilot[Any], name: str, title: str, folder: Path = PICTURES) -> None:
    """Wait for the screen to be as the picture in the docs, or in a folder; STRAIT_DRAW=1 draws it anew."""
    path = folder / f"{name}.svg"
    if os.environ.get("STRAIT_DRAW"):
        await pilot.pause(1.0)
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn(pilot.app, title), encoding="utf-8")
    assert path.exists(), f"{path} is missing: STRAIT_DRAW=1 draws it"
    kept = path.read_text(encoding="utf-8")
    changed = f"{path.name} has changed: look at it, then STRAIT_DRAW=1"
    await until(pilot, lambda: drawn(pilot.app, title) == kept, lambda: f"{changed}\n{text_of(pilot.app)}")
