"""Run tokens, checked by an HS256 that is not ours."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from hypothesis import given
from hypothesis import strategies as st

from strait_daemon.tokens import TokenMaker

AT = datetime(2030, 1, 16, 12, 0, 0, 999_999, tzinfo=UTC)


def _decode(part: str) -> bytes:
    assert "=" not in part
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(token: str, key: str) -> dict[str, object]:
    """The claims of a token that this key signed; raises otherwise."""
    head, claims, signature = token.split(".")
    assert json.loads(_decode(head)) == {"alg": "HS256", "typ": "JWT"}
    mac = hmac.HMAC(key.encode(), hashes.SHA256())
    mac.update(f"{head}.{claims}".encode())
    mac.verify(_decode(signature))
    decoded: dict[str, object] = json.loads(_decode(claims))
    return decoded


def test_a_token_speaks_for_one_attempt_until_a_minute_after_its_deadline() -> None:
    """Issuer, run, attempt, and an end that is the attempt's deadline and sixty seconds, in whole seconds."""
    claims = verified(TokenMaker("k" * 32).make("run_1", 3, AT, 300), "k" * 32)
    issued = int(AT.timestamp())
    assert claims == {
        "iss": "strait:run-token",
        "sub": "run_1",
        "attempt": 3,
        "iat": issued,
        "exp": issued + 360,
    }


@given(key=st.text(min_size=1, max_size=200), attempt=st.integers(1, 10**6), timeout=st.integers(1, 86_400))
def test_any_key_signs_as_hmac_says(key: str, attempt: int, timeout: int) -> None:
    """Keys below, at and above the block size of SHA-256, of any characters."""
    token = TokenMaker(key).make("run_x", attempt, AT, timeout)
    assert verified(token, key)["attempt"] == attempt


@pytest.mark.parametrize("length", [1, 32, 63, 64, 65, 128])
def test_the_block_size_is_no_seam(length: int) -> None:
    """Around 64 bytes, where HMAC begins to hash its key, signatures stay right, token after token."""
    maker = TokenMaker("k" * length)
    for attempt in range(1, 4):
        assert verified(maker.make("run_x", attempt, AT, 1), "k" * length)["attempt"] == attempt


def test_another_key_does_not_verify() -> None:
    """The checker of these tests can tell."""
    with pytest.raises(InvalidSignature):
        verified(TokenMaker("k" * 32).make("run_1", 1, AT, 1), "K" * 32)
