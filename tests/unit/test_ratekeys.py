"""Named rate limits: what may be said, and which key a run has."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core.job import JobSpec, faults_of, settled
from strait_core.ratekeys import MAX_VALUE, RateKey, check_rate_keys, key_of

LIMIT = RateKey("tenant", "{{payload.tenant}}", 3, 60)
RUN = {"tags": {"team": "red"}, "metadata": {}, "concurrency_key": None, "triggered_by": "manual"}


def key(template: str, payload: str) -> str | None:
    return key_of(RateKey("x", template, 1, 1), payload, RUN)


@pytest.mark.parametrize(
    ("template", "payload", "value"),
    [
        ("{{payload.tenant}}", '{"tenant": "acme"}', "acme"),
        ("{{payload.tenant}}", '{"tenant": 1}', "1"),
        ("{{payload.tenant}}", '{"tenant": "1"}', "1"),
        ("{{payload.tenant}}", '{"tenant": {"id": 1}}', '{"id": 1}'),
        ("{{payload.tenant}}", '{"tenant": ""}', ""),
        ("{{payload.tenant}}", '{"tenant": null}', None),
        ("{{payload.tenant}}", "{}", None),
        ("{{payload.tenant}}", "[1]", None),
        ("{{payload.a}}-{{payload.b}}", '{"a": "x"}', None),
        ("{{payload.a}}-{{payload.b}}", '{"a": "x", "b": 2}', "x-2"),
        ('{{payload.tenant | default("none")}}', "{}", "none"),
        ("{{run.tags.team}}/{{payload.a}}", '{"a": true}', "red/true"),
        ("{{run.concurrency_key}}", "{}", None),
        ("{{run.triggered_by}}", "{}", "manual"),
        ("{{payload}}", '"whole"', "whole"),
    ],
)
def test_what_a_key_becomes(template: str, payload: str, value: str | None):
    """A text stands for itself, anything else as it is written; nothing and null are no key at all."""
    assert check_rate_keys([RateKey("x", template, 1, 1)]) == []
    assert key(template, payload) == value


@pytest.mark.parametrize("text", ["x" * 256, "ä" * 256, "😀" * 256, "a'\"\\%s\u2028"])
def test_any_short_text_is_a_key(text: str):
    """Up to 256 characters, whatever they are."""
    assert key("{{payload.t}}", json.dumps({"t": text})) == text


@pytest.mark.parametrize("text", ["x" * 257, "a\0b", "x" * 5_000_000])
def test_what_cannot_be_a_key_counts_by_its_digest(text: str):
    """Two that differ stay two."""
    one, other = (key("{{payload.t}}", json.dumps({"t": value})) for value in (text, text + "y"))
    assert one is not None
    assert other is not None
    assert one != other
    assert one.startswith("sha256:")


def test_half_a_character_and_values_without_end():
    """Neither is lost, neither makes more than it may."""
    assert key("{{payload}}", r'"x\ud800"') == r'"x\ud800"'
    assert key("{{payload.t}}", r'{"t": "x\ud800"}') == "x\ufffd"
    long = json.dumps({"t": "x" * 3_000_000})
    assert key("{{payload.t}}" * 7, long) == "(too long)"


@pytest.mark.parametrize(
    "payload",
    [
        r'{"a": "x\ud800", "\udfff": 1}', '{"a": 1e400000}', '{"a": 1, "a": 2}', r'{"a": "\u0000"}', "[" * 128 + "]" * 128,
        '{"a":' * 127 + "1" + "}" * 127, '{"a": ' + "9" * 10_000 + "}", '"a"', "null", "7", r'"\u0000\ud83d"',
        "no JSON at all", "", '{"a": nope}', '{"a"',
    ],
)  # fmt: skip
def test_no_payload_can_make_it_fail(payload: str):
    """A claim that fails would fail again and again, and take nothing: whatever was stored has a key, or none."""
    for template in (
        "{{payload}}",
        "{{payload.a}}",
        "x{{payload.a}}{{payload}}",
        "{{payload.a.a.a}}",
        "{{payload[0]}}",
    ):
        made = key(template, payload)
        assert made is None or (len(made) <= MAX_VALUE and "\0" not in made and made.encode())


@given(
    payload=st.recursive(st.none() | st.text() | st.integers() | st.booleans(), lambda v: st.dictionaries(st.text(), v))
)
def test_every_payload_has_a_key_that_can_be_stored(payload: object):
    """At most 256 characters, no NUL, or none."""
    for template in ("{{payload}}", "a{{payload.a}}", "{{payload.a.b}}"):
        made = key(template, json.dumps(payload))
        assert made is None or (len(made.encode()) <= 4 * MAX_VALUE and "\0" not in made)


def test_all_faults_come_at_once_each_at_its_place():
    """Names, templates, numbers, and how many there may be."""
    wrong = [
        RateKey("", "{{payload.a}}", 0, 0),
        RateKey("a b", "payload.tenant", 1_000_001, 86_401),
        RateKey("tenant", "{{payload.", 1, 1),
        RateKey("tenant", "{{result.a}}", 1, 1),
        RateKey("x", "{{run.id}}{{run}}", 1, 1),
        RateKey("y", "{{payload.a}}" + "x" * 512, 1, 1),
    ]
    assert [fault.pointer.removeprefix("/rate_limit_keys/") for fault in check_rate_keys(wrong)] == [
        "0/name", "0/max", "0/window_secs", "1/name", "1/key", "1/max", "1/window_secs", "2/key", "3/name", "3/key",
        "4/key", "4/key", "5/key",
    ]  # fmt: skip
    many = [RateKey(f"n{at}", LIMIT.key, 1, 1) for at in range(11)]
    assert [fault.pointer for fault in check_rate_keys(many)] == ["/rate_limit_keys"]
    assert check_rate_keys(many[:10]) == []


def test_a_definition_is_judged_with_its_limits():
    """And null puts them back to none."""
    spec = JobSpec("p", "s", "S", "https://example.com", rate_limit_keys=(LIMIT, LIMIT))
    assert [fault.pointer for fault in faults_of(spec)] == ["/rate_limit_keys/1/name"]
    assert settled("rate_limit_keys", None) == settled("rate_limit_keys", []) == ()
