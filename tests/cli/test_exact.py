"""Numbers pass through the command line as they were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_cli import exact
from strait_cli.output import dump

LONG = "9" * 5_000


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "0.10", "1.0", "12345678901234567890.123456789", LONG, "-0"])
def test_a_number_keeps_its_spelling(number: str):
    """What a double cannot hold, and what it would spell otherwise."""
    assert dump(exact.loads(f'{{"a": [{number}]}}')) == f'{{"a": [{number}]}}'


def test_the_value_is_still_a_number():
    """Tables, sorting and expressions go on working with it."""
    assert exact.loads("0.10") == 0.1
    assert exact.loads("1e999") > 1e300
    assert isinstance(exact.loads("7"), int)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_everything_else_is_plain_json(value: object):
    """The same text as the standard library writes, and the same value back."""
    text = json.dumps(value, ensure_ascii=False)
    assert exact.dumps(exact.loads(text)) == text
    assert exact.loads(text) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a"}'])
def test_what_is_no_json_is_refused(text: str):
    """As the standard library refuses it."""
    with pytest.raises(ValueError, match=r"Expecting|Illegal|property name"):
        exact.loads(text)
