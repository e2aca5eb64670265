"""What users derive from for `accuracy_based_auto_calibration`, and the strategy and sensitivity that come with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Judgement: TypeAlias = tuple[bool, float]
"""Whether the accuracy is good enough, and how much is lost, in the unit of the user's metric."""

STOP_FLAG = "stop_flag"
ROLL_BACK_CONFIG = "roll_back_config"


class AutoCalibrationEvaluatorBase(ABC):
    """Runs the user's data through models, and says how good they are."""

    @abstractmethod
    def calibration(self, model: Any) -> None:
        """Call the module on at least `batch_num` batches of calibration data."""

    @abstractmethod
    def evaluate(self, model: Any) -> Any:
        """The metric of the module on the user's test data."""

    @abstractmethod
    def metric_eval(self, original_metric: Any, new_metric: Any) -> Judgement:
        """Whether the second metric is good enough beside the first, and how much is lost."""


class AutoCalibrationStrategyBase(ABC):
    """Chooses which layers stay float."""

    @abstractmethod
    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        """Begin, with the sensitivity of each quantized layer: the least is the one that quantizing changes most."""

    @abstractmethod
    def update_quant_config(self, metric_eval: Judgement) -> Mapping[str, Any]:
        """What to do after the last choice was judged so; the first time it is that of all layers quantized.

        The answer has `stop_flag`, whether this is the final choice, and `roll_back_config`: for each layer True if it
        is quantized and False if it stays float.
        """


class SensitivityBase(ABC):
    """Says how alike the outputs of a layer are, float and quantized."""

    @abstractmethod
    def compare(self, data: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """A number that is the smaller, the more `other`, the quantized layer's output, differs from `data`."""


class CosineSimilaritySensitivity(SensitivityBase):
    """(1 + cos) / 2 of the angle between the outputs; 1 where they are alike, or both are zero."""

    def compare(self, data: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        a, b = np.float64(data).ravel(), np.float64(other).ravel()
        lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
        if lengths == 0:
            return 1.0 if np.array_equal(a, b) else 0.5
        return 0.5 + 0.5 * float(a @ b) / lengths


class MseSensitivity(SensitivityBase):
    """The mean of the squared differences, negative, as the least is the most sensitive.

    With `do_normalization` both outputs are first brought to the range 0 … 1 of the float one.
    """

    def __init__(self, do_normalization: bool = False) -> None:
        self.do_normalization = do_normalization

    def compare(self, data: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        difference = np.float64(other) - data
        if self.do_normalization:
            difference /= float(np.ptp(data)) + float(np.finfo(np.float32).eps)
        return -float(np.mean(np.square(difference)))


class BinarySearchStrategy(AutoCalibrationStrategyBase):
    """Finds how few of the most sensitive layers have to stay float, halving what is left to try.

    With all layers float the accuracy is that of the original, which needs no trial.
    """

    def __init__(self) -> None:
        self._ranked: tuple[str, ...] = ()
        self._too_few = 0
        self._enough = 0
        self._tried = 0

    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        self._ranked = tuple(sorted(ranking_info, key=lambda layer: ranking_info[layer]))
        self._too_few, self._enough, self._tried = 0, len(self._ranked), 0

    def update_quant_config(self, metric_eval: Judgement) -> Mapping[str, Any]:
        good, _ = metric_eval
        if good:
            self._enough = self._tried
        else:
            self._too_few = self._tried
        stop = self._enough - self._too_few <= 1
        self._tried = self._enough if stop else (self._too_few + self._enough) // 2
        quantized = {layer: place >= self._tried for place, layer in enumerate(self._ranked)}
        return {STOP_FLAG: stop, ROLL_BACK_CONFIG: quantized}
