"""The root command: its sub-commands are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from inspect import getdoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class CommandsOnDemand(MutableMapping[str, Any]):
    """Commands by name, each made of its function when it is first looked for.

    To make one, typer reads its signature and the types in it; for all of them that takes longer than importing typer.
    """

    def __init__(self, functions: Mapping[str, Callable[..., None]]) -> None:
        self._functions = dict(functions)
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _command(name, self._functions[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._functions[name] = command.callback
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._functions[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def _command(name: str, function: Callable[..., None]) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name)(function)
    return get_command(alone)


def group_of(functions: Mapping[str, Callable[..., None]]) -> type[TyperGroup]:
    """A kind of group with these commands, which the help lists in their order with what their docstrings say first."""

    class Group(TyperGroup):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.commands = CommandsOnDemand(functions)

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            limit = formatter.width - 6 - max(map(len, functions))
            with formatter.section("Commands"):
                formatter.write_dl(list(_short_helps(functions, limit)))

    return Group


def _short_helps(functions: Mapping[str, Callable[..., None]], limit: int) -> Iterator[tuple[str, str]]:
    for name, function in functions.items():
        yield name, TyperCommand(name, help=getdoc(function)).get_short_help_str(limit)
