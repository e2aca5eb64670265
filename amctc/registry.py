"""What is registered: passes and targets by name, each loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any


class RegistrationError(Exception):
    """Two owners claim one name, or an entry does not load: a mistake of whoever registered it."""


@dataclass(frozen=True)
class Entry:
    """A class in a module, `module:Class`, and who registered it."""

    name: str
    location: str
    owner: str = "amctc"

    def load(self) -> type[Any]:
        """Import the class. Raises `RegistrationError` naming the owner when that fails."""
        module, _, attribute = self.location.partition(":")
        try:
            loaded: type[Any] = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as failure:
            raise RegistrationError(f"`{self.name}` of {self.owner} does not load: {failure}") from failure
        if getattr(loaded, "name", None) != self.name:
            raise RegistrationError(f"`{self.name}` of {self.owner} is registered under another name than its own")
        return loaded


@dataclass(frozen=True)
class Registry:
    passes: Mapping[str, Entry]
    targets: Mapping[str, Entry]


def entries(table: Mapping[str, str], owner: str = "amctc") -> Iterable[Entry]:
    """Entries from a table `name -> module:Class`."""
    return (Entry(name, location, owner) for name, location in table.items())


@cache
def builtin_registry() -> Registry:
    """The passes and targets that come with amctc (their tables are `amctc.passes` and `amctc.targets`)."""
    return Registry(
        passes=_by_name(entries(import_module("amctc.passes").PASSES)),
        targets=_by_name(entries(import_module("amctc.targets").TARGETS)),
    )


def _by_name(found: Iterable[Entry]) -> Mapping[str, Entry]:
    table: dict[str, Entry] = {}
    for entry in found:
        if entry.name in table:
            raise RegistrationError(f"`{entry.name}` is claimed by {table[entry.name].owner} and by {entry.owner}")
        table[entry.name] = entry
    return MappingProxyType(table)
