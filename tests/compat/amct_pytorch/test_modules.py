"""Which layers of a module are quantized, and that the calibration model computes what the exported graph does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import amctc
import amctc.compat.amct_pytorch as amct
from amctc.compat.amct_pytorch.modified_model import load_modified
from amctc.diagnostics import Collector
from tests.onnx_nets import run_model

pytestmark = pytest.mark.usefixtures("exported_once")


class Odd(nn.Module):
    """Layers that cannot all be quantized, and what can be folded beside what must not be."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ConvTranspose2d(3, 4, 2, 2)
        self.norm = nn.BatchNorm2d(4)
        self.mirror = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.twice = nn.Conv2d(4, 4, 1)
        self.computed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.plain = nn.Conv2d(4, 4, 1)
        self.same = self.plain
        self.kernel = nn.Parameter(torch.randn(4, 4, 1, 1))
        self.factor = nn.Parameter(torch.rand(1, 4, 1, 1) + 0.5)
        self.last = nn.Linear(4, 2)
        self.last_norm = nn.BatchNorm1d(2)
        for norm in (self.norm, self.last_norm):
            norm.weight.data.uniform_(0.5, 2)
            norm.running_mean = torch.randn(len(norm.weight))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.up(x)))
        x = self.twice(self.twice(self.mirror(x)))
        x = functional.conv2d(self.computed(x), self.kernel)
        x = self.same(x) * self.factor
        result: Tensor = self.last_norm(self.last(x.mean((2, 3))))
        return result


@pytest.fixture
def net() -> Odd:
    return Odd().eval()


@pytest.fixture
def data() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32))


def quantized(net: nn.Module, data: Tensor, name: str = "net", **said: Any) -> nn.Module:
    amct.create_quant_config(f"{name}.json", net, (data,), **said)
    return amct.quantize_model(f"{name}.json", f"{name}.onnx", f"{name}.txt", net, (data,), ["x"], ["y"])


def test_the_config_lists_the_modules_that_can_be_quantized(net: Odd, data: Tensor) -> None:
    amct.create_quant_config("net.json", net, (data,))
    config = json.loads(Path("net.json").read_text())
    assert {name for name, said in config.items() if isinstance(said, dict)} == {"up", "plain", "last"}


def test_the_calibration_model_computes_what_the_modified_model_does(net: Odd, data: Tensor) -> None:
    """What is folded in the graph is folded in the module, and nothing else is."""
    model = quantized(net, data)
    found = model(data).detach().numpy()
    wanted = amctc.run(load_modified("net.onnx", Collector()), {"x": data.numpy()}, ["y"])["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(found - net(data).detach().numpy()).max() < 0.1
    assert isinstance(model.norm, nn.Identity)
    assert isinstance(model.last_norm, nn.Identity)
    assert model.same is model.plain
    assert isinstance(net.norm, nn.BatchNorm2d)
    types = [node.op_type for node in onnx.load("net.onnx").graph.node]
    assert "BatchNormalization" not in types
    assert "Mul" in types


def test_the_quantized_model_computes_nearly_what_the_module_does(net: Odd, data: Tensor) -> None:
    quantized(net, data)(data)
    amct.save_model("net.onnx", "net.txt", "net")
    found = run_model(Path("net_fake_quant_model.onnx"), {"x": data.numpy()})["y"]
    assert np.abs(found - net(data).detach().numpy()).max() < 0.1


def test_several_models_are_calibrated_side_by_side(net: Odd, data: Tensor) -> None:
    first, second = quantized(net, data, "first"), quantized(net, 3 * data, "second", batch_num=2)
    second(3 * data)
    first(data)
    assert "scale_d" not in Path("second.txt").read_text()
    second(3 * data)
    alone = quantized(net, data, "alone")
    alone(data)
    assert Path("first.txt").read_bytes() == Path("alone.txt").read_bytes()
    scales = [float(re.findall(r"scale_d: (\S+)", Path(f"{name}.txt").read_text())[0]) for name in ("first", "second")]
    np.testing.assert_allclose(scales[1], 3 * scales[0], rtol=0.02)


def test_later_batches_change_nothing(net: Odd, data: Tensor) -> None:
    model = quantized(net, data)
    model(data)
    record = Path("net.txt").read_bytes()
    model(100 * data)
    model(torch.full_like(data, float("nan")))
    assert Path("net.txt").read_bytes() == record


def test_layers_that_read_the_same_have_one_scale() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = torch.relu(self.a(x)) + self.b(x)
            return found

    data = torch.randn(2, 2, 6, 6)
    quantized(Fork().eval(), data)(data)
    found = re.findall(r"scale_d: (\S+)", Path("net.txt").read_text())
    assert len(found) == 2
    assert found[0] == found[1]


def test_a_pass_that_the_module_cannot_follow_is_refused(net: Odd, data: Tensor) -> None:
    Path("quant.cfg").write_text("pass { name: 'observe-means' } pass { name: 'correct-bias' }")
    with pytest.raises(RuntimeError, match="AM955"):
        quantized(net, data, config_defination="quant.cfg")


def test_a_module_in_training_mode_is_exported_and_copied_as_it_evaluates(net: Odd, data: Tensor) -> None:
    wanted = net(data).detach()
    net.train()
    model = quantized(net, data)
    assert net.training
    assert not model.training
    assert (model(data) - wanted).abs().max() < 0.1
