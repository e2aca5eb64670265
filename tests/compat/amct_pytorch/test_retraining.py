"""The functions of quantization-aware training: what they return, write and refuse."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import amctc.compat.amct_pytorch as amct
from amctc.compat.amct_pytorch import network
from amctc.diagnostics import DiagnosticError
from amctc.modules.retrain_model import retrain_layers
from tests.compat.amct_pytorch.exports import remember_exports
from tests.onnx_nets import run_model

pytestmark = pytest.mark.torch

CLIPS = "conv.quant_module.acts_clip_max"


class Block(nn.Module):
    """Two convolutions read one value; one has a BatchNorm behind it, and the result goes through a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
        self.conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.skip = nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x)
        b = torch.tanh(self.bn(self.conv(a)) + self.skip(a))
        scores: Tensor = self.head(b.mean((2, 3)))
        return scores


def batch(seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(5, 2, 6, 6)).astype(np.float32))


@dataclass(frozen=True)
class Work:
    """The user's model in training mode, and where its files go."""

    folder: Path
    model: Block

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def config(self, text: str = "") -> str:
        (self.folder / "policy.cfg").write_text(text)
        amct.create_quant_retrain_config(self.path("config.json"), self.model, batch(), self.path("policy.cfg"))
        return self.path("config.json")

    def create(self, text: str = "") -> nn.Module:
        return amct.create_quant_retrain_model(self.config(text), self.model, self.path("record.txt"), batch())

    def restore(self, state: Any, name: str | None = None) -> nn.Module:
        torch.save(state, self.path("m.pth"))
        return amct.restore_quant_retrain_model(
            self.config(), self.model, self.path("record.txt"), batch(), self.path("m.pth"), name
        )

    def save(self, model: nn.Module) -> None:
        amct.save_quant_retrain_model(
            self.path("config.json"), model, self.path("record.txt"), self.path("net"), batch()
        )

    def record(self) -> str:
        return (self.folder / "record.txt").read_text()


@pytest.fixture(scope="module", autouse=True)
def _one_export() -> Iterator[None]:
    with remember_exports(network):
        yield


@pytest.fixture
def work(desk: Path) -> Work:
    torch.manual_seed(3)
    return Work(desk, Block().train())


def step(model: nn.Module, seed: int = 1, rate: float = 0.05) -> None:
    """One step of training, in the model's own mode."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    model(batch(seed)).square().sum().backward()
    torch.optim.SGD(parameters, lr=rate).step()
    model.zero_grad()


def code_of(refusal: pytest.ExceptionInfo[DiagnosticError]) -> str:
    return refusal.value.diagnostics[0].code


def test_the_model_is_a_copy_in_which_layers_that_read_one_value_share_a_range(work: Work) -> None:
    before = copy.deepcopy(work.model.state_dict())
    model = work.create()
    layers = retrain_layers(model)
    assert list(layers) == ["stem.0", "conv", "skip", "head"]
    assert layers["conv"].quant_module.range is layers["skip"].quant_module.range
    assert layers["conv"].quant_module.acts_clip_max is layers["skip"].quant_module.acts_clip_max
    assert isinstance(model.get_submodule("bn"), nn.Identity) and layers["conv"].bn_module is not None
    assert model.training and all(each.training for each in model.modules())
    step(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in work.model.state_dict().items())
    clips = [layer.quant_module.acts_clip_min for layer in layers.values()]
    assert [clip.requires_grad for clip in clips] == [True, False, False, True]  # two stand behind a ReLU
    assert clips[1].item() == 0 and clips[0].item() < 0


def test_code_that_asks_a_layer_for_its_sizes_goes_on_working(work: Work) -> None:
    conv: Any = work.create().get_submodule("conv")
    assert conv.out_channels == 6 and conv.weight.shape == (6, 4, 3, 3)
    with pytest.raises(AttributeError, match="nothing"):
        _ = conv.nothing


def test_every_parameter_learns(work: Work) -> None:
    model = work.create("retrain_weight_quant_config { ulq_retrain { channel_wise: true } }")
    model(batch())
    model(batch(2)).square().sum().backward()
    lazy = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert not lazy and "head.quant_module.wts_scales" in dict(model.named_parameters())


def test_the_record_is_written_by_the_first_evaluation_and_by_that_behind_more_training(work: Work) -> None:
    model = work.create("batch_num: 2")
    assert work.record() == ""
    model.eval()
    model(batch())
    assert work.record() == ""  # the clips are set by the second batch
    model(batch(2))
    first = work.record()
    assert re.findall(r'key: "(.*)"', first) == ["stem.0", "conv", "skip", "head"]
    step(model)
    model(batch())
    assert work.record() == first  # as it is still evaluated
    model.train()
    step(model)
    model.eval()
    model(batch())
    assert work.record() != first


def test_the_saved_models_compute_what_the_trained_one_does(work: Work) -> None:
    model = work.create()
    for seed in range(3):
        step(model, seed)
    work.save(model)
    assert not any(path.name.endswith(("quant.json", "qdq_model.onnx")) for path in work.folder.iterdir())
    wanted = model.eval()(batch(4)).detach().numpy()
    (found,) = run_model(work.folder / "net_fake_quant_model.onnx", {"x": batch(4).numpy()}).values()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert work.record().count("record {") == 4
    written = work.record()
    model(batch())
    assert work.record() == written


def test_nothing_but_the_batch_norms_of_convolutions_is_folded_into_trained_layers(work: Work) -> None:
    """The factors that were trained would not be those of the layer any more."""

    class Other(Block):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            a = self.stem(x)
            scores: Tensor = self.norm(self.head((self.bn(self.conv(a)) + self.skip(a) * 0.125).mean((2, 3))))
            return scores

    torch.manual_seed(3)
    other = Work(work.folder, Other().train())
    model = other.create()
    step(model)
    wanted = model.eval()(batch(4)).detach().numpy()
    written = work.record()
    other.save(model)
    assert work.record() == written
    nodes = [node.name for node in onnx.load(str(work.folder / "net_fake_quant_model.onnx")).graph.node]
    assert "norm" in nodes and "bn" not in nodes
    (found,) = run_model(work.folder / "net_fake_quant_model.onnx", {"x": batch(4).numpy()}).values()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_state_is_restored(work: Work) -> None:
    model = work.create()
    step(model)
    wanted = model.eval()(batch(3))
    for state, name in (
        (model.state_dict(), None),
        ({"model": model.state_dict(), "epoch": 1}, "model"),
        ({f"module.{key}": tensor for key, tensor in model.state_dict().items()}, None),
    ):
        assert torch.equal(work.restore(state, name).eval()(batch(3)), wanted)


@pytest.mark.parametrize(
    ("change", "name", "code", "words"),
    [
        (lambda state: [1, 2], None, "AM961", "this file holds no state dict"),
        (lambda state: {"net": state}, None, "AM961", "this file holds no state dict"),
        (lambda state: {"net": state}, "model", "AM961", "nothing under `model` in this file, which has `net`"),
        (lambda state: {"net": 3}, "net", "AM961", "`net` in this file is no state dict"),
        (lambda state: {**state, "more": torch.zeros(1)}, None, "AM962", "it has `more`, which this model does not"),
        (lambda state: {k: v for k, v in state.items() if k != CLIPS}, None, "AM962", f"it has no `{CLIPS}`"),
        (lambda state: {**state, CLIPS: torch.zeros(2)}, None, "AM962", r"is float32 \(2,\), not float32 \(\)"),
        (lambda state: {**state, CLIPS: torch.zeros((), dtype=torch.complex64)}, None, "AM962", "is complex64"),
        (lambda state: {**state, CLIPS: torch.zeros(2).to_sparse()}, None, "AM962", "is sparse_coo float32"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(work: Work, change: Any, name: str | None, code: str, words: str) -> None:
    with pytest.raises(DiagnosticError, match=words) as refusal:
        work.restore(change(work.create().state_dict()), name)
    assert code_of(refusal) == code


def test_nothing_in_a_file_is_run(work: Work) -> None:
    with pytest.raises(DiagnosticError) as refusal:
        work.restore(work.model)
    assert code_of(refusal) == "AM960"
    Path(work.path("m.pth")).write_bytes(b"no file of torch")
    arguments = work.path("config.json"), work.model, work.path("record.txt"), batch()
    for file in ("m.pth", "none.pth"):
        with pytest.raises(DiagnosticError) as refusal:
            amct.restore_quant_retrain_model(*arguments, work.path(file))
        assert code_of(refusal) == "AM960"


def test_a_model_that_is_not_the_one_of_the_config_is_not_saved(work: Work) -> None:
    model = work.create()
    with pytest.raises(DiagnosticError, match="AM964"):
        work.save(model)
    step(model)
    with pytest.raises(DiagnosticError, match="no layers that training quantizes"):
        work.save(work.model)
    work.config('quant_skip_layers: "skip"')
    with pytest.raises(DiagnosticError, match="which quantizes the layer `skip`"):
        work.save(model)
    assert not (work.folder / "net_deploy_model.onnx").exists()


def test_a_model_is_not_wrapped_twice(work: Work) -> None:
    with pytest.raises(DiagnosticError, match="AM950"):
        amct.create_quant_retrain_config(work.path("c.json"), work.create(), batch())


def test_layers_that_cannot_be_trained_are_left_out(work: Work) -> None:
    class Twice(Block):
        """`head` is called twice, `skip` has the weights of another layer, and `conv` is of a type of the user's."""

        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(4, 6, 1)
            self.other.weight = self.skip.weight
            self.conv = type("Own", (nn.Conv2d,), {})(4, 6, 3, padding=1)
            self.square = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            a = self.stem(x)
            b = self.conv(a) + self.skip(a) + self.other(a)
            scores: Tensor = self.square(self.square(self.head(b.mean((2, 3)))))
            return scores

    other = Work(work.folder, Twice())
    assert list(json.loads(Path(other.config()).read_text()))[2:] == ["stem.0", "head"]
    with pytest.raises(DiagnosticError, match="no layer `square` that can be trained") as refusal:
        other.config('quant_skip_layers: "square"')
    assert code_of(refusal) == "AM635"


def test_a_config_that_leaves_no_layer_is_refused(work: Work) -> None:
    with pytest.raises(DiagnosticError, match="AM638"):
        work.config('quant_skip_types: "Conv2d" quant_skip_types: "Linear"')
