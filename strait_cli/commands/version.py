"""`strait version`: what is installed here, and what answers at the server."""

from __future__ import annotations

import platform
from typing import Any, Final

from strait_cli import __version__
from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import StraitError

app = leaf()


@verb(app, "version", examples=("strait version", "strait --version", "strait version -o json"))
def version(session: Session) -> None:
    """Show the versions of this command line, of Python and of the server, if one answers."""
    facts: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "server": session.layers.value("server").text,
        "server_version": None,
    }
    try:
        facts["server_version"] = session.api.call("GET", "/health", once=True)["version"]
    except StraitError as error:
        session.out.note(error.message)
    except (KeyError, TypeError, ValueError):
        session.out.note("something else than Strait answers there")
    session.out.item(facts, name="version")


APPS: Final = {"version": app}
