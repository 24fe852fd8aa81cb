"""Templates: what a placeholder becomes, what is refused when a template is saved, and what stays bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core.template import MAX_BYTES, MAX_SLOTS, TooLongError, faults_of, fill

ROOTS = {
    "payload": r'{"a": 1.0, "big": 1e400, "b": {"c": [1, {"d": "deep"}]}, "half": "x\ud800\\ud800", "my-key": [], "n": null}',
    "result": '"done"',
    "run": '{"id": "run_1"}',
    "error": "null",
}


def made(template: Any, most: int = 1_000_000) -> str:
    """What a template becomes, with nothing missing."""
    filled = fill(template, ROOTS, most=most)
    assert filled.missing == ()
    return filled.text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{payload.a}}", "1.0"),
        ("{{ payload.big }}", "1e400"),
        ("{{payload.b.c[1].d}}", '"deep"'),
        ("{{payload.b}}", '{"c": [1, {"d": "deep"}]}'),
        ("{{payload.my-key}}", "[]"),
        ("{{payload.n}}", "null"),
        ("{{error}}", "null"),
        ("{{result}}", '"done"'),
        ("run {{run.id}}: {{result}}, {{payload.a}}", '"run run_1: done, 1.0"'),
        ("{{payload.half}}", r'"x\ufffd\\ud800"'),
        ('{{payload.zz | default({"x": "}}"})}}', '{"x": "}}"}'),
        ("[{{payload.zz|default(7)}}]", '"[7]"'),
        ("no placeholder }}", '"no placeholder }}"'),
        ("", '""'),
        ([1, True, None, {"k": "{{run.id}}"}], '[1,true,null,{"k":"run_1"}]'),
    ],
)
def test_a_placeholder_becomes_its_value(template: Any, text: str):
    """Alone it keeps type and digits; inside a text it is text; defaults stand in."""
    assert faults_of(template, ROOTS, "/m") == []
    assert made(template).replace("\ufffd", r"\ufffd") == text


def test_what_is_not_there_is_noted_once():
    """Null for the whole, nothing inside a text; every path is named once, in order."""
    filled = fill(["{{payload.x.y}}", "<{{result.z}}>", "{{payload.b.c[9]}}", "{{payload.x.y}}"], ROOTS, most=1_000)
    assert filled.text == '[null,"<>",null,null]'
    assert filled.missing == ("payload.x.y", "result.z", "payload.b.c[9]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{payload.a", "is not a placeholder"),
        ("{{}}", "does not name a value"),
        ("{{payload.a b}}", "is not a placeholder"),
        ("{{payload..a}}", "is not a placeholder"),
        ("{{payload.a | default(nope)}}", "is not JSON"),
        ("{{payload.a | default(NaN)}}", "is not JSON"),
        ("{{payload.a | default(1}}", "does not end with"),
        ("{{secrets.a}}", "begins with none of"),
        ("{{payload" + ".a" * 40 + "}}", "deeper"),
    ],
)
def test_a_wrong_placeholder_is_refused_with_its_place(text: str, said: str):
    """The pointer leads into the template."""
    (fault,) = faults_of({"a/b": [text]}, ("payload",), "/m")
    assert fault.pointer == "/m/a~1b/0"
    assert said in fault.message


def test_a_template_is_bounded():
    """In its own length, in placeholders, and in what it makes, however often it repeats a long value."""
    assert [one.pointer for one in faults_of("x" * (MAX_BYTES + 1), ROOTS, "/m")] == ["/m"]
    assert [one.pointer for one in faults_of("{{run.id}}" * (MAX_SLOTS + 1), ROOTS, "/m")] == ["/m"]
    long = {**ROOTS, "payload": json.dumps("x" * 10_000)}
    with pytest.raises(TooLongError):
        fill(["{{payload}}"] * 200, long, most=1_000_000)
    with pytest.raises(TooLongError):
        fill("x" * 100, ROOTS, most=50)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab-9", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_whatever_a_payload_holds_comes_through_unchanged(value: Any):
    """A whole document, and each of its members by its path, is the same value afterwards."""
    text = json.dumps(value)
    assert json.loads(fill("{{payload}}", {"payload": text}, most=1_000_000).text) == value
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in steps:
        path = f"payload[{step}]" if isinstance(value, list) else f"payload.{step}"
        filled = fill({"m": f"{{{{{path}}}}}"}, {"payload": text}, most=1_000_000)
        assert json.loads(filled.text) == {"m": member}


@given(st.text(alphabet="{}| .payloddefut()[]0\"'", max_size=40))
def test_no_text_breaks_the_reader(text: str):
    """Every text is either refused or can be filled."""
    if not faults_of(text, ("payload",), ""):
        assert len(fill(text, {"payload": "{}"}, most=10_000).text) <= 10_000
