"""A JSON value as a tree that opens: children are made when somebody looks, so a large value costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from strait_cli.output import dump
from strait_cli.table import safe
from strait_cli.tui import look

# Of a longer object or list the first so many are shown.
MOST_CHILDREN: Final = 500
_LONGEST_TEXT: Final = 400
# So much of a value is open from the start.
_OPEN_DEPTH: Final = 2
_OPEN_CHILDREN: Final = 30


class ValueTree(Tree[Any]):
    """One value; `show` replaces it."""

    DEFAULT_CSS = """
    ValueTree { border: round $border; border-title-color: $accent; background: $background; padding: 0;
        scrollbar-size: 1 1; }
    ValueTree:focus { border: round $accent; }
    """

    def __init__(self, title: str, name: str) -> None:
        super().__init__(Text(""), id=name)
        self.border_title = title
        self.show_root = False
        self.guide_depth = 2
        self._shown: tuple[Any] | None = None

    def show(self, value: Any, *, absent: str = "none") -> None:
        """Show a value; None is shown as `absent`."""
        if self._shown == (value,):
            return
        self._shown = (value,)
        self.clear()
        if value is None:
            self.root.add_leaf(Text(absent, style=look.DIM))
        elif isinstance(value, dict | list) and value:
            _fill(self.root, value, 1)
        else:
            self.root.add_leaf(_scalar(value))
        self.root.expand()

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[Any]) -> None:
        """Make the children of a node that is opened for the first time."""
        event.stop()
        if not event.node.children and event.node.data is not None:
            _fill(event.node, event.node.data, _OPEN_DEPTH + 1)


def _fill(node: TreeNode[Any], value: Any, depth: int) -> None:
    for count, (name, child) in enumerate(_children(value)):
        if count == MOST_CHILDREN:
            node.add_leaf(Text(f"… {len(value) - count} more", style=look.DIM))
            return
        if isinstance(child, dict | list) and child:
            size = f"{{{len(child)}}}" if isinstance(child, dict) else f"[{len(child)}]"
            inner = node.add(Text.assemble(name, (f" {size}", look.FAINT)), data=child)
            if depth < _OPEN_DEPTH and len(child) <= _OPEN_CHILDREN:
                _fill(inner, child, depth + 1)
                inner.expand()
        else:
            node.add_leaf(Text.assemble(name, "  ", _scalar(child)))


def _children(value: Any) -> Iterator[tuple[Text, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield Text(safe(str(key)), style=look.BLUE), child
    else:
        for at, child in enumerate(value):
            yield Text(str(at), style=look.DIM), child


def _scalar(value: Any) -> Text:
    match value:
        case str():
            cut = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "…"
            return Text(safe(cut), style=look.GREEN)
        case bool() | None:
            return Text(dump(value), style=look.PURPLE)
        case dict() | list():
            return Text(dump(value), style=look.FAINT)
    return Text(dump(value), style=look.ORANGE)
