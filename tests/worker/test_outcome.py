"""Any answer at all becomes an ending that the database stores and a terminal can show."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from strait_core.run import OutcomeKind
from strait_daemon.attempts import outcome
from strait_daemon.egress.client import MAX_RESPONSE_BYTES, Answer

NOW = datetime(2030, 1, 16, 12, tzinfo=UTC)


def ending(body: bytes, status: int = 200, truncated: bool = False, **headers: str) -> outcome.Ending:
    """What an answer becomes."""
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return outcome.of_answer(Answer(status, named, body, truncated), frozenset(), lambda: NOW)


@given(st.binary(max_size=400), st.booleans())
@example(b"\xed\xa0\x80", False)
@example("\u2028\ud7ff".encode(), True)
@example(b'"\\ud800"', False)
@example(b"[" * 400, False)
@example(b"1" * 400, False)
@example(b"-", False)
@example(b"\xef\xbb\xbf{}", False)
def test_any_body_is_a_result(body: bytes, truncated: bool) -> None:
    """The result is sound JSON text, which PostgreSQL takes as text, and every byte of the body is in it."""
    made = ending(body, truncated=truncated)
    assert made.outcome.kind is OutcomeKind.SUCCESS
    assert made.result is not None
    made.result.encode()
    assert "\0" not in made.result
    read = msgspec.json.decode(made.result.encode(), type=msgspec.Raw)
    assert bytes(read).strip() != b""
    if not truncated and not outcome.is_sound_json(body) and body:
        wrapped = json.loads(made.result)
        assert list(wrapped) in (["text"], ["base64"])


@given(st.binary(max_size=3_000), st.integers(100, 599).filter(lambda s: not 200 <= s < 300), st.text(max_size=60))
@example(b"", 500, "Tue, 99 Xyz 2030 25:61:61 GMT")
@example(b"", 503, "9" * 400)
@example(b"", 503, "Thu, 01 Jan 1970 00:00:00 +9999")
@example(b"", 503, "Mon, 01 Jan 0001 00:00:00 -2359")
@example(b"", 503, "Fri, 31 Dec 9999 23:59:59 -2359")
@example(b"", 503, "\u0663")
@example(b"", 503, "\u00b2")
@example(b"", 503, ",")
@example(b"", 503, "0,0,0,0")
def test_any_refusal_is_an_error(body: bytes, status: int, after: str) -> None:
    """One line, bounded, without control characters, beginning with the status; Retry-After is a sane wait or none."""
    made = ending(body, status, Retry_After=after)
    assert made.outcome.kind is OutcomeKind.ERROR
    assert made.error is not None
    assert made.error.startswith(f"HTTP {status}: ")
    assert len(made.error) <= outcome.MAX_ERROR
    assert all(char.isprintable() or char == " " or ord(char) > 0xA0 for char in made.error)
    made.error.encode()
    assert made.retry_after is None or timedelta(0) <= made.retry_after <= timedelta(hours=1)


@given(st.integers(0, 3), st.sampled_from(["a", "\u00e9", "\u20ac", "\U0001f600"]))
def test_a_cut_inside_a_character_leaves_it_out(shift: int, char: str) -> None:
    """The bound falls where it falls; the text ends before the character it cuts."""
    body = (b"x" * shift + char.encode() * MAX_RESPONSE_BYTES)[:MAX_RESPONSE_BYTES]
    made = ending(body, truncated=True)
    assert made.truncated
    text = json.loads(made.result or "")["text"]
    assert set(text) <= {"x", char}
    assert MAX_RESPONSE_BYTES - 4 < len(text.encode()) <= MAX_RESPONSE_BYTES


def deep(value: object) -> int:
    """How deep a value is nested, counted one by one."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(deep, value), default=0) if isinstance(value, list) else 0


_TRICKY = st.sampled_from(["", "[[[", '"', "\\", '\\"', '"[\\\\', "\n{"])


@given(st.lists(st.one_of(_TRICKY, st.none()), min_size=120, max_size=136), _TRICKY)
def test_only_brackets_outside_of_strings_nest(layers: list[str | None], leaf: str) -> None:
    """Up to 128 deep, whatever stands in strings, escaped or not: by the count of another way."""
    value: object = leaf
    for key in layers:
        value = [leaf, value, [leaf] * 3] if key is None else {key: value}
    body = json.dumps([value, ["[" * 200]]).encode()
    assert outcome.is_sound_json(body) == (deep(value) + 1 <= outcome.MAX_DEPTH)
