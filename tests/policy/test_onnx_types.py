"""Policies by PyTorch's type names, on ONNX models, down to the factors of calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import resolve
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from tests.policy.texts import cfg, places, refused
from tests.quantized import random_feeds, run_passes
from tests.shared_files import ASSETS, needs_assets

PASSES = "annotate-quant,quantize-weights,observe,calibrate"


@pytest.fixture
def small(tmp_path: Path) -> Graph:
    """volume (Conv of 3 axes), image (Conv of 2), average, flat, product (MatMul), each but flat quantizable."""
    rng = np.random.default_rng(0)
    sizes = {"w3": (2, 1, 1, 3, 3), "w2": (4, 2, 3, 3), "w1": (16, 5)}
    weights = [numpy_helper.from_array(rng.normal(size=size).astype(np.float32), name) for name, size in sizes.items()]
    weights.append(numpy_helper.from_array(np.array([1, 2, 6, 6], np.int64), "shape"))
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["a"], "volume"),
        helper.make_node("Reshape", ["a", "shape"], ["b"], "as_image"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "image"),
        helper.make_node("AveragePool", ["c"], ["d"], "average", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"], "flat"),
        helper.make_node("MatMul", ["e", "w1"], ["y"], "product"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    model = helper.make_model(
        helper.make_graph(nodes, "small", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)]
    )
    path = tmp_path / "small.onnx"
    onnx.save(model, str(path))
    return load_model(path)


def test_types_have_onnx_names_and_torchs(small: Graph) -> None:
    for name, skipped in (
        ("Conv3d", {"volume"}),
        ("Conv2d", {"image"}),
        ("Conv", {"volume", "image"}),
        ("Linear", {"product"}),
        ("MatMul", {"product"}),
        ("AvgPool2d", {"average"}),
        ("GRU", set[str]()),
    ):
        layers = resolve(cfg(f'skip_layer_types: "{name}"'), small).layers.values()
        assert {each.name for each in layers if not each.quant_enable.value} == skipped, name


@pytest.mark.parametrize(
    ("name", "code", "help"),
    [
        ("Conv2D", "AM222", "did you mean `Conv2d`?"),
        ("Softmax", "AM221", "`amctc ops` lists the types that can be quantized"),
        ("Reshape", "AM221", "`amctc ops` lists the types that can be quantized"),
    ],
)
def test_other_types_are_told_apart(name: str, code: str, help: str, small: Graph) -> None:
    (found,) = refused(cfg(f'skip_layer_types: "{name}"'), small)
    assert (found.code, found.help) == (code, help)


def test_calibration_follows_the_limits_of_each_type(small: Graph) -> None:
    feeds = random_feeds(small, seed=1, count=3)
    rules = "common_config { hfmg_quantize { dst_type: INT16 num_of_bins: 1024 } arq_quantize { channel_wise: true } }"
    context = run_passes(small, PASSES, rules, feeds)
    assert not context.collector.has_errors
    found = {node.name: node.quant for node in small.nodes if node.quant is not None}
    assert {name: quant.inputs[0].bits for name, quant in found.items()} == {
        "volume": 8, "image": 16, "average": 8, "product": 8
    }  # fmt: skip
    observer = HfmgObserver(HfmgSettings(8, False, 1024))
    for batch in feeds:
        observer.update(batch["x"])
    result = observer.finish()
    assert (found["volume"].inputs[0].scale, found["volume"].inputs[0].offset) == (float(result.scale), 0)
    weight = found["product"].weight
    assert weight is not None and {role: scales.size for role, scales in weight.scales.items()} == {"weight": 5}


@needs_assets
def test_the_last_layer_of_a_real_model_is_linear() -> None:
    graph = load_model(ASSETS / "onnx/efficientnet_lite0.onnx")
    layers = resolve(cfg('skip_layer_types: "Linear"'), graph).layers
    assert [name for name, config in layers.items() if not config.quant_enable.value and config.weights] == ["_fc"]


@needs_assets
def test_wide_data_give_way_at_the_pooling_layers_of_a_real_model() -> None:
    graph = load_model(ASSETS / "onnx/lprnet.onnx")
    resolved = resolve(cfg("common_config { ifmr_quantize { dst_type: INT16 } }"), graph)
    assert places(resolved.warnings) == [("AM276", 1, 43)]
    (warning,) = resolved.warnings
    assert warning.notes == ("it holds for `AveragePool_40`, `AveragePool_44`, `AveragePool_48`",)
