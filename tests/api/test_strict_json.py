"""The strict reader of bodies, on bytes alone: what it takes, what it refuses, and that no body can hold it up."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from strait_core.errors import ValidationError
from strait_core.wire import BulkTriggerRequest, JobCreate, TriggerRequest
from strait_daemon.api.strict import MAX_DEPTH, Reader

TRIGGER = Reader(TriggerRequest, raw="payload")
BULK = Reader(BulkTriggerRequest, raw="payload", items="items")
JOB = Reader(JobCreate)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def faults(reader: Reader[Any], sent: bytes) -> list[tuple[str, str]]:
    """What is wrong with a body; empty when it is taken."""
    try:
        reader.read(sent)
    except ValidationError as error:
        return [(fault.pointer, fault.message) for fault in error.faults]
    return []


@given(JSON, st.booleans(), st.sampled_from([None, 1, 4]))
def test_any_payload_comes_through_unchanged(payload: Any, ascii_only: bool, indent: int | None):
    """Byte for byte, whatever the value, the escapes (lone surrogates among them) and the blanks."""
    text = json.dumps(payload, ensure_ascii=ascii_only, indent=indent)
    try:
        sent = text.encode()
    except UnicodeEncodeError:
        sent = json.dumps(payload).encode()
    kept = TRIGGER.read(b'{"priority":1 , "payload" : ' + sent + b' , "tags":{"a":"b"}}')
    assert kept.payload is not UNSET
    assert bytes(kept.payload) == sent
    assert (kept.priority, kept.tags) == (1, {"a": "b"})
    bulk = BULK.read(b'{"items":[ {}, {"payload":' + sent + b'} ,{"payload":"\\ud800","priority":2}]}')
    assert [bytes(item.payload) if item.payload is not UNSET else None for item in bulk.items] == [
        None, sent, b'"\\ud800"',
    ]  # fmt: skip


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=3))
def test_repeated_keys_are_found_where_they_count(tags: list[str], inside: list[str]):
    """In tags each repetition is a fault; in the payload none is."""
    payload = "{" + ",".join(f'"{key}":1' for key in inside) + "}"
    body = '{"payload":' + payload + ',"tags":{' + ",".join(f'"{key}":"x"' for key in tags) + "}}"
    found = faults(TRIGGER, body.encode())
    assert len(found) == len(tags) - len(set(tags))
    assert {pointer for pointer, _ in found} == {f"/tags/{key}" for key in tags if tags.count(key) > 1}


BRACKETS = st.text(alphabet='[]{}"\\\\:,x', max_size=8)
NESTED = st.recursive(
    BRACKETS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(BRACKETS, inner, max_size=3), max_leaves=30
)


def depth_of(value: Any) -> int:
    """How deep a value nests."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(NESTED, NESTED)
def test_depth_is_counted_exactly(value: Any, beside: Any):
    """128 levels are taken and 129 are not, whatever brackets stand in strings and beside them."""
    for wanted in (MAX_DEPTH, MAX_DEPTH + 1):
        payload = value
        for _ in range(wanted - 1 - max(depth_of(value), depth_of(beside))):
            payload = [beside, payload]
        sent = json.dumps({"tags": {"x": "[{"}, "payload": payload}).encode()
        assert bool(faults(TRIGGER, sent)) == (1 + depth_of(payload) > MAX_DEPTH)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(sent: bytes):
    """Whatever comes, the answer is a request or a list of faults."""
    for reader in (TRIGGER, BULK, JOB):
        found = faults(reader, sent)
        assert all(message for _, message in found)


@given(st.text(alphabet='{}[]",:\\ud8001 payloditemsgsnu', max_size=80))
def test_no_text_breaks_the_reader(text: str):
    """Nor does what is nearly JSON; what is taken is JSON to others as well."""
    sent = text.encode(errors="replace")
    for reader in (TRIGGER, BULK):
        if sent and not faults(reader, sent):
            assert isinstance(json.loads(sent), dict)


@pytest.mark.parametrize("half", ["\\ud800", "\\uDBFF x", "\\udc00\\ud800"])
def test_half_a_surrogate_pair(half: str):
    """Taken in a payload, refused elsewhere, also when both have one."""
    assert faults(TRIGGER, f'{{"payload":{{"{half}":"{half}"}}}}'.encode()) == []
    for body in (f'{{"tags":{{"a":"{half}"}}}}', f'{{"payload":"{half}","tags":{{"{half}":"a"}}}}'):
        (found,) = faults(TRIGGER, body.encode())
        assert "surrogate" in found[1]
    (found,) = faults(JOB, f'{{"name":"{half}"}}'.encode())
    assert "surrogate" in found[1]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("many objects", b'{"payload":[' + b",".join([b'{"a":1,"b":"c"}'] * 250_000) + b"]}"),
        ("many brackets", b'{"payload":[' + b"[]," * 1_500_000 + b"0]}"),
        ("nothing but brackets", b"[" * 5_000_000),
        ("deep chains", b'{"payload":[' + b",".join([b"[" * 100 + b"]" * 100] * 20_000) + b"]}"),
        ("a long number", b'{"payload":' + b"9" * 5_000_000 + b"}"),
        ("a long number outside", b'{"priority":' + b"9" * 200_000 + b"}"),
        ("escaped quotes", b'{"payload":"' + b'\\"' * 2_500_000 + b'"}'),
        ("escaped quotes without an end", b'{"payload":["\\ud800","' + b'\\"' * 2_500_000),
        ("backslashes", b'{"payload":"' + b"\\\\" * 2_500_000 + b'","tags":{"a":"\\u0000"}}'),
        ("half pairs", b'{"payload":["' + b"\\ud800" * 800_000 + b'"]}'),
        ("repeated keys", b'{"payload":{' + b",".join([b'"a":1'] * 800_000) + b"}}"),
        ("one tag, very often", b'{"tags":{' + b",".join([b'"a":"1"'] * 300_000) + b"}}"),
        ("blanks", b" " * 5_000_000 + b"{}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_body_takes_long(name: str, sent: bytes):
    """The worst 5 MiB are read or refused in the time that reading them takes."""
    before = time.process_time()
    for reader in (TRIGGER, BULK):
        faults(reader, sent)
    assert time.process_time() - before < 5, name


def test_a_small_body_is_read_in_microseconds():
    """The strictness of the common case costs a fraction of a request: at most forty times the bare decoder."""
    sent = b'{"payload":{"greeting":"Hello from Strait!"},"tags":{"a":"b"}}'
    bare = msgspec.json.Decoder(TriggerRequest)

    def cost(read: Any) -> float:
        best = []
        for _ in range(20):
            before = time.perf_counter()
            for _ in range(200):
                read(sent)
            best.append(time.perf_counter() - before)
        return min(best)

    assert cost(TRIGGER.read) < 40 * cost(bare.decode)
