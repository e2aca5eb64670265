"""Torch modules, most of them small, and the two that AMCT was recorded with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.shared_files import GOLDEN

MODELS = GOLDEN / "amct_pytorch" / "models"


class DigitsCnn(nn.Module):
    """The network of `golden/amct_pytorch/README.md`; data [n, 1, 8, 8]."""

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
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(256, 32)
        self.fc2 = nn.Linear(32, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.dw(y)))
        x = self.relu(self.conv3(x) + y)
        x = torch.flatten(self.pool(x), 1)
        found: Tensor = self.fc2(self.relu(self.fc1(x)))
        return found


class MiscNet(nn.Module):
    """The other recorded network; data [n, 3, 4, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(3, 6, 2, stride=2)
        self.gconv = nn.Conv2d(6, 8, 3, padding=1, groups=2)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.AvgPool2d(2)
        self.c1 = nn.Conv1d(8, 12, 3, padding=1)
        self.lin3 = nn.Linear(12, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.gconv(functional.relu(self.deconv(x)))))
        x = self.pool(x).reshape(x.shape[0], 8, 16)
        found: Tensor = self.lin3(torch.tanh(self.c1(x)).transpose(1, 2))
        return found


def loaded(module: nn.Module, weights: Mapping[str, Any], prefix: str = "") -> nn.Module:
    """The module with recorded weights, in eval mode."""
    state = {name.removeprefix(prefix): torch.from_numpy(weights[name]) for name in weights if name.startswith(prefix)}
    module.load_state_dict(state)
    return module.eval()


def digits_cnn() -> nn.Module:
    return loaded(DigitsCnn(), np.load(MODELS / "digits_cnn_weights.npz"))


def misc_net() -> nn.Module:
    return loaded(MiscNet(), np.load(MODELS / "misc_net.npz"), "w.")


class Block(nn.Module):
    """A transformer block of one head and a network of two layers; data [n, t, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({name: nn.Linear(8, 8) for name in ("query", "key", "value", "out")})
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.attention[name](x) for name in ("query", "key", "value"))
        scores = torch.softmax(q @ k.transpose(1, 2) / 8**0.5, -1)
        x = x + self.attention["out"](scores @ v)
        found: Tensor = x + self.mlp(self.norm(x))
        return found


class Recurrent(nn.Module):
    """An LSTM and a GRU behind each other; data [n, t, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.gru = nn.GRU(5, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.gru(self.lstm(x)[0])[0][:, -1])
        return found


class Shared(nn.Module):
    """Two names of one module, which is called three times; data [n, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.again = self.first
        self.first1 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.first(self.first(self.again(x)))
        return found


class Tied(nn.Module):
    """An embedding whose weight is also that of the last layer; data [n, t] of int64."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.head(self.embedding(tokens))
        return found


def small() -> tuple[nn.Module, Tensor, dict[str, Any]]:
    """What `module:function` takes: a small network with a free batch axis."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10, bias=False))
    return net, torch.zeros(1, 1, 8, 8), {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
