"""What is wrong with a manifest, as far as that can be said without a server: in the very words of the server."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from strait_cli import exact
from strait_core import manifest
from strait_core.errors import Fault
from strait_core.wire.manifests import Manifest, ManifestCalendar, ManifestJob, ManifestWorkflow
from strait_core.wire.refusal import choices_of, fault_of

_SHAPES: Final[dict[str, Any]] = {"calendars": ManifestCalendar, "jobs": ManifestJob, "workflows": ManifestWorkflow}


def judged(body: dict[str, Any], project: str) -> list[Fault]:
    """Every fault of a manifest's body, each with its pointer: of each object the first of its shape, or all else."""
    faults: list[Fault] = []
    read: dict[str, Any] = {}
    for name, value in body.items():
        shape = _SHAPES.get(name)
        if shape is None:
            read[name] = value
            continue
        read[name] = [_decoded(one, shape, f"/{name}/{at}", faults) for at, one in enumerate(value or ())]
    lists = {name: read.pop(name, None) for name in _SHAPES}
    outer = _decoded(read, Manifest, "", faults)
    if faults or outer is None:
        return faults
    for name, listed in lists.items():
        if listed is not None:
            setattr(outer, name, listed)
    named = read.get("project") or project
    return manifest.read(outer, None if read.get("project") else named)[1]


def _decoded(value: Any, shape: Any, pointer: str, faults: list[Fault]) -> Any:
    try:
        return msgspec.json.decode(exact.dumps(value), type=shape)
    except msgspec.DecodeError as error:
        fault = fault_of(str(error), choices_of(shape))
        faults.append(Fault(pointer + fault.pointer, fault.message))
        return None
