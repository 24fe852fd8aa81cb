"""A hand at the keys: what it presses has to have an effect, and is kept."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from textual.binding import BindingsMap
from textual.dom import DOMNode
from textual.pilot import Pilot

from strait_cli import tui
from tests.tui.stage import text_of, until


class Hand:
    """Presses the keys of one view, in as many apps as it takes."""

    def __init__(self) -> None:
        self.pressed: set[str] = set()

    async def press(self, pilot: Pilot[Any], key: str, effect: Callable[[], bool]) -> None:
        """Press a key that brings about what is not so before; a key without a binding fails here."""
        assert not effect(), f"nothing is left to be done by {key}"
        await pilot.press(key)
        if not effect():
            await until(pilot, effect, lambda: f"{key} had no effect:\n{text_of(pilot.app)}")
        self.pressed.add(key)


def keys_of(view: type[DOMNode]) -> set[str]:
    """The keys that a view declares itself, as Textual reads them."""
    return set(BindingsMap(vars(view)["BINDINGS"]).key_to_bindings)


def views_with_keys() -> list[type[DOMNode]]:
    """Every app, screen and widget of ours that declares keys, found in the modules themselves."""
    modules = [importlib.import_module(f"{tui.__name__}.{one.name}") for one in pkgutil.iter_modules(tui.__path__)]
    return [
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and found.__module__ == module.__name__ and "BINDINGS" in vars(found)
    ]
