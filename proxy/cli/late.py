"""Groups of commands that are imported when one of them is typed, and told of without importing any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class Late(NamedTuple):
    """A command that is not imported yet."""

    summary: str  # its line in the overview
    place: str  # `module:name` of a function, or of a group


def grouped(commands: Mapping[str, Late], **settings: Any) -> typer.Typer:
    """A group of these commands, by name, as the overview lists them."""

    class LateGroup(TyperGroup):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            there: Any = _WhenAsked(commands)
            self.commands = there

        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # typer's to give
            with formatter.section("Commands"):
                formatter.write_dl([(name, late.summary) for name, late in commands.items()])

    return typer.Typer(cls=LateGroup, rich_markup_mode=None, **settings)


class _WhenAsked(Mapping[str, Any]):
    """Commands by name; whoever asks for one has it imported."""

    def __init__(self, commands: Mapping[str, Late]) -> None:
        self._late = commands
        self._imported: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._imported:
            self._imported[name] = _import(name, self._late[name].place)
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._late)

    def __len__(self) -> int:
        return len(self._late)


def _import(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    # help texts are plain, so that their examples keep their lines
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return get_command(alone)
