"""A transformer block that decodes with a KV cache, in float and in 8 bits, and what the 8 bits cost.

    python examples/kv_cache_attention.py

Calibrates what `k_proj` and `v_proj` give with amctc, reads the record back, and decodes the same tokens with a cache
of floats and with caches of int8: one scale for each of keys and values, and one for each channel. Needs torch.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from amctc.compat import amct_pytorch
from amctc.records.read_record import read_record

WIDTH, HEADS, PROMPT, STEPS, CALIBRATION = 64, 4, 24, 40, 512


class Block(nn.Module):
    """Attention over all tokens so far and a small network behind it, each beside a shortcut: [N, T, WIDTH] in and out.

    With a cache only the new tokens come in; the cache keeps keys and values of the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q_proj, self.k_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.v_proj, self.o_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        hidden = self.norm1(x)
        q, k, v = self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden)
        if cache is not None:
            k, v = cache.keys.append(k), cache.values.append(v)
        new, all_ = q.shape[1], k.shape[1]
        later = torch.ones(new, all_).tril(all_ - new) == 0
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (q, k, v))
        scores = (q @ k.transpose(-1, -2)) * (WIDTH // HEADS) ** -0.5
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + self.o_proj(mixed.transpose(1, 2).flatten(2))
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out


class FloatStore:
    """Keeps what comes, as it is."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []

    def append(self, new: torch.Tensor) -> torch.Tensor:
        """Keep [N, T, WIDTH] more, and give all that is kept."""
        self.parts.append(new)
        return torch.cat(self.parts, dim=1)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


class Int8Store:
    """Keeps integers: q = clip(round(x / scale) + offset, -128, 127), and gives (q - offset) * scale.

    `scale` and `offset` have one element, or one for each channel of the last axis.
    """

    def __init__(self, scale: torch.Tensor, offset: torch.Tensor) -> None:
        self.scale, self.offset = scale, offset
        self.parts: list[torch.Tensor] = []

    def append(self, new: torch.Tensor) -> torch.Tensor:
        """Keep [N, T, WIDTH] more, and give all that is kept, as floats."""
        steps = torch.round(new / self.scale) + self.offset
        self.parts.append(steps.clamp(-128, 127).to(torch.int8))
        return (torch.cat(self.parts, dim=1) - self.offset) * self.scale

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


Store = FloatStore | Int8Store


@dataclass(frozen=True)
class Cache:
    """What a block keeps of the tokens so far."""

    keys: Store
    values: Store


@dataclass(frozen=True)
class Outcome:
    """Of one way to keep keys and values: bytes for all tokens, and the relative error of the outputs."""

    nbytes: int
    error: float


def network() -> Block:
    """A block with random weights, some channels of the keys much larger than others, as in trained networks."""
    torch.manual_seed(0)
    block = Block().eval()
    with torch.no_grad():
        block.k_proj.weight[::8] *= 6
        block.k_proj.bias[::8] *= 6
    return block


def tokens(count: int, seed: int) -> torch.Tensor:
    """Embeddings of two sequences: [2, count, WIDTH]."""
    return torch.randn(2, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def calibrated(block: Block, granularity: str, folder: Path) -> Cache:
    """An empty cache of int8 with the scales that amctc chooses for a block."""
    policy, config, record = folder / "kv.cfg", folder / "config.json", folder / "record.txt"
    layers = json.dumps(["k_proj", "v_proj"])
    how = f"ifmr_quantize {{ quant_granularity: {granularity} }}"
    policy.write_text(f"batch_num: 4 kv_cache_quant_config {{ quant_layers: {layers} calibration_config {{ {how} }} }}")
    amct_pytorch.create_quant_cali_config(str(config), block, config_defination=str(policy))
    model = amct_pytorch.create_quant_cali_model(str(config), str(record), block)
    for seed in range(1, 5):
        model(tokens(CALIBRATION, seed))
    found = {layer.name: layer.kv_cache for layer in read_record(record).layers}
    stores: list[Int8Store] = []
    for name in ("k_proj", "v_proj"):
        factors = found[name]
        assert factors is not None
        stores.append(Int8Store(torch.tensor(factors.scale), torch.tensor(factors.offset)))
    return Cache(*stores)


def decode(block: Block, cache: Cache) -> torch.Tensor:
    """The outputs for a prompt and then one token after the other: [2, PROMPT + STEPS, WIDTH]."""
    stream = tokens(PROMPT + STEPS, 99)
    outputs = [block(stream[:, :PROMPT], cache)]
    outputs += [block(stream[:, at : at + 1], cache) for at in range(PROMPT, PROMPT + STEPS)]
    return torch.cat(outputs, dim=1)


@torch.no_grad()
def compare() -> dict[str, Outcome]:
    """What each way to keep keys and values takes and costs."""
    block = network()
    floats = Cache(FloatStore(), FloatStore())
    wanted = decode(block, floats)
    found = {"float32": Outcome(floats.keys.nbytes + floats.values.nbytes, 0.0)}
    for granularity in ("per_tensor", "per_channel"):
        with tempfile.TemporaryDirectory() as folder:
            cache = calibrated(block, granularity, Path(folder))
        error = (decode(block, cache) - wanted).norm() / wanted.norm()
        found[f"int8, {granularity}"] = Outcome(cache.keys.nbytes + cache.values.nbytes, float(error))
    return found


def main() -> None:
    for name, outcome in compare().items():
        print(f"{name:18} {outcome.nbytes:6} bytes   relative error of the outputs {outcome.error:.5f}")


if __name__ == "__main__":
    main()
