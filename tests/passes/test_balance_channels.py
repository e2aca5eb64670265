"""Balanced channels: the network computes the same, data and weights have equal ranges, and records say it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.dialects.scaling import channels_of
from amctc.dialects.table import op_def
from amctc.dialects.traits import linear_trait
from amctc.instruments import CheckEquivalence
from amctc.ir import Graph, Node
from amctc.passes import PIPELINES
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.records.read_record import read_record
from amctc.registry import builtin_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile
from tests.ge_graphs import NCHW, NHWC, Floats, GeNet, read_back, to_layout
from tests.nets import conv, data, layer, make_net, write_net
from tests.passes.test_equalize_layers import BETWEEN, LINEAR, inner
from tests.quantized import outputs, quantize, random_feeds, run_passes

HALF = "annotate-quant,balance-channels{migration_strength=0.5}"
FOLDED = "annotate-quant,balance-channels{migration_strength=0.5,fold=true}"
POLICY = "common_config { dmq_balancer { } }"
NET = (
    data("2 4 6 6")
    + conv("grouped", "data", 8, more="group: 2 pad: 1")
    + layer("r1", "ReLU", "grouped", "r1")
    + conv("depth", "r1", 8, more="pad: 1", type="DepthwiseConv")
    + layer("t", "TanH", "depth", "t")
    + conv("up", "t", 6, kernel=2, more="stride: 2 group: 2", type="Deconvolution")
    + layer("p", "Pooling", "up", "p", "pooling_param { kernel_size: 2 stride: 2 }")
    + layer("ip", "InnerProduct", "p", "ip", "inner_product_param { num_output: 5 transpose: true }")
    + layer("r2", "ReLU", "ip", "r2", "relu_param { negative_slope: 0.25 }")
    + layer("last", "InnerProduct", "r2", "last", "inner_product_param { num_output: 3 }")
)


def uneven(graph: Graph, seed: int = 0) -> Graph:
    """Output channels of very different size in every linear layer."""
    rng = np.random.default_rng(seed)
    for node in graph.nodes:
        if op_def(node).linear is not None:
            trait = linear_trait(node)
            rows = trait.by_output_channel(node, node.weights[trait.weight]).astype(np.float32)
            factors = np.exp(rng.normal(scale=1.5, size=(len(rows), 1))).astype(np.float32)
            node.weights[trait.weight] = trait.from_output_channel(node, rows * factors)
    return graph


def flattened(name: str, bottom: str, outputs: int) -> str:
    return layer("flat", "Flatten", bottom, "flat") + inner(name, "flat", outputs)


def linear(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if op_def(node).linear is not None]


def ranges(graph: Graph, node: Node, feeds: dict[str, Floats]) -> tuple[Floats, Floats]:
    """The largest magnitude of each channel of what a layer reads, and of its weights."""
    x = np.abs(Executor(graph, fetch=[node.inputs[0]]).run(feeds)[node.inputs[0]])
    parts = np.abs(channels_of(node).split(node, node.weights["weight"]).astype(np.float32))
    groups, _, inputs, _ = parts.shape
    channels = x.shape[1]
    weights = parts.max(axis=(1, 3)).reshape(channels, groups * inputs // channels).max(axis=1)
    return x.max(axis=tuple(each for each in range(x.ndim) if each != 1)), weights


def test_data_and_weights_of_each_channel_have_equal_ranges_at_one_half(tmp_path: Path) -> None:
    graph = uneven(make_net(tmp_path, NET))
    (feeds,) = random_feeds(graph, 1)
    before = outputs(graph, feeds)["last"]
    run_passes(graph, HALF, batches=[feeds])
    assert len(linear(graph)) == 5
    for node in linear(graph):
        assert node.inputs[0].producer.op == "caffe.Scale"
        # The ranges of data were a and those of weights w; both are sqrt(a * w) now.
        np.testing.assert_allclose(*ranges(graph, node, feeds), rtol=1e-4, err_msg=node.name)
    np.testing.assert_allclose(outputs(graph, feeds)["last"], before, rtol=0, atol=2e-6 * np.abs(before).max())


def test_factors_are_those_of_all_batches(tmp_path: Path) -> None:
    first, second = random_feeds(make_net(tmp_path, NET), 1, count=2)
    both = {"data": np.concatenate([first["data"], second["data"]])}
    found: list[list[tuple[float, ...]]] = []
    for batches, size in (([first, second], 2), ([both], 4)):
        graph = make_net(tmp_path, NET.replace("dim: 2 dim: 4", f"dim: {size} dim: 4"))
        run_passes(graph, HALF, batches=batches)
        found.append([node.quant.balance.factors for node in linear(graph) if node.quant and node.quant.balance])
    assert len(found[0]) == 5
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_gives_the_channels_is_divided_where_that_is_exact(tmp_path: Path) -> None:
    graph = uneven(make_net(tmp_path, NET))
    (feeds,) = random_feeds(graph, 1)
    before = outputs(graph, feeds)["last"]
    run_passes(graph, FOLDED, batches=[feeds])
    folded = {node.name: node.quant.balance.folded for node in linear(graph) if node.quant and node.quant.balance}
    assert folded == {"grouped": False, "depth": True, "up": False, "ip": True, "last": True}
    assert [node.name for node in graph.nodes if node.op == "caffe.Scale"] == ["grouped.mul", "up.mul"]
    np.testing.assert_allclose(outputs(graph, feeds)["last"], before, rtol=0, atol=2e-6 * np.abs(before).max())


@settings(deadline=None, max_examples=12)
@given(draw=st.data(), seed=st.integers(0, 1000), fold=st.booleans())
def test_random_networks_compute_what_they_computed(draw: st.DataObject, seed: int, fold: bool) -> None:
    text, bottom = data("2 4 6 6"), "data"
    for number in range(draw.draw(st.integers(1, 4))):
        type, more = draw.draw(st.sampled_from(LINEAR))
        kind, parameter = draw.draw(st.sampled_from(BETWEEN))
        text += conv(f"c{number}", bottom, 4, 2, more, type=type)
        text += layer(f"f{number}", kind, f"c{number}", f"f{number}", parameter)
        bottom = f"f{number}"
    text += draw.draw(st.sampled_from((inner, flattened)))("last", bottom, 5)
    with tempfile.TemporaryDirectory() as folder:
        graph = uneven(make_net(Path(folder), text, seed), seed)
    policy = resolve(Policy.from_text(SourceFile("policy.cfg", "")), graph)
    context = Context(policy, Calibration(lambda: iter(random_feeds(graph, seed)), 1))
    pipeline = parse_pipeline(SourceFile("pipeline", FOLDED if fold else HALF), builtin_registry())
    pipeline.run(graph, context, (CheckEquivalence(),))
    assert [node.name for node in linear(graph) if node.quant is None or node.quant.balance is None] == []


@pytest.mark.parametrize("graph_of", ["two readers", "an output"])
def test_a_value_that_others_read_is_not_divided(graph_of: str, tmp_path: Path) -> None:
    text = data("1 4 5 5") + conv("a", "data", 4) + conv("b", "a", 3)
    graph = make_net(tmp_path, text + (layer("r", "ReLU", "a", "r") if graph_of == "two readers" else ""))
    if graph_of == "an output":
        graph.outputs = [graph.node("a").output, graph.node("b").output]
    (feeds,) = random_feeds(graph, 1)
    before = outputs(graph, feeds)
    run_passes(graph, FOLDED, batches=[feeds])
    assert "b.mul" in graph
    for name, array in outputs(graph, feeds).items():
        np.testing.assert_allclose(array, before[name], rtol=0, atol=2e-6 * np.abs(before[name]).max())


def test_layers_that_share_their_weights_are_left_alone(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("1 4 5 5") + conv("a", "data", 4) + conv("b", "a", 4))
    graph.node("b").weights["weight"] = graph.node("a").weights["weight"]
    context = run_passes(graph, HALF, batches=random_feeds(graph, 1))
    assert [refusal.reason for refusal in context.refusals] == [
        "`a` shares its weights with another layer",
        "`b` shares its weights with another layer",
    ]


@pytest.mark.parametrize("layout", [NCHW, NHWC])
def test_layers_of_ge_are_balanced_in_either_layout(layout: str) -> None:
    net = GeNet(layout)
    value = net.relu(net.conv(net.data(1, 4, 6, 6), 6, group=2))
    graph = uneven(net.finish(net.conv(net.relu(net.depthwise(value)), 5)))
    drawn = np.random.default_rng(3).normal(size=(1, 4, 6, 6)).astype(np.float32)
    feeds = {"data": to_layout(drawn, layout)}
    (before,) = outputs(graph, feeds).values()
    run_passes(graph, HALF, batches=[feeds])
    assert [node.type for node in graph.nodes].count("Scale") == 3
    for now in (graph, read_back(graph)):
        (found,) = outputs(now, feeds).values()
        np.testing.assert_allclose(found, before, rtol=0, atol=2e-6 * np.abs(before).max())


def test_a_strength_that_is_chosen_leaves_no_more_error_than_one_half_or_none(tmp_path: Path) -> None:
    errors: dict[str, float] = {}
    for strength in ("policy", "0.5", "auto"):
        graph = uneven(make_net(tmp_path, NET))
        (feeds,) = random_feeds(graph, 1)
        wanted = outputs(graph, feeds)["last"]
        option = f"balance-channels{{migration_strength={strength}}}"
        run_passes(graph, PIPELINES["ptq"].replace("balance-channels", option), batches=[feeds])
        errors[strength] = float(np.square(outputs(graph, feeds)["last"] - wanted).mean())
    assert errors["auto"] < errors["policy"] / 2
    assert errors["auto"] < 1.1 * errors["0.5"]


def test_a_layer_that_no_strength_helps_is_left_as_it_is(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("1 1 9 9") + conv("a", "data", 4))
    context = run_passes(graph, HALF.replace("0.5", "auto"), batches=random_feeds(graph, 1))
    assert "a.mul" not in graph
    assert [refusal.reason for refusal in context.refusals] == ["no strength leaves a smaller error of its output"]


@pytest.mark.parametrize("option", ["", "{migration_strength=policy}"])
def test_without_being_asked_nothing_is_balanced(option: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, NET)
    assert "up.mul" not in quantize(graph, random_feeds(graph, 1))
    graph = make_net(tmp_path, NET)
    run_passes(graph, f"annotate-quant,balance-channels{option}", POLICY, random_feeds(graph, 1))
    assert "up.mul" in graph


@pytest.mark.parametrize("strength", ["0.19", "0.81", "nan", "much"])
def test_other_strengths_are_refused(strength: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM503"):
        run_passes(make_net(tmp_path, NET), HALF.replace("0.5", strength))


# -- through files ---------------------------------------------------------------------------------


def compiled(folder: Path, fold: str) -> tuple[Graph, Path]:
    prototxt, weights = write_net(folder, NET)
    option = f"balance-channels{{migration_strength=0.5,fold={fold}}}"
    result = amctc.compile(
        prototxt,
        weights,
        policy=_policy(folder),
        data={"data": random_feeds(make_net(folder, NET), 1)[0]["data"]},
        target="caffe",
        output=folder / "net",
        pipeline=PIPELINES["ptq"].replace("balance-channels", option),
        instruments=(CheckEquivalence(),),
    )
    return result.graph, folder / "net_scale_offset_record.txt"


def _policy(folder: Path) -> Path:
    path = folder / "policy.cfg"
    path.write_text("batch_num: 1")
    return path


@pytest.mark.parametrize("fold", ["false", "true"])
def test_a_record_gives_the_same_files_again(fold: str, tmp_path: Path) -> None:
    graph, record = compiled(tmp_path, fold)
    assert [layer.balance_folded for layer in read_record(record).layers if layer.name == "last"] == [fold == "true"]
    again = amctc.convert(
        tmp_path / "net.prototxt", tmp_path / "net.caffemodel", record=record, target="caffe", output=tmp_path / "again"
    )
    for ending in ("deploy_model.prototxt", "deploy_weights.caffemodel", "fake_quant_weights.caffemodel"):
        assert (tmp_path / f"again_{ending}").read_bytes() == (tmp_path / f"net_{ending}").read_bytes(), ending
    feeds = random_feeds(graph, 1)[0]
    np.testing.assert_array_equal(outputs(again.graph, feeds)["last"], outputs(graph, feeds)["last"])


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (r"(tensor_balance_factor: \S+\s+){3}(?=tensor)", "", "AM279"),
        (r"tensor_balance_factor: \S+", "tensor_balance_factor: 0", "AM280"),
        (r"tensor_balance_factor: \S+", "tensor_balance_factor: 9e6", "AM280"),
        (r"tensor_balance_factor: \S+", "tensor_balance_factor: nan", "AM280"),
        (r'(key: "p"\s+value \{)', r"\1 tensor_balance_factor: 1", "AM279"),
        (r'(key: "up"\s+value \{)', r"\1 balance_folded: true", "AM279"),
    ],
)
def test_factors_that_do_not_fit_are_refused(old: str, new: str, code: str, tmp_path: Path) -> None:
    _, record = compiled(tmp_path, "false")
    changed, count = re.subn(old, new, record.read_text(), count=1)
    assert count == 1
    record.write_text(changed)
    with pytest.raises(DiagnosticError, match=code):
        amctc.convert(
            tmp_path / "net.prototxt", tmp_path / "net.caffemodel", record=record, target="caffe", output=tmp_path / "x"
        )
