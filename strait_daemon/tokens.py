"""Run tokens: short HS256 JSON Web Tokens (RFC 7519) that let an endpoint speak for one attempt of one run.

Made for every attempt, so the key's HMAC pads are computed once; a general library parses the key for each token.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Final

ISSUER: Final = "strait:run-token"
# How long past an attempt's deadline its token is good, so that a last report still counts.
GRACE_SECS: Final = 60
_BLOCK: Final = 64
_IPAD: Final = bytes(x ^ 0x36 for x in range(256))
_OPAD: Final = bytes(x ^ 0x5C for x in range(256))


def _b64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


_HEADER: Final = _b64(b'{"alg":"HS256","typ":"JWT"}') + b"."


class TokenMaker:
    """Signs run tokens with one key."""

    def __init__(self, key: str) -> None:
        raw = key.encode()
        block = (hashlib.sha256(raw).digest() if len(raw) > _BLOCK else raw).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_IPAD))
        self._outer = hashlib.sha256(block.translate(_OPAD))

    def make(self, run_id: str, attempt: int, issued_at: datetime, timeout_secs: int) -> str:
        """A token for that attempt, good until its deadline and a minute more; `run_id` is the `run_…` text."""
        issued = int(issued_at.timestamp())
        expires = issued + timeout_secs + GRACE_SECS
        claims = f'{{"iss":"{ISSUER}","sub":"{run_id}","attempt":{attempt},"iat":{issued},"exp":{expires}}}'
        signed = _HEADER + _b64(claims.encode())
        inner = self._inner.copy()
        inner.update(signed)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return (signed + b"." + _b64(outer.digest())).decode()
