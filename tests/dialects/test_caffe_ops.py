"""Traits, defaults and refusals of the caffe dialect that the recorded nets do not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.params import params
from amctc.dialects.op import OpError
from amctc.dialects.shapes import annotate_shapes, infer_shapes
from amctc.dialects.table import op_def, op_table
from amctc.dialects.traits import affine_coefficients, linear_trait
from amctc.ir import Graph
from amctc.text.plain import Symbol
from tests.runtime.nets import add_input, one_layer, random
from tests.shared_files import SEEDS, needs_seeds

WITH_WEIGHTS = {"Convolution", "DepthwiseConv", "Deconvolution", "InnerProduct", "LSTM", "RNN", "GRU"}
ONE_SCALE = {"InnerProduct", "LSTM", "RNN", "GRU"}


def manuals_table() -> dict[str, bool]:
    """The layer types that the manual's appendix lists, and whether they are quantized by default."""
    (guide,) = SEEDS.glob("001*.md")
    text = guide.read_text(encoding="utf-8")
    section = text.partition("## 支持量化的算子列表")[2].partition("\n## ")[0]
    found: dict[str, bool] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = cells[1] if cells[0].startswith("支持") else cells[0]
        if line.startswith("|") and names[:1].isascii() and names[:1].isalpha():
            found |= dict.fromkeys(names.split(","), not any("默认不量化" in cell for cell in cells))
    return found


@needs_seeds
def test_the_table_has_every_layer_of_the_manual_with_its_default() -> None:
    manual = manuals_table()
    assert len(manual) == 78
    for name, on_by_default in manual.items():
        how = op_table()[f"caffe.{name}"].quantizable
        assert how is not None, name
        assert how.on_by_default == on_by_default, name
        assert how.weights == (name in WITH_WEIGHTS), name
        assert how.channel_wise == (name in WITH_WEIGHTS - ONE_SCALE), name


@needs_seeds
def test_no_other_layer_is_quantized() -> None:
    manual = manuals_table()
    others = {row.type for row in op_table().values() if row.dialect == "caffe" and row.type not in manual}
    assert {"Input", "Dropout", "Silence", "DetectionOutput"} <= others
    assert all(op_table()[f"caffe.{name}"].quantizable is None for name in others)


def test_parameters_have_the_schemas_defaults() -> None:
    node = one_layer("Pooling", (1, 1, 4, 4), {"pooling_param": {"pool": Symbol("AVE")}}).node("layer")
    param = params(node, "pooling_param")
    assert (param.pool, param.stride, param.HasField("stride")) == (1, 1, False)
    assert params(node, "lrn_param").beta == 0.75


@pytest.mark.parametrize("value", ["three", 1.5, -1, 2**40, {"a": 1}, (1, 2)])
def test_a_value_that_does_not_fit_its_field_is_told(value: Any) -> None:
    node = one_layer("Pooling", (1, 1, 4, 4), {"pooling_param": {"kernel_size": value}}).node("layer")
    with pytest.raises(OpError, match="`kernel_size` cannot be"):
        params(node, "pooling_param")


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "InnerProduct", "transposed"])
def test_by_output_channel_puts_each_channels_weights_into_one_row(kind: str) -> None:
    fields: dict[str, Any] = {"num_output": 6, "kernel_size": (3,), "group": 2}
    parameter: dict[str, Any] = {"convolution_param": fields}
    shape: tuple[int, ...] = (4, 3, 3, 3) if kind == "Deconvolution" else (6, 2, 3, 3)
    if kind in ("InnerProduct", "transposed"):
        parameter = {"inner_product_param": {"num_output": 6, "transpose": kind == "transposed"}}
        shape = (5, 6) if kind == "transposed" else (6, 5)
    weight: NDArray[np.float32] = random(shape)
    layer = kind if kind != "transposed" else "InnerProduct"
    node = one_layer(layer, (1, 4, 5, 5), parameter, {"weight": weight}).node("layer")
    trait = linear_trait(node)
    rows = trait.by_output_channel(node, weight)
    assert trait.out_channels(node) == len(rows) == 6
    np.testing.assert_array_equal(trait.from_output_channel(node, rows), weight)
    if kind == "Deconvolution":
        # Output channel 4 is number 1 of group 1, which reads input channels 2 and 3.
        np.testing.assert_array_equal(rows[4], weight[2:, 1].reshape(-1))
    if kind == "transposed":
        np.testing.assert_array_equal(rows[4], weight[:, 4])


def test_enable_bias_leaves_a_shared_parameter_alone() -> None:
    shared: dict[str, Any] = {"num_output": 2, "kernel_size": (1,), "bias_term": False}
    graph = Graph("net")
    data = add_input(graph, (1, 2, 3, 3))
    nodes = [graph.add(n, "caffe.Convolution", [data.output], attrs={"convolution_param": shared}) for n in "ab"]
    linear_trait(nodes[0]).enable_bias(nodes[0])
    assert [params(node, "convolution_param").bias_term for node in nodes] == [True, False]


def test_depthwise_conv_groups_by_channel_unless_told_otherwise() -> None:
    fields: dict[str, Any] = {"num_output": 8, "kernel_size": (3,)}
    node = one_layer("DepthwiseConv", (1, 4, 5, 5), {"convolution_param": fields}).node("layer")
    assert op_def(node).weight_shapes(node, ((1, 4, 5, 5),)) == {"weight": (8, 1, 3, 3), "bias": (8,)}
    node.attrs["convolution_param"] = {**fields, "group": 2}
    assert op_def(node).weight_shapes(node, ((1, 4, 5, 5),))["weight"] == (8, 2, 3, 3)


def test_batch_norm_divides_its_statistics_by_the_factor() -> None:
    weights = {
        "mean": np.array([2, 4], np.float32),
        "variance": np.array([8, 18], np.float32),
        "factor": np.array([2], np.float32),
    }
    graph = one_layer("BatchNorm", (1, 2, 3), {"batch_norm_param": {"eps": 0.0}}, weights)
    found = affine_coefficients(graph.node("layer"), 2)
    assert not isinstance(found, str)
    np.testing.assert_allclose(found[0], [1 / 2, 1 / 3])
    np.testing.assert_allclose(found[1], [-1 / 2, -2 / 3])
    assert affine_coefficients(graph.node("layer"), 3) == "it has 2 channels, not 3"


@pytest.mark.parametrize(
    ("kind", "parameter", "reason"),
    [
        ("BatchNorm", {"batch_norm_param": {"use_global_stats": False}}, "statistics of each batch"),
        ("BatchNorm", {}, "no weights"),
        ("Scale", {"scale_param": {"axis": 2}}, "axis 2"),
        ("Scale", {"scale_param": {"axis": -2}}, "axis -2"),
        ("Scale", {"scale_param": {"num_axes": 2}}, "`num_axes` 2"),
        ("Bias", {"bias_param": {"num_axes": -1}}, "`num_axes` -1"),
        ("Bias", {"bias_param": {"axis": 0}}, "axis 0"),
    ],
)
def test_what_is_not_one_map_a_channel_gives_a_reason(kind: str, parameter: dict[str, Any], reason: str) -> None:
    graph = one_layer(kind, (2, 3, 4, 5), parameter)
    annotate_shapes(graph)
    found = affine_coefficients(graph.node("layer"), 3)
    assert isinstance(found, str)
    assert reason in found


def test_a_scale_along_axis_minus_3_of_a_4d_blob_is_affine() -> None:
    weights = {"scale": np.array([1, 2, 3], np.float32), "bias": np.array([4, 5, 6], np.float32)}
    graph = one_layer("Scale", (2, 3, 4, 5), {"scale_param": {"axis": -3, "bias_term": True}}, weights)
    annotate_shapes(graph)
    found = affine_coefficients(graph.node("layer"), 3)
    assert not isinstance(found, str)
    assert [vector.tolist() for vector in found] == [[1, 2, 3], [4, 5, 6]]


def test_a_scale_by_a_second_input_is_not_affine() -> None:
    graph = Graph("net")
    data, factor = add_input(graph, (2, 3)), add_input(graph, (3,), "factor")
    scale = graph.add("scale", "caffe.Scale", [data.output, factor.output])
    assert affine_coefficients(scale, 3) == "its second input is computed by another layer"


@pytest.mark.parametrize(
    ("kind", "shape", "parameter", "words"),
    [
        ("Convolution", (1, 1, 4, 4), {"num_output": 1, "kernel_size": (5,)}, "does not fit"),
        ("Convolution", (1, 1, 4, 4), {"num_output": 1, "kernel_size": (3,), "dilation": (0,)}, "`dilation` must"),
        ("Convolution", (1, 1, 4, 4), {"num_output": 1, "kernel_size": (3,), "group": 0}, "`group` must"),
        ("Convolution", (1, 1, 4, 4), {"num_output": 1, "kernel_size": (1,), "axis": 3}, "at least one axis"),
        ("Convolution", (1, 1, 4), {"num_output": 1, "kernel_h": 1, "kernel_w": 1}, "two spatial axes"),
        ("Convolution", (1, 1, 4, 4), {"num_output": 1, "kernel_size": (1,), "pad": (2**31,)}, "Caffe allows"),
        ("Deconvolution", (1, 1, 2, 2), {"num_output": 1, "kernel_size": (1,), "pad": (1,)}, "leaves nothing"),
    ],
)
def test_an_impossible_convolution_is_refused(
    kind: str, shape: tuple[int, ...], parameter: dict[str, Any], words: str
) -> None:
    with pytest.raises(DiagnosticError, match=f"AM320.*{words}"):
        infer_shapes(one_layer(kind, shape, {"convolution_param": parameter}))


def test_a_blob_of_more_elements_than_caffe_allows_is_refused() -> None:
    with pytest.raises(DiagnosticError, match="Caffe allows"):
        infer_shapes(one_layer("ReLU", (65536, 65536)))


def test_linear_layers_give_int32_behind_a_quantize_and_float32_otherwise() -> None:
    graph = Graph("net")
    data = add_input(graph, (1, 3))
    attrs: dict[str, Any] = {"scale": 0.1, "offset": 0, "bits": 8}
    quantize = graph.add("q", "quant.Quantize", [data.output], attrs=attrs)
    centred = graph.add("c", "quant.Quantize", [data.output], attrs={**attrs, "centered": True})
    field: dict[str, Any] = {"inner_product_param": {"num_output": 2}}
    layers = [graph.add(n.name + ".fc", "caffe.InnerProduct", [n.output], attrs=field) for n in (quantize, centred)]
    annotate_shapes(graph)
    assert [layer.output.dtype for layer in layers] == ["int32", "float32"]
