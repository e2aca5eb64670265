"""A pass that broke: which, at which node, and how."""

from __future__ import annotations

from traceback import walk_tb

from amctc.ir import Node
from amctc.pipeline.pass_ import Pass


class PassFailure(Exception):
    """A pass raised what is no diagnostic, left a broken graph, or never came to an end: a bug of the pass.

    `node` is the layer that it was at, where that can be told.
    """

    def __init__(self, step: Pass, what: str, node: str | None = None) -> None:
        self.step = step
        self.what = what
        self.node = node
        at = f" at layer `{node}`" if node is not None else ""
        super().__init__(f"the pass `{step.name}` {what}{at}")


def node_of(failure: BaseException) -> str | None:
    """The layer that the code was at when it raised: the last one that a variable of the innermost frames holds."""
    found: str | None = None
    for frame, _ in walk_tb(failure.__traceback__):
        nodes = [value.name for value in frame.f_locals.values() if isinstance(value, Node)]
        found = nodes[-1] if nodes else found
    return found
