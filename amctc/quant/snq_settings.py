"""How the weights of a layer are clustered: what `amctc.quant.snq` is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNIFORM, GAUSSIAN, D2SAMPLING = "uniform", "gaussian", "d2sampling"
OPTIMAL: Final = "optimal"
INIT_ALGOS: Final = (UNIFORM, GAUSSIAN, D2SAMPLING, OPTIMAL)
"""What `SnqSettings.init_algo` may be; the last one is ours."""


@dataclass(frozen=True)
class SnqSettings:
    """How the weights of a layer are clustered; the ranges are the policy's to check.

    The iteration ends when no centre moves by `min_distance` steps of the INT8 grid, or after `max_iteration` steps.
    `init_algo` says where it starts (`snq_lloyd.first_centres`); `optimal` does not iterate, but finds the best of all
    tables (`snq_optimal.optimal_grid_centres`).
    """

    max_iteration: int = 1000
    min_distance: float = 1e-10
    init_algo: str = UNIFORM

    def __post_init__(self) -> None:
        if self.init_algo not in INIT_ALGOS:
            raise ValueError(f"init_algo is one of {', '.join(INIT_ALGOS)}, not {self.init_algo}")
        if self.max_iteration < 1 or not self.min_distance >= 0:
            raise ValueError("max_iteration is at least 1 and min_distance not negative")
