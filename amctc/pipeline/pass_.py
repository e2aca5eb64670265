"""What a pass is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from amctc.ir import Graph
from amctc.pipeline.configured import Configured
from amctc.pipeline.context import Context


class Pass(Configured, ABC):
    """One rewrite of the graph: a frozen dataclass whose fields are its options.

    `after` and `before` name passes that must come earlier or later in any pipeline that has both;
    `needs_before` and `needs_after` name passes that a whole pipeline must have earlier or later
    (`a|b`: one of the two). A pass that has such needs stands in a pipeline once, unless it is `repeatable`:
    leaves alone what it has done already. One that `preserves_numbers` promises that the graph computes
    what it computed before, to the last few bits of float32.
    """

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()
    needs_before: ClassVar[tuple[str, ...]] = ()
    needs_after: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = False
    preserves_numbers: ClassVar[bool] = False
    needs_policy: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = False
    needs_record: ClassVar[bool] = False

    @abstractmethod
    def run(self, graph: Graph, context: Context) -> bool:
        """Rewrite the graph in place; say whether anything changed."""

    def skip_reason(self, context: Context) -> str | None:
        """Why the policy does not want this pass at all, as a sentence; None to run it."""
        return None

    def batches(self, context: Context) -> int | None:
        """How many batches of calibration data the pass will go through; None where it takes none."""
        return context.need_calibration().batch_num if self.needs_calibration else None
