"""Calibration through a torch module over a plain forward pass of it: CPU seconds of both, and their ratio.

The network has the layers of ResNet-18 (11.7 million random weights, 20 convolutions, AvgPool2d(7) and a Linear layer)
and reads 8 random images of 3x224x224 in one thread. In each round both run, one after the other; the medians of the
rounds are told. The calibration is the whole call of the calibration model: forward pass, observers, their search, and
the record. Needs the extra `torch`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import amctc.compat.amct_pytorch as amct

IMAGES, SIZE = 8, 224
POLICIES = {
    "ifmr": "common_config { ifmr_quantize { } }",
    "ifmr symmetric": "activation_offset: false common_config { ifmr_quantize { } }",
    "ifmr 16 bits": "common_config { ifmr_quantize { dst_type: INT16 } }",
    "hfmg": "common_config { hfmg_quantize { num_of_bins: 4096 } }",
}


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        around: torch.Tensor = self.relu(inner + self.downsample(x))
        return around


class ResNet(nn.Module):
    """The layers of ResNet-18."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        sizes = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.layers = nn.Sequential(
            *(
                nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1))
                for inputs, outputs, stride in sizes
            )
        )
        self.pool = nn.AvgPool2d(7)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        scores: torch.Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return scores


def cpu_seconds(module: nn.Module, batches: list[torch.Tensor]) -> float:
    """CPU time of the calls of a module, each with a batch."""
    start = time.process_time()
    with torch.no_grad():
        for batch in batches:
            module(batch)
    return time.process_time() - start


def ratios(policy: str, batch: int, rounds: int, folder: Path) -> list[tuple[float, float]]:
    """For each round the seconds of the calibration and those of plain forward passes over the same images."""
    torch.manual_seed(0)
    network = ResNet().eval()
    batches = list(torch.randn(IMAGES, 3, SIZE, SIZE).split(batch))
    (folder / "policy.cfg").write_text(f"batch_num: {len(batches)} {policy}")
    config, modified, record = (str(folder / name) for name in ("config.json", "modified.onnx", "record.txt"))
    amct.create_quant_config(config, network, (batches[0],), config_defination=str(folder / "policy.cfg"))
    cpu_seconds(network, batches)
    found: list[tuple[float, float]] = []
    for _ in range(rounds):
        calibrating = amct.quantize_model(config, modified, record, network, (batches[0],))
        calibration = cpu_seconds(calibrating, batches)
        found.append((calibration, cpu_seconds(network, batches)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=POLICIES, help="one row alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("AMCT_LOG_LEVEL", "ERROR")
    print(f"{'observer':16} {'batches':>9} {'calibration':>12} {'forward':>9} {'ratio':>7}   all ratios")
    for name, policy in POLICIES.items():
        for batch in (IMAGES, 1) if name == "ifmr" else (IMAGES,):
            if options.only not in (None, name):
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = ratios(policy, batch, options.rounds, Path(folder))
            calibration, forward = (statistics.median(each) for each in zip(*found, strict=True))
            each = sorted(a / b for a, b in found)
            listed = " ".join(f"{ratio:.2f}" for ratio in each)
            shape = f"{IMAGES // batch} x {batch}"
            middle = statistics.median(each)
            print(f"{name:16} {shape:>9} {calibration:12.3f} {forward:9.3f} {middle:7.2f}   {listed}", flush=True)


if __name__ == "__main__":
    main()
