"""`strait demo`: one job from nothing to completed, on real parts, and nothing left behind."""

from __future__ import annotations

from typing import Final

from strait_cli.session import Session
from strait_cli.verbs import leaf, verb

app = leaf()


@verb(app, "demo", examples=("strait demo",))
def demo(session: Session) -> None:
    """Start a throw-away Strait, run one job to completed before your eyes, and leave nothing running."""
    from strait_cli.demonstration import demonstrate  # noqa: PLC0415 - requests and processes, for this verb only

    demonstrate(session)


APPS: Final = {"demo": app}
