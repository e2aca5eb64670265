"""Names of a policy that stand for many: `glob:res2*_branch2?` and `regex:conv[0-9]+`.

An extension: the original takes plain names only. A name that the model really has is that name,
whatever it begins with. An exact name wins over every pattern, and of patterns the last written one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from amctc.diagnostics import Collector, Diagnostic
from amctc.policy.pattern_syntax import PatternError
from amctc.policy.patterns import Pattern, glob, regex
from amctc.policy.said import Said

T = TypeVar("T")

MOST_PATTERNS = 500
"""In one list of a policy."""

_KINDS = MappingProxyType({"glob:": glob, "regex:": regex})


def is_selector(name: str) -> bool:
    """Whether a name is written as a pattern."""
    return name.startswith(("glob:", "regex:"))


def read_selector(name: str) -> Pattern | None:
    """The pattern that a name is written as, or None for a plain name. Raises `PatternError`."""
    for prefix, read in _KINDS.items():
        if name.startswith(prefix):
            return read(name[len(prefix) :])
    return None


def check_selectors(names: Iterable[Said[str]], where: str, collector: Collector) -> None:
    """Report (AM234) each pattern of a list that is wrong, and more of them than there may be.

    For a policy without a model: with one, a name that begins like a pattern may be that of a layer.
    """
    count = 0
    for name in names:
        if not is_selector(name.value):
            continue
        count += 1
        if count > MOST_PATTERNS:
            collector.add(_too_many(name, where))
            return
        try:
            read_selector(name.value)
        except PatternError as problem:
            collector.add(_wrong(name, problem))


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What a list says under one name or pattern, and the names that it stands for; `order` is where in the list."""

    name: Said[str]
    item: T
    pattern: bool
    matched: tuple[str, ...]
    order: int


@dataclass(frozen=True)
class Selection(Generic[T]):
    """What a list says of each of some names.

    `exact` are the entries by their names, `patterns` those that stand for a name, in the order
    written. An entry that cannot be read is in `problems` alone.
    """

    entries: tuple[Entry[T], ...]
    exact: Mapping[str, Entry[T]]
    patterns: Mapping[str, list[Entry[T]]]
    problems: tuple[Diagnostic, ...]

    def of(self, *names: str) -> list[Entry[T]]:
        """Everything that is said of what has these names, the strongest first; of several exact names the last."""
        exact = {entry.order: entry for name in names if (entry := self.exact.get(name)) is not None}
        patterns = {entry.order: entry for name in names for entry in self.patterns.get(name, ())}
        return [found[order] for found in (exact, patterns) for order in sorted(found, reverse=True)]

    def first(self, *names: str) -> Entry[T] | None:
        """What holds for what has these names."""
        found = self.of(*names)
        return found[0] if found else None


def select(
    items: Iterable[tuple[Said[str], T]], where: str, names: Collection[str], all_names: Collection[str]
) -> Selection[T]:
    """What the list called `where` says.

    `names` are those that a pattern may stand for; `all_names` are never read as patterns.
    """
    entries: list[Entry[T]] = []
    exact: dict[str, Entry[T]] = {}
    patterns: dict[str, list[Entry[T]]] = {}
    problems: list[Diagnostic] = []
    count = 0
    for order, (name, item) in enumerate(items):
        if name.value in all_names or not is_selector(name.value):
            exact[name.value] = Entry(name, item, False, (name.value,), order)
            entries.append(exact[name.value])
            continue
        count += 1
        if count > MOST_PATTERNS:
            problems.append(_too_many(name, where))
            break
        try:
            pattern = read_selector(name.value)
        except PatternError as problem:
            problems.append(_wrong(name, problem))
            continue
        matched = tuple(other for other in names if pattern is not None and pattern.matches(other))
        entry = Entry(name, item, True, matched, order)
        entries.append(entry)
        for other in matched:
            patterns.setdefault(other, []).append(entry)
    return Selection(tuple(entries), exact, patterns, tuple(problems))


def _wrong(name: Said[str], problem: PatternError) -> Diagnostic:
    shown = name.value if len(name.value) <= 60 else name.value[:57] + "..."
    return Diagnostic("AM234", f"`{shown}` is not a pattern: {problem}", span=name.span)


def _too_many(name: Said[str], where: str) -> Diagnostic:
    message = f"there are more than {MOST_PATTERNS} patterns in {where}"
    return Diagnostic("AM234", message, span=name.span, help="let one pattern cover more names")
