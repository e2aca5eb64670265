"""What a target is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from amctc.ir import Graph
from amctc.pipeline.configured import Configured
from amctc.pipeline.emission import Emission


class Target(Configured, ABC):
    """Turns a quantized graph into files.

    One with options is a frozen dataclass whose fields are the options. A target is made without arguments where the
    user gives none.
    """

    name: ClassVar[str]

    @abstractmethod
    def emit(self, graph: Graph) -> Mapping[str, bytes]:
        """The bytes of each file by the end of its name, which comes after the prefix; writes nothing itself."""

    def emit_with(self, graph: Graph, emission: Emission) -> Mapping[str, bytes]:
        """The same, which is what the program calls: for a target whose files tell how they came to be."""
        return self.emit(graph)
