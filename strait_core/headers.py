"""The headers that a job adds to its requests: which are headers at all, and which are its own to write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from strait_core.errors import Fault, escape_pointer

MAX_HEADERS: Final = 50
MAX_HEADER_VALUE: Final = 4_096
# RFC 9110 §5.6.2: a field name is a token; §5.5: a value has no control characters and no outer blanks.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")
_HEADER_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?\Z")
# Headers that dispatch writes itself, or that would change how the request is framed or routed.
RESERVED_HEADERS: Final = frozenset(
    [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "accept-encoding",
        "proxy-authorization",
        "proxy-connection",
        "idempotency-key",
        "traceparent",
        "x-run-id",
        "x-job-id",
        "x-attempt",
        "x-run-token",
        "x-previous-error",
        "x-last-checkpoint",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]
)


def check_headers(headers: Mapping[str, str]) -> list[Fault]:
    """At most 50 headers, with names that are tokens and values of printable ASCII; none that dispatch writes."""
    faults = [Fault("/headers", f"must have at most {MAX_HEADERS} entries")] if len(headers) > MAX_HEADERS else []
    for name, value in headers.items():
        pointer = f"/headers/{escape_pointer(name)}"
        if not _HEADER_NAME.match(name):
            faults.append(Fault(pointer, "is not an HTTP header name"))
        elif name.lower() in RESERVED_HEADERS:
            faults.append(Fault(pointer, "is written by Strait itself; choose another name"))
        if len(value) > MAX_HEADER_VALUE or not _HEADER_VALUE.match(value):
            faults.append(Fault(pointer, f"must be at most {MAX_HEADER_VALUE} printable ASCII characters"))
    if len({name.lower() for name in headers}) < len(headers):
        faults.append(Fault("/headers", "has the same name twice (names do not depend on case)"))
    return faults
