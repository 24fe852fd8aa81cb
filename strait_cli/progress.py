"""A line on stderr that says how far long work has come; only where a person watches."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final, Self

from strait_cli.session import Session

_WIDTH: Final = 24


class Progress:
    """A bar on a terminal's last line, rewritten in place; silent in a pipe and with `-q`. `total` None: not known."""

    def __init__(self, session: Session, what: str, total: int | None) -> None:
        self._shown = session.out.err.width is not None and not session.out.view.quiet
        self._what = what
        self._total = total
        self._last = ""

    def __enter__(self) -> Self:
        self.at(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def at(self, done: int) -> None:
        """So much is done."""
        text = _line(self._what, done, self._total)
        if self._shown and text != self._last:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._last = text


def _line(what: str, done: int, total: int | None) -> str:
    if not total:
        return f"{what} {done}"
    filled = min(_WIDTH, _WIDTH * done // total)
    return f"{what} [{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}"
