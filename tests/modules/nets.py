"""The two networks of the recorded runs of AMCT for PyTorch, as torch modules."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tests.shared_files import GOLDEN

MODELS = GOLDEN / "amct_pytorch" / "models"


class Digits(nn.Module):
    """Convolutions with BatchNorm, one of them depthwise, a sum, an average pool and two linear layers."""

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
        first = self.relu(self.bn1(self.conv1(x)))
        second = self.relu(self.bn2(self.conv2(first)))
        inner = self.relu(self.bn3(self.dw(second)))
        joined = self.relu(self.conv3(inner) + second)
        scores: Tensor = self.fc2(self.relu(self.fc1(torch.flatten(self.pool(joined), 1))))
        return scores


class Misc(nn.Module):
    """A transposed, a grouped and a one-dimensional convolution, and a linear layer on data of three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(3, 6, 2, 2)
        self.gconv = nn.Conv2d(6, 8, 3, padding=1, groups=2)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.AvgPool2d(2)
        self.c1 = nn.Conv1d(8, 12, 3, padding=1)
        self.lin3 = nn.Linear(12, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.gconv(torch.relu(self.deconv(x)))))
        x = self.pool(x).reshape(x.shape[0], 8, 16)
        result: Tensor = self.lin3(torch.tanh(self.c1(x)).transpose(1, 2))
        return result


def digits() -> Digits:
    """With the trained weights."""
    made = Digits()
    with np.load(MODELS / "digits_cnn_weights.npz") as arrays:
        made.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    return made.eval()


def misc() -> Misc:
    made = Misc()
    with np.load(MODELS / "misc_net.npz") as arrays:
        weights = {name.removeprefix("w."): arrays[name] for name in arrays.files if name.startswith("w.")}
    made.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return made.eval()
