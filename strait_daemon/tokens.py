"""Run tokens: short HS256 JSON Web Tokens (RFC 7519) that let an endpoint speak for one attempt of one run.

Made for every attempt, so the key's HMAC pads are computed once; a general library parses the key for each token.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from hmac import compare_digest
from typing import Final

import msgspec
from msgspec import Struct

ISSUER: Final = "strait:run-token"
# How long past an attempt's deadline its token is good, so that a last report still counts.
GRACE_SECS: Final = 60
_BLOCK: Final = 64
_IPAD: Final = bytes(x ^ 0x36 for x in range(256))
_OPAD: Final = bytes(x ^ 0x5C for x in range(256))


def _b64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


_HEADER: Final = _b64(b'{"alg":"HS256","typ":"JWT"}') + b"."


# Ours have about 250 characters.
_MOST: Final = 1_024


class Claims(Struct, frozen=True):
    """What a run token says: the run (`run_…`), the attempt it speaks for, and until when (seconds since 1970)."""

    iss: str
    sub: str
    attempt: int
    exp: int


_decode: Final = msgspec.json.Decoder(Claims).decode


class _Signer:
    """HMAC-SHA256 with one key, in base 64."""

    def __init__(self, key: str) -> None:
        raw = key.encode()
        block = (hashlib.sha256(raw).digest() if len(raw) > _BLOCK else raw).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_IPAD))
        self._outer = hashlib.sha256(block.translate(_OPAD))

    def sign(self, signed: bytes) -> bytes:
        """The signature of these bytes."""
        inner = self._inner.copy()
        inner.update(signed)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return _b64(outer.digest())


class TokenMaker(_Signer):
    """Signs run tokens with one key."""

    def make(self, run_id: str, attempt: int, issued_at: datetime, timeout_secs: int) -> str:
        """A token for that attempt, good until its deadline and a minute more; `run_id` is the `run_…` text."""
        issued = int(issued_at.timestamp())
        expires = issued + timeout_secs + GRACE_SECS
        claims = f'{{"iss":"{ISSUER}","sub":"{run_id}","attempt":{attempt},"iat":{issued},"exp":{expires}}}'
        signed = _HEADER + _b64(claims.encode())
        return (signed + b"." + self.sign(signed)).decode()


class TokenReader(_Signer):
    """Reads the tokens that a maker with the same key has made, and no others."""

    def read(self, token: bytes) -> Claims | None:
        """What the token says, whatever its time; None unless it is ours to the byte.

        The header is compared, not obeyed: there is one algorithm, and one spelling of every token.
        """
        signed, _, signature = token.rpartition(b".")
        if len(token) > _MOST or not compare_digest(signature, self.sign(signed)) or not signed.startswith(_HEADER):
            return None
        try:
            claims = _decode(urlsafe_b64decode(signed[len(_HEADER) :] + b"=="))
        except (ValueError, msgspec.DecodeError):
            return None
        return claims if claims.iss == ISSUER else None
