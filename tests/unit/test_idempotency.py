"""Keys and what two bodies under one key have in common."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import wire
from strait_core.idempotency import canonical, check_key, once, trigger_once

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.parametrize(("key", "sound"), [("a", True), ("é" * 256, True), ("", False), ("a" * 257, False)])
def test_a_key_is_short(key: str, sound: bool):
    """1 to 256 characters."""
    assert (check_key("/k", key) == []) is sound


@pytest.mark.parametrize("key", ["a\n", "\0", "\x7f", "\x85"])
def test_a_key_has_no_control_characters(key: str):
    """Each is named with its pointer."""
    assert [fault.pointer for fault in check_key("/k", key)] == ["/k"]


@given(JSON)
def test_spelling_does_not_matter(value: object):
    """Indentation, the order of keys and escapes come to the same text."""
    pretty = json.dumps(value, indent=3, sort_keys=True)
    terse = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert canonical(pretty.encode()) == canonical(terse.encode("utf-8", "surrogatepass"))


@given(JSON, JSON)
def test_other_values_stay_others(one: object, other: object):
    """What is written differently without blanks and order is not the same."""
    alike = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical(json.dumps(one).encode()) == canonical(json.dumps(other).encode())) is alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"1.0"),
        (b"1", b'"1"'),
        (b"1e5", b"100000"),
        (b'{"a":1,"a":2}', b'{"a":2,"a":1}'),
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b"[[1]]", b"[1]"),
        (b"null", b"{}"),
    ],
)
def test_numbers_and_repeated_keys_are_kept(one: bytes, other: bytes):
    """Nothing that a payload can tell is lost."""
    assert canonical(one) != canonical(other)


def test_a_trigger_and_an_item_of_a_bulk_say_the_same():
    """The item's own key is no part of what it says."""
    assert trigger_once("k", wire.TriggerRequest(priority=1)) == trigger_once(
        "k", wire.BulkItem(priority=1, idempotency_key="k")
    )
    assert trigger_once("k", wire.TriggerRequest(tags={"a": "1", "b": "2"})) == trigger_once(
        "k", wire.TriggerRequest(tags={"b": "2", "a": "1"})
    )


def test_parts_do_not_run_into_each_other():
    """Two payloads are not one that holds both."""
    body = wire.JobClone(slug="a")
    assert once("k", body, [b"1", b"2"]) != once("k", body, [b"[1,2]"]) != once("k", body)
