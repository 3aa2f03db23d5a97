"""Values printed for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST_LEAF = 160
_WIDTH = 4_000
_HEADINGS = ("name", "kind", "act", "rule")
_ONLY_IF_TRUE = frozenset({"unlimited", "ambiguous", "unknown"})
_TIMES = frozenset({"validAfter", "validUntil", "until", "expires"})
_EARLIEST, _LATEST = 10**9, 10**11  # unix seconds of 2001 and 5138; smaller and larger numbers mean something else


def console() -> Console:
    """Where people read. Lines are never broken or cut: hashes and ids are there to be copied."""
    return Console(highlight=False, soft_wrap=True, width=_WIDTH)


def print_tree(title: str, value: Mapping[str, object]) -> None:
    """A nested value as a tree, keys in words."""
    tree = Tree(Text(title, style="bold"))
    _grow(tree, value)
    console().print(tree, crop=False)


def in_words(key: str) -> str:
    """`permissionId` as `permission id`."""
    return key if key.startswith("0x") else _WORD.sub(" ", key).lower()


def _grow(tree: Tree, value: Mapping[str, object], heading: str | None = None) -> None:
    for key, item in value.items():
        if key == heading or item in (None, [], {}) or (key in _ONLY_IF_TRUE and item is False):
            continue
        name = Text(in_words(key), style="cyan")
        if isinstance(item, Mapping):
            _grow(tree.add(name), item)
        elif isinstance(item, Sequence) and not isinstance(item, str):
            _grow_items(tree.add(name), item)
        else:
            tree.add(name + Text(f": {_leaf(item, key)}", style="default"))


def _grow_items(tree: Tree, items: Sequence[object]) -> None:
    for index, item in enumerate(items):
        if isinstance(item, Mapping):
            heading = next((key for key in _HEADINGS if isinstance(item.get(key), str)), None)
            title = str(index) if heading is None else f"{index}: {item[heading]}"
            _grow(tree.add(Text(title, style="cyan")), item, heading)
        else:
            tree.add(Text(_leaf(item, "")))


def _leaf(value: object, key: str) -> str:
    """One value on one line. Very long hex is cut in the middle: all of it is there with --json."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if len(text) > _LONGEST_LEAF and text.startswith("0x"):
        return f"{text[:74]}…{text[-16:]} ({len(text) // 2 - 1} bytes)"
    if key in _TIMES and text.isdigit() and _EARLIEST < int(text) < _LATEST:
        return f"{text} ({datetime.fromtimestamp(int(text), UTC):%Y-%m-%d %H:%M:%S} UTC)"
    return text
