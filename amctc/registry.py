"""What is registered: passes, targets and named pipelines, each pass and target loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from amctc.registered import BUILT_IN, Registered

if TYPE_CHECKING:
    from amctc.pipeline.pass_ import Pass
    from amctc.pipeline.target import Target


__all__ = [
    "BUILT_IN",
    "PASSES",
    "PIPELINES",
    "TARGETS",
    "Entry",
    "RegistrationError",
    "Registry",
    "builtin_registry",
    "current_registry",
    "entries",
]


class RegistrationError(Exception):
    """A built-in table is wrong: two entries have one name, or an entry does not load."""


@dataclass(frozen=True)
class Entry:
    """A class and who registered it: by its place `module:Class`, or the class itself where it is there already."""

    name: str
    location: str
    owner: str = BUILT_IN
    kind: type[Any] | None = None

    def load(self) -> type[Any]:
        """The class, imported if need be. Raises `RegistrationError` naming the owner when that fails."""
        if self.kind is not None:
            return self.kind
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
    """Passes and targets by name; `pipelines` are the texts of named pipelines, `pipeline_owners` whose they are."""

    passes: Mapping[str, Entry]
    targets: Mapping[str, Entry]
    pipelines: Mapping[str, str] = field(default_factory=dict[str, str])
    pipeline_owners: Mapping[str, str] = field(default_factory=dict[str, str])

    def owner_of_pipeline(self, name: str) -> str:
        return self.pipeline_owners.get(name, BUILT_IN)


PASSES: Registered[type[Pass]] = Registered("pass")
TARGETS: Registered[type[Target]] = Registered("target")
PIPELINES: Registered[str] = Registered("pipeline")


def entries(table: Mapping[str, str], owner: str = BUILT_IN) -> Iterable[Entry]:
    """Entries from a table `name -> module:Class`."""
    return (Entry(name, location, owner) for name, location in table.items())


@cache
def builtin_registry() -> Registry:
    """The passes, targets and pipelines that come with amctc: the tables of `amctc.passes` and `amctc.targets`."""
    passes = import_module("amctc.passes")
    return Registry(
        passes=_by_name(entries(passes.PASSES)),
        targets=_by_name(entries(import_module("amctc.targets").TARGETS)),
        pipelines=MappingProxyType(dict(passes.PIPELINES)),
    )


def current_registry() -> Registry:
    """The built-ins, and what this process has registered until now."""
    ours = builtin_registry()
    return Registry(
        passes=MappingProxyType({**ours.passes, **_registered(PASSES)}),
        targets=MappingProxyType({**ours.targets, **_registered(TARGETS)}),
        pipelines=MappingProxyType({**ours.pipelines, **{name: row.value for name, row in PIPELINES.rows.items()}}),
        pipeline_owners=MappingProxyType({name: row.owner.name for name, row in PIPELINES.rows.items()}),
    )


def _registered(table: Registered[Any]) -> Mapping[str, Entry]:
    return {
        name: Entry(name, f"{row.value.__module__}:{row.value.__qualname__}", row.owner.name, row.value)
        for name, row in table.rows.items()
    }


def _by_name(found: Iterable[Entry]) -> Mapping[str, Entry]:
    table: dict[str, Entry] = {}
    for entry in found:
        if entry.name in table:
            raise RegistrationError(f"`{entry.name}` is claimed by {table[entry.name].owner} and by {entry.owner}")
        table[entry.name] = entry
    return MappingProxyType(table)
