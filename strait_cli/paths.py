"""Paths of the API. Apart from the client, so that a command can name one without loading HTTP."""

from __future__ import annotations

from urllib.parse import quote


def path_of(*parts: str) -> str:
    """An API path; each part is one segment and can be no more than that."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
