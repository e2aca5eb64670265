"""Torch modules become ONNX models whose layers have the modules' names, and do what the modules do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, load
from torch import Tensor, nn

from amctc.diagnostics import Collector, DiagnosticError
from amctc.frontends.onnx import graph_of_model
from amctc.frontends.torch.export import export_module
from amctc.frontends.torch.layers import ModuleNode, module_nodes
from amctc.policy import Policy, resolve
from amctc.policy.flavours import PYTORCH
from tests.frontends.torch.torch_nets import (
    Block,
    Recurrent,
    Shared,
    Tied,
)
from tests.modules.nets import Digits, Misc, digits, misc
from tests.onnx_nets import run_model
from tests.shared_files import GOLDEN, needs_golden

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool", "BatchNormalization", "LSTM", "GRU", "Gather")


def layers(model: ModelProto) -> dict[str, str]:
    """The ops of what may be a layer, by name."""
    return {node.name: node.op_type for node in model.graph.node if node.op_type in LAYERS}


def initializers(model: ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def dims(model: ModelProto) -> dict[str, list[int | str]]:
    """The shapes of inputs and outputs."""
    values = (*model.graph.input, *model.graph.output)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


@cache
def free_batch(make: Callable[[], nn.Module], *shape: int) -> tuple[nn.Module, ModelProto]:
    torch.manual_seed(0)
    module = make()
    given = torch.zeros(1, *shape)
    return module, export_module(module, given, output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": [0]})


@needs_golden
@pytest.mark.parametrize(
    ("make", "shape", "case"), [(digits, (16, 1, 8, 8), "default"), (misc, (4, 3, 4, 4), "misc_default")]
)
def test_layers_have_the_names_and_ops_that_amct_gives_them(
    make: Callable[[], nn.Module], shape: tuple[int, ...], case: str
) -> None:
    theirs = load(str(GOLDEN / "amct_pytorch" / "ptq" / case / "deploy.onnx"))
    quantized = {name: op for name, op in layers(theirs).items() if op != "Gather"}
    ours = layers(export_module(make(), torch.zeros(shape)))
    assert {name: op for name, op in ours.items() if op != "BatchNormalization"} == quantized


def test_modules_without_weights_and_what_stands_in_no_layer_have_names_too() -> None:
    names = [node.name for node in free_batch(Digits, 1, 8, 8)[1].graph.node]
    assert len(set(names)) == len(names)
    assert [name for name in names if name.startswith("relu")] == ["relu", "relu1", "relu2", "relu3", "relu4"]
    assert "/Add" in names
    misc = [node.name for node in free_batch(Misc, 3, 4, 4)[1].graph.node]
    assert [name for name in misc if name.startswith("lin3")] == ["lin3", "lin3/Add"]
    assert {"/Relu", "/Relu_1", "/Tanh"} <= set(misc)


def test_weights_keep_the_names_of_parameters() -> None:
    module, model = free_batch(Digits, 1, 8, 8)
    kept = {name for name in module.state_dict() if "num_batches" not in name}
    assert kept <= initializers(model)
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert list(node.input[1:]) == [
                name for name in (f"{node.name}.weight", f"{node.name}.bias") if name in kept
            ]


def test_nothing_of_the_place_where_a_model_was_exported_is_in_it() -> None:
    text = str(free_batch(Digits, 1, 8, 8)[1])
    assert ".py" not in text
    assert "pkg.torch" not in text


@pytest.mark.parametrize(("make", "shape"), [(Block, (3, 8)), (Recurrent, (3, 3)), (Digits, (1, 8, 8))])
def test_a_model_with_a_free_batch_axis_gives_what_the_module_gives(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    module, model = free_batch(make, *shape)
    assert dims(model)["x"][0] == dims(model)["y"][0] == "batch"
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = module.eval()(x).numpy()
    np.testing.assert_allclose(run_model(model, {"x": x.numpy()})["y"], wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("make", "shape", "names"),
    [
        (Recurrent, (3, 3), {"lstm", "gru", "head"}),
        (Block, (3, 8), {"mlp.0", "mlp.2", *(f"attention.{name}" for name in ("query", "key", "value", "out"))}),
    ],
)
def test_layers_are_quantized_by_default(
    make: Callable[[], nn.Module], shape: tuple[int, ...], names: set[str]
) -> None:
    model = ModelProto()
    model.CopyFrom(free_batch(make, *shape)[1])
    resolved = resolve(Policy(flavour=PYTORCH), graph_of_model(model, "module", Collector()))
    assert {name for name, config in resolved.layers.items() if config.quant_enable.value} == names


def test_the_weights_of_recurrent_layers_are_constant() -> None:
    _, model = free_batch(Recurrent, 3, 3)
    constant = initializers(model)
    for node in model.graph.node:
        if node.op_type in ("LSTM", "GRU"):
            assert {node.name} <= {"lstm", "gru"}
            assert set(node.input[1:4]) <= constant
            assert len(node.input) == 4  # an initial state of zeros is left out
    assert layers(model) == {"lstm": "LSTM", "gru": "GRU", "/Gather": "Gather", "head": "Gemm"}


def test_a_linear_layer_on_more_than_rows_is_a_product_of_a_constant_and_a_sum() -> None:
    _, model = free_batch(Block, 3, 8)
    names = {f"attention.{name}" for name in ("query", "key", "value", "out")} | {"mlp.0", "mlp.2"}
    products = {node.name: node for node in model.graph.node if node.op_type == "MatMul"}
    assert names < products.keys()
    for name in names:
        assert products[name].input[1] == f"{name}.weight"
    assert initializers(model) >= {f"{name}.weight" for name in names}


def test_a_module_that_is_called_again_has_a_node_for_each_call_and_one_name() -> None:
    found = module_nodes(export_module(Shared(), torch.zeros(2, 4)))
    assert list(found) == ["first.0", "first.1", "first.01", "first.11", "first.02", "first.12"]
    assert [found[name] for name in ("first.0", "first.01", "first.02")] == [ModuleNode("first.0", "Linear")] * 3


def test_a_weight_that_two_modules_share_is_stored_both_ways() -> None:
    torch.manual_seed(0)
    module, tokens = Tied(), torch.tensor([[0, 3, 5]])
    model = export_module(module, tokens)
    assert layers(model) == {"embedding": "Gather", "head": "MatMul"}
    with torch.no_grad():
        wanted = module(tokens).numpy()
    (found,) = run_model(model, {"tokens": tokens.numpy()}).values()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_types_derived_from_those_of_torch_count_as_these() -> None:
    class Own(nn.Conv2d):
        pass

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight)

    net = nn.Sequential(Own(1, 4, 1), nn.AvgPool2d(1), Functional())
    model = export_module(net, torch.zeros(2, 1, 2, 2))
    assert module_nodes(model) == {"0": ModuleNode("0", "Conv2d"), "1": ModuleNode("1", "AvgPool2d")}
    assert layers(model)["2/Conv"] == "Conv"


def test_the_module_is_as_it_was_before(capfd: pytest.CaptureFixture[str]) -> None:
    module, filters = Recurrent(), list(warnings.filters)
    module.gru.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [each.training for each in module.modules()]
    names = set(vars(module.lstm))
    export_module(module, [torch.zeros(2, 3, 3)])
    assert [each.training for each in module.modules()] == modes
    assert set(vars(module.lstm)) == names
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    module(torch.zeros(2, 3, 3)).sum().backward()
    assert module.lstm.weight_ih_l0.grad is not None
    assert capfd.readouterr() == ("", "")
    assert list(warnings.filters) == filters


def test_inputs_have_the_names_of_arguments_unless_others_are_given() -> None:
    class Sum(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left + right

    pair = (torch.zeros(2, 3), torch.zeros(2, 3))
    assert list(dims(export_module(Sum(), pair)))[:2] == ["left", "right"]
    named = export_module(
        Sum(), pair, input_names=["a", "b"], output_names=["c"], dynamic_axes={"a": {0: "n", 1: "m"}, "b": [0, 1]}
    )
    assert dims(named) == {"a": ["n", "m"], "b": ["n", "m"], "c": ["n", "m"]}


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"y": {0: "n"}}, "names `y`, which is no input"),
        ({"x": {4: "n"}}, "frees axis 4 of `x`, which has 4 axes"),
    ],
)
def test_axes_that_no_input_has_are_refused(axes: dict[str, Any], said: str) -> None:
    with pytest.raises(DiagnosticError, match="AM481") as refusal:
        export_module(Digits(), torch.zeros(2, 1, 8, 8), dynamic_axes=axes)
    assert said in str(refusal.value)


def test_an_axis_that_the_module_fixes_is_told() -> None:
    with pytest.raises(DiagnosticError, match="AM480") as refusal:
        export_module(Recurrent(), torch.zeros(2, 3, 3), dynamic_axes={"x": {1: "steps"}})
    (found,) = refusal.value.diagnostics
    assert found.message.startswith("an axis that is to be free has a fixed size in this module: ")
    assert found.help is not None and "LSTM" in found.help


def test_the_last_projection_of_an_attention_has_the_name_of_its_module() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.heads(x, x, x, need_weights=False)[0]
            return found

    model = export_module(Attention(), torch.zeros(2, 3, 8), dynamic_axes={"x": {0: "batch"}})
    assert layers(model)["heads.out_proj"] == "Gemm"
    assert module_nodes(model) == {}
    assert initializers(model) >= {"heads.in_proj_weight", "heads.out_proj.weight"}


def test_what_torch_cannot_export_is_told_in_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    class Choice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    module = Choice().train()
    with pytest.raises(DiagnosticError, match="AM480") as refusal:
        export_module(module, torch.zeros(2))
    (found,) = refusal.value.diagnostics
    assert "\n" not in found.message
    assert module.training
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_module_itself_is_told() -> None:
    with pytest.raises(DiagnosticError, match=r"AM480.*RuntimeError"):
        export_module(nn.Linear(4, 4), torch.zeros(2, 5))
