"""Poison pills: what counts as the same error, and how often it came in a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core.poison import fingerprint, streak

MESSAGE = "HTTP 500: order 4711 of user 3fa85f64-5717-4562-b3fc-2c963f66afa6 failed at 0x7ffe12ab (trace deadbeef01)"


@pytest.mark.parametrize(
    "other",
    [
        "HTTP 500: order 4712 of user 3fa85f64-5717-4562-b3fc-2c963f66afa6 failed at 0x7ffe12ab (trace deadbeef01)",
        "HTTP 500: order 1 of user 00000000-0000-4000-8000-000000000001 failed at 0x1 (trace 1b2c3d4e5f607182)",
        "http 500:  Order 9 of user 1 failed at 0xff (trace 7)",
    ],
)
def test_ids_numbers_and_addresses_make_no_difference(other: str):
    """The same fault in another order, for another user, in another place in memory."""
    assert fingerprint("server", 500, MESSAGE) == fingerprint("server", 500, other)


@pytest.mark.parametrize(
    ("error_class", "status", "message"),
    [
        ("client", 500, MESSAGE),
        ("server", 503, MESSAGE),
        ("server", 500, "HTTP 500: the payment failed"),
        ("server", 500, None),
    ],
)
def test_class_status_and_words_make_a_difference(error_class: str, status: int, message: str | None):
    """Another class, another status or another sentence is another error."""
    assert fingerprint("server", 500, MESSAGE) != fingerprint(error_class, status, message)


@given(st.text(), st.text(), st.integers(100, 599))
def test_any_text_has_a_fingerprint_that_a_bigint_holds(error_class: str, message: str, status: int):
    """Whatever an endpoint says, lone halves of characters included."""
    assert 0 <= fingerprint(error_class, status, message) < 2**63


@given(st.lists(st.integers(0, 2), max_size=30))
def test_the_streak_is_the_length_of_the_last_run_of_equal_errors(errors: list[int]):
    """It begins anew with every other error."""
    before: tuple[int | None, int | None] = (None, None)
    for error in errors:
        before = error, streak(before, error)
    if errors:
        last = next((n for n, error in enumerate(reversed(errors)) if error != errors[-1]), len(errors))
        assert before == (errors[-1], last)
