"""What is compiled where the package was installed with a C compiler at hand: nothing but speed depends on it.

Whoever calls one of these functions has code in Python beside the call that gives the same, bit for bit.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]


class Scan(Protocol):
    """Looks at values (`native_scan.c`). Arrays are float32, counts int64, both without gaps; else `TypeError`.

    `ValueError` where there are no values, or where one has no place among the counts.
    """

    def extremes(self, values: Floats, /) -> tuple[float, float, bool]:
        """The least and the largest value, and whether all are finite."""
        ...

    def extend_tails(
        self, values: Floats, lower: Floats, lower_filled: int, upper: Floats, upper_filled: int, /
    ) -> tuple[float, float, bool, int, int]:
        """`extremes`, and to how many values the tails are filled afterwards.

        `lower` and `upper` have room for some of the least and the largest values, of which the first so many are
        known already. Where not all values are finite the tails mean nothing afterwards.
        """
        ...

    def count_runs(
        self, values: Floats, row: int, run: int, stride: int, first: int, factor: float, counts: Counts, /
    ) -> None:
        """Of rows of `row` values, add `stride` to the counts of each value of every `stride`-th run of `run` values.

        The place of a value is trunc(value * factor) - first, in float32.
        """
        ...

    def count_between(
        self, values: Floats, low: float, extent: float, counts: Counts, /
    ) -> tuple[float, float, bool, bool]:
        """`extremes`, and whether 1 was added to the count of each value; if not, nothing was.

        The place of a value is trunc((value - low) / extent * (size - 1)), in float32. Not all may have one.
        """
        ...


class Search(Protocol):
    """The inner loops of searches (`native_search.c`). Arrays have no gaps; `TypeError` for those of other types.

    `ValueError` for arrays that do not fit each other.
    """

    def shed_ranges(self, lefts: Counts, rights: Counts, least: int, ranges: Counts, /) -> int:
        """How many of `ranges` (bins, 2) were written: see `amctc.quant.hfmg_search.shed_ranges`."""
        ...

    def cell_errors(
        self,
        steps: Doubles,
        lows: Doubles,
        highs: Doubles,
        cells: int,
        edges: Doubles,
        evenly: Doubles,
        zeroth: Doubles,
        first: Doubles,
        middle: float,
        second: float,
        errors: Doubles,
        /,
    ) -> None:
        """Write the errors (grids,) of grids with so many cells: see `amctc.quant.density_loss.errors_by_cells`."""
        ...


def _compiled(name: str) -> Any:
    """A module of this package, None where it was not built."""
    try:
        return import_module(f"amctc.quant.{name}")
    except ImportError:
        return None


SCAN: Final[Scan | None] = _compiled("native_scan")
SEARCH: Final[Search | None] = _compiled("native_search")
