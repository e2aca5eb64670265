"""The network of the recorded trainings, `golden/amct_pytorch/qat`, on the quantizers of `amctc.training`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from amctc.dialects.retrain import TrainedWeights
from amctc.ir import Graph, Node
from amctc.policy.settings import BITS_OF_TYPE, ULQ_RETRAIN
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.trained_weights import first_scale
from amctc.text.plain import Plain
from amctc.training.quantizers import UlqState, arq_weights, ulq_weights
from tests.shared_files import GOLDEN

FOLDER = GOLDEN / "amct_pytorch"
Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]

_BATCH_NORMS = {"conv1": "bn1", "conv2": "bn2", "dw": "bn3"}
_BEHIND_RELU = ("conv2", "dw", "conv3", "fc2")
_STATISTICS = ("running_mean", "running_var")


@dataclass
class Layer:
    """A quantized layer: its data, its weights and how either is quantized. `clips` are clip_max and clip_min."""

    node: Node
    weight: Tensor
    bias: Tensor | None
    clips: tuple[Tensor, Tensor]
    state: UlqState
    how: TrainedWeights
    scale: Tensor | None

    def run(self, x: Tensor, **options: Any) -> Tensor:
        data, weight = self.state.quantize(x, *self.clips), self._weight()
        if self.weight.ndim == 2:
            return functional.linear(data, weight, self.bias)
        return functional.conv2d(data, weight, self.bias, **options)

    def _weight(self) -> Tensor:
        if self.scale is None:
            return arq_weights(self.weight, self.node, self.how)
        return ulq_weights(self.weight, self.scale, self.node, bits=self.how.bits)


@dataclass
class BatchNorm:
    """A BatchNorm of PyTorch in training."""

    weight: Tensor
    bias: Tensor
    running: tuple[Tensor, Tensor]

    def run(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, *self.running, self.weight, self.bias, training=True, momentum=0.1, eps=1e-5)


@dataclass
class Network:
    """The whole network; layers that a config skips compute on floats."""

    layers: dict[str, Layer] = field(default_factory=dict[str, Layer])
    norms: dict[str, BatchNorm] = field(default_factory=dict[str, BatchNorm])
    floats: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def run(self, x: Tensor) -> Tensor:
        a = self._block("conv1", x, padding=1)
        b = self._block("conv2", a, padding=1)
        c = self._block("dw", b, padding=1, groups=16)
        d = torch.relu(self.layers["conv3"].run(c) + b)
        e = torch.relu(self.layers["fc1"].run(functional.avg_pool2d(d, 2).flatten(1)))
        return self.layers["fc2"].run(e) if "fc2" in self.layers else functional.linear(e, self.floats["fc2"])

    def _block(self, name: str, x: Tensor, **options: int) -> Tensor:
        return torch.relu(self.norms[name].run(self.layers[name].run(x, **options)))

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """All that is learned, under the names of the recording."""
        for name, layer in self.layers.items():
            inside = f"{name}.quant_module"
            yield f"{inside}.acts_clip_max", layer.clips[0]
            if not layer.state.fixed_min:
                yield f"{inside}.acts_clip_min", layer.clips[1]
            if layer.scale is not None:
                yield f"{inside}.wts_scales", layer.scale
            yield f"{inside}.replaced_module.weight", layer.weight
            if layer.bias is not None:
                yield f"{inside}.replaced_module.bias", layer.bias
        for name, norm in self.norms.items():
            yield f"{name}.bn_module.weight", norm.weight
            yield f"{name}.bn_module.bias", norm.bias
        yield from ((f"{name}.weight", weight) for name, weight in self.floats.items())


def recorded_training(case: str) -> tuple[dict[str, Any], Arrays, list[list[int]]]:
    """The config of a case, its arrays and the labels of its steps."""
    folder = FOLDER / "qat" / case
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    labels: list[list[int]] = json.loads((folder / "info.json").read_text())["labels"]
    with np.load(folder / "qat.npz", allow_pickle=False) as arrays:
        return config, dict(arrays), labels


def begun(config: Mapping[str, Any], arrays: Arrays) -> Network:
    """The network before the first step. As in the recording, IFMR begins it without an offset."""
    network = Network()
    for name in ("conv1", "conv2", "dw", "conv3", "fc1", "fc2"):
        weight_name = f"init/{name}.quant_module.replaced_module.weight"
        if weight_name in arrays:
            network.layers[name] = _layer(name, config[name], arrays, int(config["batch_num"]))
        else:
            network.floats[name] = _leaf(arrays[f"init/{name}.weight"])
    for name in _BATCH_NORMS:
        weight, bias = (_leaf(arrays[f"init/{name}.bn_module.{part}"]) for part in ("weight", "bias"))
        mean, variance = (torch.tensor(arrays[f"init/{name}.bn_module.{part}"]) for part in _STATISTICS)
        network.norms[name] = BatchNorm(weight, bias, (mean, variance))
    return network


def _layer(name: str, config: Mapping[str, Any], arrays: Arrays, batches: int) -> Layer:
    data, weights = config["retrain_data_config"], config["retrain_weight_config"]
    inside = f"init/{name}.quant_module.replaced_module"
    weight, bias = arrays[f"{inside}.weight"], arrays.get(f"{inside}.bias")
    how = TrainedWeights(weights["channel_wise"], BITS_OF_TYPE[weights["dst_type"]])
    bits = BITS_OF_TYPE[data["dst_type"]]
    state = UlqState(
        bits=bits,
        fixed_min=data.get("fixed_min", name in _BEHIND_RELU),
        batches=batches,
        settings=IfmrSettings(bits=bits, with_offset=False),
    )
    scale = None
    if weights["algo"] == ULQ_RETRAIN:
        rows = weight.reshape(len(weight), -1)
        scale = _leaf(first_scale(rows, channel_wise=how.channel_wise, bits=how.bits))
    clips = (_leaf(np.array(data.get(clip, 0.0), np.float32)) for clip in ("clip_max", "clip_min"))
    high, low = clips
    return Layer(_node(weight), _leaf(weight), None if bias is None else _leaf(bias), (high, low), state, how, scale)


def _node(weight: NDArray[np.float32]) -> Node:
    graph = Graph("net")
    data = graph.add("data", "caffe.Input", [], ["data"]).output
    if weight.ndim == 2:
        return graph.add("layer", "caffe.InnerProduct", [data], ["layer"], weights={"weight": weight})
    attrs: dict[str, Plain] = {"convolution_param": {"kernel_size": weight.shape[2:]}}
    return graph.add("layer", "caffe.Convolution", [data], ["layer"], attrs=attrs, weights={"weight": weight})


def _leaf(array: NDArray[np.float32]) -> Tensor:
    return torch.tensor(array, requires_grad=True)
