"""How a pass failed, and whether two failures are the same one."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from amctc.instruments import NotEquivalent
from amctc.ir import Graph
from amctc.pipeline.failure import PassFailure

Broken: TypeAlias = PassFailure | NotEquivalent
"""The failures that a reproducer is written for: each is a mistake in the code of a pass."""

_QUOTED = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"[-+]?\b\d+(?:\.\d+)?(?:[eE][-+]?\d+)?\b|\b(?:inf|nan)\b")
_WORD = re.compile(r"[^\s,;()\[\]{}]+")
_SEVERAL = re.compile(r"([_#])(?:(?: -> |, | )\1)+")


@dataclass(frozen=True)
class Failure:
    """A failure in words: the name of the pass, the type of the exception, what the pass did."""

    step: str
    exception: str
    what: str

    def like(self, other: Failure, names: Collection[str] = ()) -> bool:
        """Whether both are the same failure, whatever layers and numbers they name; `names` are those of layers."""
        same = (self.step, self.exception) == (other.step, other.exception)
        return same and _kinds(self.what, names) == _kinds(other.what, names)

    def __str__(self) -> str:
        return f"the pass `{self.step}` {self.what}"


def failure_of(broken: Broken) -> Failure:
    """The failure that an exception tells of."""
    if isinstance(broken, NotEquivalent):
        return Failure(broken.step.name, broken.diagnostics[0].code, broken.what)
    cause = broken.__cause__
    return Failure(broken.step.name, type(cause if cause is not None else broken).__name__, broken.what)


def layer_names(graph: Graph) -> frozenset[str]:
    """The names of the layers, and of those that they have absorbed."""
    return frozenset(name for node in graph.nodes for name in (node.name, *node.provenance.absorbed))


def _kinds(what: str, names: Collection[str]) -> frozenset[str]:
    """The sentences of a message, each once, with names and numbers taken out.

    A broken graph has as many problems as layers that are broken, and fewer when layers are taken away.
    """
    return frozenset(_without_names(part, names) for part in what.split("; "))


def _without_names(text: str, names: Collection[str]) -> str:
    text = _QUOTED.sub("_", text)
    text = _WORD.sub(lambda word: "_" if word[0].strip(".:") in names else word[0], text)
    return _SEVERAL.sub(r"\1", _NUMBER.sub("#", text))
