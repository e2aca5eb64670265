"""Small torch modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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
