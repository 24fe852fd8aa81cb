"""Bar charts as SVG by hand: readable on light and dark pages, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT, TOP = 760, 28, 300, 110, 44
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:15px}"
    ".b{fill:#8c959f}.u{fill:#0969da}.m{stroke:#cf222e;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#6e7681}.u{fill:#4493f8}.m{stroke:#f85149}}"
)


def bars(title: str, rows: Sequence[tuple[str, float, str, bool]], marks: Sequence[float | None] = ()) -> str:
    """One bar for each row (name, value, what stands behind it, whether it is ours); a mark is what it is to reach."""
    most = max([value for _, value, _, _ in rows] + [mark for mark in marks if mark is not None])
    scale = (WIDTH - LEFT - RIGHT) / (most or 1)
    height = TOP + ROW * len(rows) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"',
        f' aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<text class="t" x="8" y="24">{escape(title)}</text>',
    ]
    for number, (name, value, text, ours) in enumerate(rows):
        top = TOP + ROW * number
        width = max(1.0, value * scale)
        kind = "u" if ours else "b"
        lines += [
            f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{top + 2}" width="{width:.1f}" height="18" rx="2"/>',
            f'<text x="{LEFT + width + 6:.1f}" y="{top + 15}">{escape(text)}</text>',
        ]
        mark = marks[number] if number < len(marks) else None
        if mark is not None:
            at = LEFT + mark * scale
            lines.append(f'<line class="m" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + 22}"/>')
    return "\n".join([*lines, "</svg>", ""])
