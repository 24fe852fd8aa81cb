"""A bar on stderr that says how far long work has come, and how long it may take; only where a person watches."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from strait_cli.session import Session

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_WIDTH = 24
_MOMENT_SECS = 0.05


class Progress:
    """A bar on a terminal's last line, gone in the end; silent in a pipe and with `-q`. `total` None: not known."""

    def __init__(self, session: Session, what: str, total: int | None) -> None:
        shown = session.out.err.width is not None and not session.out.view.quiet
        self._bar = _bar(color=session.out.err.color) if shown else None
        self._drawn = 0.0
        self._task = None if self._bar is None else self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int) -> None:
        """So much is done."""
        if self._bar is not None and self._task is not None:
            # Drawn at once where steps are few; a step of a million is drawn with the others of its moment.
            now = time.monotonic()
            is_due = now - self._drawn >= _MOMENT_SECS
            self._drawn = now if is_due else self._drawn
            self._bar.update(self._task, completed=done, refresh=is_due)


def _bar(*, color: bool) -> Bar:
    from rich.console import Console  # noqa: PLC0415 - only long work on a terminal pays for it
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    console = Console(stderr=True, no_color=not color, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(_WIDTH), MofNCompleteColumn(), TimeRemainingColumn())
    return Bar(*columns, console=console, transient=True)
