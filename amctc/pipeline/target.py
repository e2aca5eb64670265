"""What a target is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from amctc.ir import Graph


class Target(ABC):
    """Turns a quantized graph into files. It is made without arguments.

    `name` is kebab-case and never changes. The first paragraph of the docstring is the summary in lists.
    """

    name: ClassVar[str]

    @abstractmethod
    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        """The bytes of each file by the end of its name, which comes after the prefix; writes nothing itself."""

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join((cls.__doc__ or "").strip().split("\n\n", maxsplit=1)[0].split())
