"""Conditions: whether a step runs, said as a JSON tree over the states, the payload and the outputs of a run.

    {"type": "step_status", "step_ref": "a", "status": "failed"}
    {"type": "gt", "left": "{{steps.a.output.n}}", "right": 3}
    {"type": "all_of", "conditions": [...]}

An operand is any JSON value, a template where it is a string: one placeholder alone stands for the value itself. Values
are compared as JSON: 1 is 1.0, true is not 1, and nothing is converted. `gt gte lt lte` order two numbers or two
strings; `contains` looks for a text in a text, an element in a list, or a key in an object; `in` is its mirror image
for lists; `regex` searches `left` for the pattern `right`; `exists` asks whether there is a value other than null.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import re2

from strait_core import template
from strait_core.errors import Fault, escape_pointer
from strait_core.template import Slot

# What a step's state can be when those that depend on it are looked at.
STATUSES: Final = ("completed", "failed", "skipped", "canceled")
MAX_NODES: Final = 500
MAX_BYTES: Final = 64 * 1024
MAX_PATTERN: Final = 1_000
# What the program of a pattern may take: more states make every character dearer.
MAX_PATTERN_MEMORY: Final = 1024 * 1024
# Longer texts are not searched: the step fails and says so.
MAX_SEARCHED: Final = 256 * 1024
# The most that one operand may become: the largest output, and text around it.
MAX_OPERAND: Final = 6 * 1024 * 1024

_TWO: Final = frozenset({"type", "left", "right"})
# The fields that a node of each type has, all of them required.
NODES: Final[Mapping[str, frozenset[str]]] = {
    "step_status": frozenset({"type", "step_ref", "status"}),
    "step_status_in": frozenset({"type", "step_ref", "statuses"}),
    "all_of": frozenset({"type", "conditions"}),
    "any_of": frozenset({"type", "conditions"}),
    "not": frozenset({"type", "condition"}),
    "exists": frozenset({"type", "operand"}),
    **dict.fromkeys(("eq", "ne", "gt", "gte", "lt", "lte", "contains", "in", "regex"), _TWO),
}
_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class ConditionError(ValueError):
    """A condition that cannot be answered with the values at hand; its text says why."""


class MissingError(ConditionError):
    """A condition that names a place where there is nothing."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"there is nothing at {', '.join(f'{{{{{path}}}}}' for path in paths)}")
        self.paths = paths


@dataclass(frozen=True, slots=True)
class Mention:
    """What a condition or a template speaks of: a placeholder, or (`slot` None) a step's state."""

    pointer: str
    step_ref: str | None
    slot: Slot | None

    @property
    def names(self) -> str | None:
        """The step that is meant; None when it is none."""
        if self.slot is None:
            return self.step_ref
        return str(self.slot.steps[0]) if self.slot.root in {"steps", "parent_outputs"} and self.slot.steps else None


def faults_of(tree: Any, pointer: str, roots: frozenset[str]) -> list[Fault]:
    """Everything wrong with a condition that stands at `pointer`, apart from the steps that it names."""
    if len(_encode(tree)) > MAX_BYTES:
        return [Fault(pointer, f"must be at most {MAX_BYTES // 1024} KiB")]
    faults: list[Fault] = []
    for count, (node, place) in enumerate(_nodes(tree, pointer)):
        if count == MAX_NODES:
            return [*faults, Fault(pointer, f"must have at most {MAX_NODES} nodes")]
        faults += _node_faults(node, place, roots)
    return faults


def _nodes(tree: Any, pointer: str) -> Iterator[tuple[Any, str]]:
    """Every node, the outermost first; what is no node comes too, to be refused."""
    waiting = [(tree, pointer)]
    while waiting:
        node, place = waiting.pop()
        yield node, place
        if not isinstance(node, dict):
            continue
        match node.get("type"):
            case "all_of" | "any_of" if isinstance(node.get("conditions"), list):
                inner = [(one, f"{place}/conditions/{at}") for at, one in enumerate(node["conditions"])]
                waiting += reversed(inner)
            case "not" if "condition" in node:
                waiting.append((node["condition"], f"{place}/condition"))


def _node_faults(node: Any, place: str, roots: frozenset[str]) -> list[Fault]:
    if not isinstance(node, dict):
        return [Fault(place, 'must be an object with a type, like {"type": "exists", "operand": "{{payload.a}}"}')]
    kind = node.get("type")
    if not isinstance(kind, str) or kind not in NODES:
        return [Fault(f"{place}/type", f"must be one of {', '.join(sorted(NODES))}")]
    wanted = NODES[kind]
    faults = [Fault(f"{place}/{name}", "is required") for name in sorted(wanted - node.keys())]
    faults += [
        Fault(f"{place}/{escape_pointer(name)}", f"is not a field of {kind}") for name in sorted(node.keys() - wanted)
    ]
    return faults or _content_faults(kind, node, place, roots)


def _content_faults(kind: str, node: dict[str, Any], place: str, roots: frozenset[str]) -> list[Fault]:
    """What is wrong with the values of a node that has the right fields."""
    match kind:
        case "step_status":
            return _step_faults(node, place) + _status_faults(node["status"], f"{place}/status")
        case "step_status_in":
            return _step_faults(node, place) + _statuses_faults(node["statuses"], f"{place}/statuses")
        case "all_of" | "any_of":
            is_list = isinstance(node["conditions"], list) and node["conditions"]
            return [] if is_list else [Fault(f"{place}/conditions", "must be a list of at least one condition")]
        case "not":
            return []
        case "exists":
            return _path_faults(node["operand"], f"{place}/operand", roots)
        case _:
            faults = [
                fault
                for side in ("left", "right")
                for fault in template.faults_of(node[side], roots, f"{place}/{side}")
            ]
            return faults or _operand_faults(kind, node, place)


def _step_faults(node: dict[str, Any], place: str) -> list[Fault]:
    return [] if isinstance(node["step_ref"], str) else [Fault(f"{place}/step_ref", "must be the name of a step")]


def _status_faults(status: Any, place: str) -> list[Fault]:
    return [] if status in STATUSES else [Fault(place, f"must be one of {', '.join(STATUSES)}")]


def _statuses_faults(statuses: Any, place: str) -> list[Fault]:
    if not isinstance(statuses, list) or not statuses:
        return [Fault(place, f"must be a list of {', '.join(STATUSES)}")]
    return [fault for at, one in enumerate(statuses) for fault in _status_faults(one, f"{place}/{at}")]


def _path_faults(operand: Any, place: str, roots: frozenset[str]) -> list[Fault]:
    faults = template.faults_of(operand, roots, place)
    if not faults and not (isinstance(operand, str) and is_path(operand)):
        faults.append(Fault(place, 'must be one placeholder, like "{{payload.user.id}}"'))
    return faults


def is_path(text: str) -> bool:
    """Whether a template that has no faults is one placeholder and nothing else."""
    parts = template.parse(text)
    return len(parts) == 1 and isinstance(parts[0], Slot)


def _is_literal(operand: Any) -> bool:
    return not any(True for _ in template.slots_of(operand, ""))


def _operand_faults(kind: str, node: dict[str, Any], place: str) -> list[Fault]:
    """What can be said of literal operands before any run."""
    left, right = node["left"], node["right"]
    if kind == "regex":
        return _pattern_faults(right, f"{place}/right")
    if kind == "in" and not isinstance(right, list) and _is_literal(right):
        return [Fault(f"{place}/right", "must be a list, or a placeholder that stands for one")]
    if kind in _ORDER:
        return [
            Fault(f"{place}/{side}", "must be a number, a string, or a placeholder that stands for one")
            for side, value in (("left", left), ("right", right))
            if not _is_number(value) and not isinstance(value, str)
        ]
    return []


def _pattern_faults(pattern: Any, place: str) -> list[Fault]:
    if not isinstance(pattern, str) or not _is_literal(pattern):
        return [Fault(place, "must be a pattern, without placeholders")]
    if len(pattern) > MAX_PATTERN:
        return [Fault(place, f"must be at most {MAX_PATTERN} characters")]
    try:
        _compiled(pattern)
    except re2.error as error:
        return [Fault(place, f"is not a pattern of RE2: {said_of(error)}")]
    return []


def said_of(error: Exception) -> str:
    """What RE2 says of a pattern, as text."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def options() -> Any:
    """How patterns are compiled: quietly, and only as large as is searched fast."""
    made = re2.Options()
    made.log_errors = False
    made.max_mem = MAX_PATTERN_MEMORY
    return made


@lru_cache(1_024)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, options())


def mentions(tree: Any, pointer: str) -> Iterator[Mention]:
    """The placeholders of a condition without faults, and the steps whose states it asks for."""
    for node, place in _nodes(tree, pointer):
        if "step_ref" in node:
            yield Mention(f"{place}/step_ref", node["step_ref"], None)
        for side in ("left", "right", "operand"):
            if side in node:
                for inner, slot in template.slots_of(node[side], f"{place}/{side}"):
                    yield Mention(inner, None, slot)


def evaluate(tree: Any, statuses: Mapping[str, str], roots: Mapping[str, str]) -> bool:
    """Whether a condition without faults holds; `statuses` by step, `roots` as `template.fill` takes them.

    Raises MissingError where a placeholder without a default leads nowhere, ConditionError where values cannot be
    compared; parts that do not matter for the answer are not looked at.
    """
    match tree["type"]:
        case "step_status" | "step_status_in":
            return statuses.get(tree["step_ref"]) in tree.get("statuses", (tree.get("status"),))
        case "all_of":
            return all(evaluate(one, statuses, roots) for one in tree["conditions"])
        case "any_of":
            return any(evaluate(one, statuses, roots) for one in tree["conditions"])
        case "not":
            return not evaluate(tree["condition"], statuses, roots)
        case "exists":
            filled = template.fill(tree["operand"], roots, most=MAX_OPERAND)
            return not filled.missing and filled.text.strip() != "null"
        case kind:
            return _compare(kind, _value(tree["left"], roots), _value(tree["right"], roots))


def _value(operand: Any, roots: Mapping[str, str]) -> Any:
    try:
        filled = template.fill(operand, roots, most=MAX_OPERAND)
        if filled.missing:
            raise MissingError(filled.missing)
        return _decode(filled.text)
    except template.TooLongError:
        raise ConditionError("an operand becomes longer than may be compared") from None
    except (msgspec.DecodeError, RecursionError):
        raise ConditionError("an operand is JSON that cannot be compared") from None


def _compare(kind: str, left: Any, right: Any) -> bool:
    match kind:
        case "eq":
            return same(left, right)
        case "ne":
            return not same(left, right)
        case "contains":
            return _contains(left, right)
        case "in":
            if not isinstance(right, list):
                raise ConditionError(f"in: {_kind(right)} has no elements")
            return any(same(left, one) for one in right)
        case "regex":
            return _matches(left, right)
        case _:
            if not (_is_number(left) and _is_number(right)) and not (isinstance(left, str) and isinstance(right, str)):
                raise ConditionError(f"{kind}: {_kind(left)} and {_kind(right)} have no order")
            return _ORDER[kind](left, right)


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, true is not 1, the order of keys does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return right in left
    if isinstance(left, list):
        return any(same(one, right) for one in left)
    if isinstance(left, dict) and isinstance(right, str):
        return right in left
    raise ConditionError(f"contains: {_kind(left)} cannot contain {_kind(right)}")


def _matches(text: Any, pattern: str) -> bool:
    if not isinstance(text, str):
        raise ConditionError(f"regex: {_kind(text)} is no text")
    if len(text) > MAX_SEARCHED:
        raise ConditionError(f"regex: a text of more than {MAX_SEARCHED // 1024} KiB is not searched")
    return _compiled(pattern).search(text) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "a boolean"
    names: dict[type, str] = {str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
