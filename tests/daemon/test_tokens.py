"""Run tokens, checked by an HS256 that is not ours."""

from __future__ import annotations

import hashlib
import hmac as stdlib_hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from hypothesis import given
from hypothesis import strategies as st

from strait_daemon.tokens import TokenMaker, TokenReader

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


KEY = "k" * 40
HS256 = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"iss": "strait:run-token", "sub": "run_1", "attempt": 3, "iat": 1, "exp": 99_999_999_999}


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(claims: Any, *, head: Any = HS256, key: str = KEY) -> str:
    """A token signed as HS256 says, whatever it says."""
    signed = f"{b64(head)}.{b64(claims)}"
    return f"{signed}.{b64(stdlib_hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"


@given(key=st.text(min_size=1, max_size=100), attempt=st.integers(1, 10**6), timeout=st.integers(1, 86_400))
def test_what_was_made_is_read(key: str, attempt: int, timeout: int) -> None:
    """The reader gives back what the maker was told, with the end of the token's time."""
    claims = TokenReader(key).read(TokenMaker(key).make("run_x", attempt, AT, timeout).encode())
    assert claims is not None
    assert (claims.sub, claims.attempt, claims.exp) == ("run_x", attempt, int(AT.timestamp()) + timeout + 60)


def test_nothing_else_is_read() -> None:
    """Other keys, algorithms, issuers, shapes and spellings: each would be a way in."""
    good = TokenMaker(KEY).make("run_1", 3, AT, 300)
    assert TokenReader(KEY).read(good.encode()) is not None
    assert TokenReader(KEY).read(forged(CLAIMS).encode()) is not None
    signed, _, signature = good.rpartition(".")
    head, _, body = signed.partition(".")
    bad = [
        "", "x", "..", "...", KEY, good[:-1], good + "=", good + ".", signed, f"{signed}.", f" {good}", f"{good}\0",
        good.swapcase(), f"{body}.{head}.{signature}", f"{head}.{signature}", f"{signed}.{signature}x",
        forged(CLAIMS, key="k" * 39),
        forged(CLAIMS, key=""),
        forged(CLAIMS, head={"alg": "none", "typ": "JWT"}),
        f"{b64({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        f"{b64({'alg': 'none'})}.{body}.{signature}",
        forged(CLAIMS, head={"alg": "HS512", "typ": "JWT"}),
        forged(CLAIMS, head={"alg": "RS256", "typ": "JWT"}),
        forged(CLAIMS, head={**HS256, "jwk": {"kty": "oct", "k": b64(KEY.encode())}}),
        forged(CLAIMS, head={**HS256, "kid": "../../dev/null"}),
        forged({**CLAIMS, "iss": "strait"}),
        forged({**CLAIMS, "attempt": "3"}),
        forged({**CLAIMS, "attempt": True}),
        forged({**CLAIMS, "exp": 1e400}),
        *(forged({name: value for name, value in CLAIMS.items() if name != left}) for left in ("iss", "sub", "exp")),
        forged([CLAIMS]), forged(b"\xff\xfe"), forged(b""), forged({**CLAIMS, "sub": "x" * 2_000}),
        f"{head}.{b64({**CLAIMS, 'attempt': 4})}.{signature}",
    ]  # fmt: skip
    assert [token for token in bad if TokenReader(KEY).read(token.encode()) is not None] == []
    assert TokenReader(KEY).read("\u00e9\u4e00".encode()) is None


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(token: bytes) -> None:
    """Whatever comes in the header is a token or none."""
    assert TokenReader(KEY).read(token) is None
