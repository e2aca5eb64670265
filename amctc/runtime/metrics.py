"""How good scores are against labels, and how near one array is to another; all in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error


def top_k(scores: NDArray[Any], labels: NDArray[Any], k: int) -> NDArray[np.bool_]:
    """For each sample, whether its label is among the `k` highest scores.

    `scores` is [N, classes], with any number of trailing axes of length 1; `labels` is integers [N].
    Of equal scores the lower class comes first; NaN is below everything. With fewer than `k` classes
    all samples hit. Raises `DiagnosticError`: AM465 for a label that is no class, AM466 for scores of
    another shape.
    """
    table = _score_table(scores)
    if labels.shape != (len(table),):
        raise ValueError(f"labels of shape {labels.shape} for {len(table)} samples")
    classes = table.shape[1]
    for sample in np.flatnonzero((labels < 0) | (labels >= classes))[:1]:
        message = f"label {labels[sample]} is not a class: the scores have {classes} classes, 0 to {classes - 1}"
        raise error("AM465", message, help="labels count from 0; check that they belong to this model")
    table = np.where(np.isnan(table), -np.inf, table)
    own = table[np.arange(len(table)), labels][:, np.newaxis]
    earlier = np.arange(classes) < labels[:, np.newaxis]
    rank = np.count_nonzero((table > own) | ((table == own) & earlier), axis=1)
    hits: NDArray[np.bool_] = rank < k
    return hits


@dataclass
class Accuracy:
    """Counts the samples whose label was the highest score, or among the five highest.

    Fed batch by batch; two of them from parts of the data merge into that of the whole.
    """

    count: int = 0
    top1_hits: int = 0
    top5_hits: int = 0

    def update(self, scores: NDArray[Any], labels: NDArray[Any]) -> None:
        """Take in a batch: scores [N, classes, 1…], labels integers [N]. Raises as `top_k` does."""
        top1, top5 = top_k(scores, labels, 1), top_k(scores, labels, 5)
        self.count += len(labels)
        self.top1_hits += int(np.count_nonzero(top1))
        self.top5_hits += int(np.count_nonzero(top5))

    def merge(self, other: Accuracy) -> None:
        """Take in what another accumulator has counted."""
        self.count += other.count
        self.top1_hits += other.top1_hits
        self.top5_hits += other.top5_hits

    @property
    def top1(self) -> float:
        """Fraction of samples, 0 to 1; 0 before any sample."""
        return self.top1_hits / self.count if self.count else 0.0

    @property
    def top5(self) -> float:
        """Fraction of samples, 0 to 1; 0 before any sample."""
        return self.top5_hits / self.count if self.count else 0.0

    def to_json(self) -> dict[str, float]:
        """`top1` and `top5` as fractions of 1, and `count`, the number of samples."""
        return {"top1": self.top1, "top5": self.top5, "count": self.count}


def cosine_similarity(left: NDArray[Any], right: NDArray[Any]) -> float:
    """a·b / (|a| |b|) of two arrays of one shape, flattened; 1 if both are all zero, 0 if one is."""
    a, b = _pair(left, right)
    # Scaled first, so that the squares of tiny or huge values neither vanish nor overflow.
    highest_a, highest_b = _highest(a), _highest(b)
    if highest_a == 0 or highest_b == 0:
        return 1.0 if highest_a == highest_b else 0.0
    a, b = a / highest_a, b / highest_b
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def sqnr_db(reference: NDArray[Any], found: NDArray[Any]) -> float:
    """10 log10(Σ reference² / Σ (reference − found)²) in dB; +inf if equal, −inf for an all-zero reference."""
    a, b = _pair(reference, found)
    difference = a - b
    return _decibel(float(a @ a), float(difference @ difference))


def psnr_db(reference: NDArray[Any], found: NDArray[Any], peak: float = 255.0) -> float:
    """10 log10(peak² / mean (reference − found)²) in dB; +inf if equal."""
    a, b = _pair(reference, found)
    difference = a - b
    return _decibel(peak * peak * a.size, float(difference @ difference))


def _score_table(scores: NDArray[Any]) -> NDArray[np.float64]:
    if scores.ndim < 2 or math.prod(scores.shape[2:]) != 1:
        raise error(
            "AM466",
            f"the scores have the shape {scores.shape}, not (samples, classes)",
            help="accuracy needs a classifier whose first output is one score a class",
        )
    return scores.reshape(scores.shape[:2]).astype(np.float64)


def _pair(left: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if left.shape != right.shape or left.size == 0:
        raise ValueError(f"arrays of shapes {left.shape} and {right.shape} cannot be compared")
    return left.astype(np.float64).ravel(), right.astype(np.float64).ravel()


def _highest(values: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(values)))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
