"""What conditions, payloads and keys of a step become with the facts of its run: what `dag.advance` asks for.

Outputs are read only where something asks for them: whatever is not at hand is wished for first (`dag.Wanted`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw

from strait_core import template
from strait_core.template import Slot, TooLongError
from strait_core.trigger import MAX_PAYLOAD_BYTES
from strait_core.wire.events import faults_of_key
from strait_core.workflow import condition
from strait_core.workflow.condition import ConditionError
from strait_core.workflow.dag import Fault, Ready, Wanted
from strait_core.workflow.definition import StepSpec, StepType, payload_of
from strait_core.workflow.snapshot import Snapshot
from strait_core.workflow.states import StepStatus

# Stands among the indexes of steps for the payload that the run was triggered with.
PAYLOAD: Final = -1
# Payloads of steps that begin together, and outputs read together: a thousand of 64 KiB. They are in memory at once and
# in one transaction; more could exhaust the daemon, or take longer than a transaction may.
MOST_TOGETHER: Final = 64 * 1024 * 1024
# Why outputs of which together there is more are not read.
TOO_MUCH: Final = ("payload_size", f"payload_size: the outputs to be read are over {MOST_TOGETHER // 1024 // 1024} MiB")
PARENT_OUTPUTS: Final = "parent_outputs"
_encode: Final = msgspec.json.Encoder().encode
_NULL: Final = "null"
Statuses = Mapping[int, StepStatus]


@dataclass(slots=True)
class Facts:
    """What is known of a run: `about` is what `{{run}}` names, `outputs` the JSON texts that have been read.

    The output of a step that has none is None; that of `PAYLOAD` is the trigger's payload.
    """

    snapshot: Snapshot
    about: Mapping[str, Any]
    outputs: dict[int, str | None] = field(default_factory=dict)
    # Steps whose outputs are too much to be read: whoever needs one of them fails.
    refused: set[int] = field(default_factory=set)
    # How long the payloads are that have been made since `begin`, and those that steps without their own share.
    _weight: int = 0
    _shared: dict[tuple[int, ...], str] = field(default_factory=dict)
    _members: dict[int, Any] = field(default_factory=dict)

    def begin(self) -> None:
        """Steps are about to be looked at: what has been prepared before is stored, or was for nothing."""
        self._weight = 0
        self._shared.clear()

    def judge(self, at: int, statuses: Statuses) -> bool | Fault | Wanted:
        """Whether the condition of a step holds; one that cannot be answered is a fault of class `condition`."""
        tree = self.snapshot.steps[at].condition
        if tree is None:
            return True
        slots = [slot for one in condition.mentions(tree, "") if (slot := one.slot) is not None]
        if fault := self._refused(self._read_by(slots)):
            return fault
        missing = self._missing(self._read_by(slots), statuses)
        # Whether it speaks of the payload is not worth a look: the step would need it next.
        if missing or PAYLOAD not in self.outputs:
            return Wanted(frozenset({*missing, PAYLOAD} - self.outputs.keys()))
        index = self.snapshot.index
        refs = {one.step_ref for one in condition.mentions(tree, "") if one.step_ref is not None}
        names = {ref: statuses[index[ref]].value for ref in refs if index[ref] in statuses}
        try:
            return condition.evaluate(tree, names, self._roots(at, slots, statuses))
        except ConditionError as error:
            return Fault("condition", f"condition: {error}")

    def prepare(self, at: int, statuses: Statuses) -> Ready | Fault | Wanted:
        """What a step starts with."""
        step = self.snapshot.steps[at]
        match step.step_type:
            case StepType.JOB | StepType.SUB_WORKFLOW:
                return self._payload(at, step, statuses)
            case StepType.WAIT_FOR_EVENT:
                return self._key(at, step.event_key or "", statuses)
            case StepType.SLEEP if step.sleep_until is not None:
                return self._instant(at, step.sleep_until, statuses)
            case _:
                return Ready()

    def key_of(self, at: int, key: str, statuses: Statuses) -> Ready | Fault | Wanted:
        """What the template of an event's key becomes, seen from a step."""
        return self._key(at, key, statuses)

    def _payload(self, at: int, step: StepSpec, statuses: Statuses) -> Ready | Fault | Wanted:
        """Trigger payload ← step payload ← outputs of the direct dependencies."""
        own = payload_of(step)
        parents = self.snapshot.graph.parents[at]
        if own is None and parents in self._shared:
            return self._weighed(self._shared[parents])
        slots = list(_slots(own))
        needed = {*self._read_by(slots), *parents}
        if fault := self._refused(needed):
            return fault
        missing = self._missing(needed, statuses)
        if missing or PAYLOAD not in self.outputs:
            return Wanted(frozenset({*missing, PAYLOAD} - self.outputs.keys()))
        filled = None if own is None else self._fill(at, own, slots, statuses)
        if isinstance(filled, Fault):
            return filled
        text = self._merged(at, filled, statuses)
        if len(text.encode()) > MAX_PAYLOAD_BYTES:
            return _too_long()
        if own is None:
            self._shared[parents] = text
        return self._weighed(text)

    def _weighed(self, text: str) -> Ready | Fault:
        """A payload, if those that are made together leave room for it."""
        self._weight += len(text)
        if self._weight > MOST_TOGETHER:
            said = f"payload_size: steps that begin together carry over {MOST_TOGETHER // 1024 // 1024} MiB of payloads"
            return Fault("payload_size", said)
        return Ready(text)

    def _merged(self, at: int, own: str | None, statuses: Statuses) -> str:
        """The parts of a payload put together, key by key; what is no object stands alone."""
        trigger, parents = self.outputs[PAYLOAD] or "{}", self.snapshot.graph.parents[at]
        if own is None and not parents:
            return trigger
        if PAYLOAD not in self._members:
            self._members[PAYLOAD] = _object(trigger)
        base = self._members[PAYLOAD]
        over = None if own is None else _object(own)
        if own is not None and not isinstance(over, dict):
            return own
        if own is None and not isinstance(base, dict):
            return trigger
        whole = {**(base if isinstance(base, dict) else {}), **(over or {})}
        if parents:
            whole[PARENT_OUTPUTS] = Raw(self._outputs(parents, statuses).encode())
        return _encode(whole).decode()

    def _key(self, at: int, key: str, statuses: Statuses) -> Ready | Fault | Wanted:
        made = self._text(at, key, statuses)
        if isinstance(made, str):
            faults = faults_of_key("", made)
            return Fault("template", f"template: the event's key {faults[0].message}") if faults else Ready(made)
        return made

    def _instant(self, at: int, until: str, statuses: Statuses) -> Ready | Fault | Wanted:
        made = self._text(at, until, statuses)
        if isinstance(made, str):
            return Ready(made) if instant(made) else Fault("template", f"template: {made[:64]!r} names no instant")
        return made

    def _text(self, at: int, text: str, statuses: Statuses) -> str | Fault | Wanted:
        """A template that has to become a string."""
        slots = list(_slots(text))
        if fault := self._refused(self._read_by(slots)):
            return fault
        missing = self._missing(self._read_by(slots), statuses)
        if missing or PAYLOAD not in self.outputs:
            return Wanted(frozenset({*missing, PAYLOAD} - self.outputs.keys()))
        filled = self._fill(at, text, slots, statuses)
        if isinstance(filled, Fault):
            return filled
        made = msgspec.json.decode(filled)
        return made if isinstance(made, str) else Fault("template", "template: what it becomes is no string")

    def _fill(self, at: int, value: Any, slots: Iterable[Slot], statuses: Statuses) -> str | Fault:
        try:
            filled = template.fill(value, self._roots(at, slots, statuses), most=MAX_PAYLOAD_BYTES)
        except TooLongError:
            return _too_long()
        if filled.missing:
            paths = ", ".join(f"{{{{{path}}}}}" for path in filled.missing[:5])
            return Fault("template", f"template: there is nothing at {paths}")
        return filled.text

    def _read_by(self, slots: Iterable[Slot]) -> set[int]:
        """The steps whose outputs these placeholders name."""
        index = self.snapshot.index
        return {index[ref] for slot in slots if (ref := _ref(slot)) is not None and ref in index}

    def _refused(self, steps: set[int]) -> Fault | None:
        return None if self.refused.isdisjoint(steps) else Fault(*TOO_MUCH)

    def _missing(self, steps: Iterable[int], statuses: Statuses) -> set[int]:
        """Those of these steps whose outputs have not been read; only a completed step has one."""
        return {one for one in steps if statuses.get(one) is StepStatus.COMPLETED and one not in self.outputs}

    def _output(self, at: int, statuses: Statuses) -> str:
        return (self.outputs.get(at) or _NULL) if statuses.get(at) is StepStatus.COMPLETED else _NULL

    def _outputs(self, steps: Iterable[int], statuses: Statuses) -> str:
        """The outputs of these steps as an object by ref."""
        refs = self.snapshot.steps
        return "{" + ",".join(f'"{refs[one].step_ref}":{self._output(one, statuses)}' for one in steps) + "}"

    def _roots(self, at: int, slots: Iterable[Slot], statuses: Statuses) -> dict[str, str]:
        """What placeholders may name, as far as these do."""
        named = sorted(self._read_by(slots))
        refs = self.snapshot.steps
        told = (
            f'"{refs[one].step_ref}":{{"status":"{statuses.get(one, StepStatus.PENDING).value}",'
            f'"output":{self._output(one, statuses)}}}'
            for one in named
        )
        parents = [one for one in named if one in self.snapshot.graph.parents[at]]
        return {
            "payload": self.outputs[PAYLOAD] or "{}",
            "steps": "{" + ",".join(told) + "}",
            PARENT_OUTPUTS: self._outputs(parents, statuses),
            "run": _encode(self.about).decode(),
        }


def _object(text: str) -> dict[str, Raw] | None:
    """The members of an object, each as it was written; None when the text is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Raw])
    except msgspec.DecodeError:
        return msgspec.json.decode(template.whole_characters(text.encode()), type=dict[str, Raw])


def _slots(value: Any) -> Iterator[Slot]:
    return (slot for _, slot in template.slots_of(value, ""))


def _ref(slot: Slot) -> str | None:
    """The step of which a placeholder speaks."""
    return str(slot.steps[0]) if slot.root in {"steps", PARENT_OUTPUTS} and slot.steps else None


def _too_long() -> Fault:
    return Fault("payload_size", f"payload_size: the payload is over {MAX_PAYLOAD_BYTES} bytes")


def instant(text: str) -> datetime | None:
    """The instant that a text names, in UTC; None when it names none, or no UTC offset."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
