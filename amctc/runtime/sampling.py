"""Which samples of a data set are taken where not all are wanted."""

from __future__ import annotations

import numpy as np

from amctc.diagnostics import error


def check_sampling(count: int | None, seed: int | None) -> None:
    """Raise `DiagnosticError` (AM456) for a number of samples below 1, a seed below 0, or a seed alone."""
    if count is None and seed is not None:
        message = "a seed chooses samples, and how many is not said"
        raise error("AM456", message, help="say it with `--max-samples` (`max_samples`) too")
    if count is not None and count < 1:
        raise error("AM456", f"`max_samples` must be at least 1, not {count}")
    if seed is not None and seed < 0:
        raise error("AM456", f"`sample_seed` must be at least 0, not {seed}")


def chosen_numbers(total: int, count: int, seed: int) -> tuple[int, ...]:
    """`count` different numbers below `total`, or all, in ascending order; each choice is as likely.

    Each number draws 64 bits, and the smallest win: so a choice holds those of fewer by the same seed. The bits are
    those of PCG64, whose stream NumPy keeps the same from version to version, as it does not those of its methods.
    """
    drawn = np.random.PCG64(seed).random_raw(total)
    winners = np.argsort(drawn, kind="stable")[:count]
    return tuple(int(number) for number in np.sort(winners))
