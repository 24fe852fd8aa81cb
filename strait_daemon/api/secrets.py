"""Secrets that a body carries: checked as they are sent, stored sealed, never shown again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from strait_core.errors import Fault
from strait_core.job import JobSpec
from strait_core.signing import secret_faults
from strait_daemon.vault import Unreadable, Vault

FIELDS: Final = ("signing_secret", "webhook_secret")
MASK: Final = "****"


def faults_of(given: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the secrets among the given fields; the faults say nothing of their text."""
    return [fault for name in FIELDS if given.get(name) is not None for fault in secret_faults(name, given[name])]


def sealed(vault: Vault, given: Mapping[str, Any], before: JobSpec | None = None) -> dict[str, Any]:
    """The given fields with their secrets sealed; one that says again what is stored stays as it is."""
    done = dict(given)
    for name in FIELDS:
        if done.get(name) is not None:
            stored = None if before is None else getattr(before, name)
            same = stored is not None and _opened(vault, stored) == done[name]
            done[name] = stored if same else vault.seal(done[name])
    return done


def _opened(vault: Vault, stored: str) -> str | None:
    try:
        return vault.open(stored)
    except Unreadable:
        return None


def masked(sealed_text: str | None) -> str | None:
    """What is shown of a secret: that there is one."""
    return None if sealed_text is None else MASK


def masked_definition(definition: str) -> bytes:
    """A stored definition as it may be shown."""
    if not any(f'"{name}":"' in definition for name in FIELDS):
        return definition.encode()
    fields: dict[str, Any] = msgspec.json.decode(definition)
    for name in FIELDS:
        if name in fields:
            fields[name] = masked(fields[name])
    return msgspec.json.encode(fields)
