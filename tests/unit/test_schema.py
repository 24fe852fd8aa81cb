"""Judging by JSON Schema: what is a schema, what a document has against one, and what neither may do to us."""

from __future__ import annotations

import time
from typing import Any

import pytest

from strait_core.schema import MAX_SCHEMA_BYTES, MOST_FAULTS, Judge, check_schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "integer"}}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "string"}]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]},
        {"properties": {"child": {"$ref": "#"}}},
    ],
)
def test_a_schema_is_taken(schema: dict[str, Any]):
    """Of any draft that is known, with references inside itself."""
    assert check_schema("payload_schema", schema) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"minimum": "1"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "file:///etc/hostname"},
        {"$schema": "http://example.com/own"},
        {"pattern": "("},
        {"pattern": "(?=a)b"},
        {"pattern": "(a)\\1"},
        {"description": "x" * MAX_SCHEMA_BYTES},
    ],
    ids=str,
)
def test_what_is_no_schema_that_works_here_is_refused(schema: dict[str, Any]):
    """With one fault at the field; nothing outside the schema is looked at."""
    assert [fault.pointer for fault in check_schema("result_schema", schema)] == ["/result_schema"]


def test_every_fault_has_its_pointer():
    """Where it is in the document, below the place the document stands at."""
    judge = Judge({"properties": {"a/b": {"items": {"type": "integer"}}, "c": {"minimum": 2}}, "required": ["d"]})
    assert judge.faults("/payload", '{"a/b": [1, 2], "c": 2, "d": null}') == []
    faults = judge.faults("/payload", '{"a/b": [1, "x"], "c": 1}')
    assert {fault.pointer for fault in faults} == {"/payload", "/payload/a~1b/1", "/payload/c"}
    assert all(len(fault.message) < 400 for fault in judge.faults("", '{"c": 1, "x": "%s"}' % ("y" * 9_000)))


@pytest.mark.parametrize("text", ['"\\ud800"', "1e400000", "9" * 5_000])
def test_what_cannot_be_compared_is_a_fault(text: str):
    """JSON that no schema can be asked about is refused, never a failure."""
    (fault,) = Judge({"type": "object"}).faults("/payload", text)
    assert fault.pointer == "/payload"


def test_a_long_document_costs_no_more_than_its_length():
    """A million faults are not listed, and a pattern takes linear time."""
    judge = Judge({"items": {"type": "integer"}})
    assert len(judge.faults("", str(["x"] * 1_000).replace("'", '"'))) == MOST_FAULTS
    assert len(judge.faults("", "[" + '"x",' * 500_000 + "1]")) == 1
    began = time.process_time()
    assert Judge({"pattern": "^(a+)+$"}).faults("", '"' + "a" * 50_000 + 'b"')
    assert time.process_time() - began < 5
