"""The network of the recorded runs of AMCT, `golden/amct_pytorch`, as a torch module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.shared_files import GOLDEN

FOLDER = GOLDEN / "amct_pytorch"
Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]


class DigitsCnn(nn.Module):
    """Images [n, 1, 8, 8] to scores [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.dw = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 16, 1)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(256, 32)
        self.fc2 = nn.Linear(32, 10, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.bn1(self.conv1(x)))
        b = self.relu(self.bn2(self.conv2(a)))
        c = self.relu(self.bn3(self.dw(b)))
        d = self.relu(self.conv3(c) + b)
        e = self.relu(self.fc1(torch.flatten(self.pool(d), 1)))
        scores: Tensor = self.fc2(e)
        return scores


def arrays_of(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def digits_cnn() -> DigitsCnn:
    """The trained network, in eval mode."""
    model = DigitsCnn().eval()
    weights = arrays_of(FOLDER / "models/digits_cnn_weights.npz")
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return model


def digits() -> Arrays:
    """`calib` [4, 16, 1, 8, 8], `test_x` [360, 1, 8, 8], `test_y` [360] and the float outputs for them."""
    return arrays_of(FOLDER / "models/digits_io.npz")


def recorded_training(case: str) -> tuple[dict[str, Any], Arrays, list[list[int]]]:
    """The config of a recorded training, its arrays and the labels of its steps."""
    folder = FOLDER / "qat" / case
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    labels: list[list[int]] = json.loads((folder / "info.json").read_text())["labels"]
    return config, arrays_of(folder / "qat.npz"), labels
