"""Secrets of jobs, encrypted as the database keeps them. The first key seals, every key opens: so keys are rotated."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

# Parts what is derived from a key from every other use of it.
_PURPOSE: Final = b"strait secrets at rest v1\0"


class Unreadable(ValueError):  # noqa: N818 - a state of the secret
    """No key at hand opens this secret."""


class Vault:
    """Seals and opens; `keys` are texts of at least 32 characters, the one that seals first."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derived(key)) for key in keys])

    def seal(self, secret: str) -> str:
        """The secret as it may be stored; another text every time."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """The secret again; raises Unreadable."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise Unreadable("no key of ENCRYPTION_KEY opens this secret") from None


def _derived(key: str) -> bytes:
    """A key for Fernet; a plain hash is enough, because settings.py takes long random texts only."""
    return base64.urlsafe_b64encode(hashlib.sha256(_PURPOSE + key.encode()).digest())
