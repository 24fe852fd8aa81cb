"""Draws what a terminal shows: runs a command on a terminal in memory and writes its last screen as SVG.

    python -m tools.picture docs/demo.svg .venv/bin/strait demo

The picture in the README is made by this, from a real run, so it cannot show what the program does not do.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import select
import struct
import sys
import termios
import time
from pathlib import Path
from typing import Final

import pyte

COLUMNS: Final = 128
ROWS: Final = 60
DEADLINE_SECS: Final = 180.0
CELL_WIDTH: Final = 8.4
LINE_HEIGHT: Final = 19
MARGIN: Final = 18
TOP: Final = 44
BACKGROUND: Final = "#1b1f27"
FOREGROUND: Final = "#d7dae0"
FONTS: Final = "ui-monospace,Menlo,Consolas,monospace"
COLOURS: Final = {
    "default": FOREGROUND,
    "black": "#5c6370",
    "red": "#e8707a",
    "green": "#98c379",
    "brown": "#e5c07b",
    "yellow": "#e5c07b",
    "blue": "#6fb3f2",
    "magenta": "#c88be0",
    "cyan": "#5cc2cd",
    "white": "#ffffff",
    "brightblack": "#7d8596",
}


def run(command: list[str]) -> tuple[pyte.Screen, int]:
    """The screen that the command leaves behind, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    until = time.monotonic() + DEADLINE_SECS
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            received = os.read(terminal, 65_536)
        except OSError:  # the other side has closed: the way Linux says that the command has ended
            break
        if not received:
            break
        stream.feed(received)
    else:
        os.kill(pid, 15)
    return screen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def svg(screen: pyte.Screen, title: str) -> str:
    """The screen as a picture, down to its last line that holds anything."""
    used = max((row for row, line in enumerate(screen.display) if line.strip()), default=0) + 1
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, used * LINE_HEIGHT + TOP + MARGIN
    bar = f'x="{width / 2:.0f}" y="25" text-anchor="middle" fill="#7d8596" font-family="monospace" font-size="13"'
    text = f'font-family="{FONTS}" font-size="14" fill="{FOREGROUND}" xml:space="preserve"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="9" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{22 + 20 * dot}" cy="20" r="6" fill="#3c424e"/>' for dot in range(3)),
        f"<text {bar}>{html.escape(title)}</text>",
        f"<g {text}>",
    ]
    for row in range(used):
        parts += [_text(row, at, span) for at, span in _spans(screen, row)]
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _spans(screen: pyte.Screen, row: int) -> list[tuple[int, list[pyte.screens.Char]]]:
    """The row's characters in runs of one style, each with its column; blank runs are left out."""
    spans: list[tuple[int, list[pyte.screens.Char]]] = []
    for column in range(COLUMNS):
        char = screen.buffer[row][column]
        if spans and (spans[-1][1][-1].fg, spans[-1][1][-1].bold) == (char.fg, char.bold):
            spans[-1][1].append(char)
        else:
            spans.append((column, [char]))
    return [(at, span) for at, span in spans if "".join(char.data for char in span).strip()]


def _text(row: int, column: int, span: list[pyte.screens.Char]) -> str:
    words = "".join(char.data for char in span).rstrip()
    colour = COLOURS.get(span[0].fg, f"#{span[0].fg}")
    bold = ' font-weight="bold"' if span[0].bold else ""
    length = len(words) * CELL_WIDTH
    x, y = MARGIN + column * CELL_WIDTH, TOP + (row + 1) * LINE_HEIGHT - 5
    return f'<text x="{x:.1f}" y="{y}" fill="{colour}"{bold} textLength="{length:.1f}">{html.escape(words)}</text>'


def main(arguments: list[str]) -> int:
    """Write the picture of a command; its exit code is the command's."""
    target, *command = arguments
    screen, code = run(command)
    title = " ".join([Path(command[0]).name, *command[1:]])
    Path(target).write_text(svg(screen, title), encoding="utf-8")
    print(f"wrote {target}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
