"""Paths and addresses of the API. Apart from the client, so that a command can name one without loading HTTP."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit


def path_of(*parts: str) -> str:
    """An API path; each part is one segment and can be no more than that."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def is_loopback(server: str) -> bool:
    """Whether a server's URL names this machine."""
    host = urlsplit(server).hostname or ""
    return host in {"localhost", "::1"} or re.fullmatch(r"127(\.\d+){3}", host) is not None
