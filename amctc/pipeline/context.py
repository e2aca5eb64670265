"""What a pass may look at besides the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector
from amctc.policy import ResolvedPolicy

Feeds: TypeAlias = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Calibration:
    """The calibration data of one compilation.

    `batches()` starts a new run over exactly `batch_num` batches, each a mapping from an input's
    blob name to float32 [batch, ...]. `progress` is told after each batch how many are done.
    """

    batches: Callable[[], Iterator[Feeds]]
    batch_num: int
    progress: Callable[[int], None] = lambda done: None


@dataclass(frozen=True)
class Refusal:
    """A rewrite that matched and was not done, and why."""

    by: str
    layer: str
    reason: str


@dataclass(frozen=True)
class Context:
    """Everything a pass needs beside the graph; a pass never reads the policy file itself.

    `policy` and `calibration` are None in a pipeline that runs without them (a pass that needs one
    says so through its `requires`).
    """

    policy: ResolvedPolicy | None = None
    calibration: Calibration | None = None
    collector: Collector = field(default_factory=Collector)
    refusals: list[Refusal] = field(default_factory=list)

    def need_policy(self) -> ResolvedPolicy:
        if self.policy is None:
            raise ValueError("this pass runs only with a policy")
        return self.policy

    def need_calibration(self) -> Calibration:
        if self.calibration is None:
            raise ValueError("this pass runs only with calibration data")
        return self.calibration
