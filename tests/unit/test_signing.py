"""Signatures by Standard Webhooks, and what counts as a secret."""

from __future__ import annotations

from base64 import b64encode

import pytest

from strait_core.signing import key_of, secret_faults, signed_headers


def test_the_published_example():
    """The example that every implementation of the specification is tested with."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_" + b64encode(b"k" * 24).decode(),
        "whsec_" + b64encode(b"k" * 64).decode(),
        "r" * 24,
        "~" * 256,
        "whsec-" + "x" * 24,
    ],
)
def test_secrets_that_pass(secret: str):
    """24 to 64 bytes in base 64, or 24 to 256 characters as they are."""
    assert secret_faults("signing_secret", secret) == []
    assert key_of(secret)


@pytest.mark.parametrize(
    "secret",
    ["", "short", "x" * 23, "x" * 257, "blank " * 8, "ümlaut" * 8, "line\n" * 8, "whsec_", "whsec_" + "*" * 40]
    + ["whsec_" + b64encode(b"k" * size).decode() for size in (0, 23, 65)],
)
def test_secrets_that_do_not(secret: str):
    """One fault that names the field and never repeats the text."""
    (fault,) = secret_faults("signing_secret", secret)
    assert fault.pointer == "/signing_secret"
    assert len(secret) < 10 or secret not in fault.message
