"""Where a node came from and which passes made it what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from amctc.source import Span


@dataclass(frozen=True)
class Origin:
    """The place in the model file that a node was read from; `span` is kept for diagnostics only."""

    file: str
    line: int
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Change:
    """One thing a pass did to a node; `rule` is the place in the policy that asked for it."""

    by: str
    what: str
    rule: str | None = None


@dataclass(frozen=True)
class Provenance:
    """`absorbed` names the source layers whose arithmetic has moved into this node, in order.

    `inserted` says that the node itself is no layer of the source: a pass made it.
    """

    origin: Origin | None = None
    changes: tuple[Change, ...] = ()
    absorbed: tuple[str, ...] = ()
    inserted: bool = False

    def with_changes(self, changes: Iterable[Change]) -> Provenance:
        return replace(self, changes=(*self.changes, *changes))

    def absorbing(self, *names: str) -> Provenance:
        return replace(self, absorbed=(*self.absorbed, *names))
