"""Signatures by Standard Webhooks, by which an endpoint knows that a request is ours, unchanged and recent. Pure."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Final

from strait_core.errors import Fault

PREFIX: Final = "whsec_"
# Standard Webhooks asks for 24 to 64 random bytes; a raw secret is text of our user's own making.
MIN_KEY_BYTES: Final = 24
MAX_KEY_BYTES: Final = 64
MIN_RAW: Final = 24
MAX_RAW: Final = 256


def secret_faults(name: str, secret: str) -> list[Fault]:
    """What is wrong with a secret: it is `whsec_` and base 64 of 24 to 64 bytes, or 24 to 256 printable characters."""
    if secret.startswith(PREFIX):
        try:
            size = len(b64decode(secret.removeprefix(PREFIX), validate=True))
        except (Error, ValueError):
            return [Fault(f"/{name}", "must be base 64 after whsec_")]
        if not MIN_KEY_BYTES <= size <= MAX_KEY_BYTES:
            return [Fault(f"/{name}", f"must be {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base 64 after whsec_")]
        return []
    if not MIN_RAW <= len(secret) <= MAX_RAW or any(not "!" <= c <= "~" for c in secret):
        return [
            Fault(
                f"/{name}",
                f"must be {MIN_RAW} to {MAX_RAW} printable ASCII characters without blanks,"
                " or whsec_ and base 64 (openssl rand -base64 32)",
            )
        ]
    return []


def key_of(secret: str) -> bytes:
    """The key that a secret stands for: the bytes behind `whsec_`, or those of its own characters."""
    if secret.startswith(PREFIX):
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    return secret.encode()


def signed_headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The three headers of a signed request; `timestamp` is in whole seconds of the Unix epoch."""
    signature = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{b64encode(signature).decode()}",
    }
