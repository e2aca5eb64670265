"""Real Caffe networks as GE files: float and quantized, what is read back computes what Caffe's does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.source import SourceFile
from amctc.targets.ge.ascend import leaves_half
from tests.e2e.test_crossing_networks import NETS, Feeds, files, random
from tests.ge_files import Arrays, assert_equal, read_again, run
from tests.shared_files import needs_assets

WRITTEN = [name for name in NETS if name != "hyperlpr"]
QUANTIZED = ("lenet", "resnet20", "squeezenet", "ultraface", "waifu2x", "det1", "det2", "det3", "silero")


@needs_assets
@pytest.mark.parametrize("name", WRITTEN)
def test_a_caffe_network_computes_the_same_in_a_ge_file(name: str, tmp_path: Path) -> None:
    graph = load_model(*files(name))
    amctc.export(*files(name), target="ge", output=tmp_path / "net")
    feeds = random(graph)
    assert_equal(run(read_again(tmp_path / "net_model.air"), feeds), run(graph, feeds))


@needs_assets
def test_a_plain_detection_output_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        amctc.export(*files("hyperlpr"), target="ge", output=tmp_path / "net")
    (found,) = caught.value.diagnostics
    assert (found.code, "layer `detection_out` (DetectionOutput)" in found.message) == ("AM715", True)
    assert "write it as SSDDetectionOutput" in found.message
    assert list(tmp_path.iterdir()) == []


@needs_assets
@pytest.mark.parametrize("name", QUANTIZED)
def test_a_quantized_network_has_caffes_integers_and_floats(name: str, tmp_path: Path) -> None:
    feeds = random(load_model(*files(name)))
    more = 'skip_layers: "lstm"' if name == "silero" else ""
    policy = Policy.from_text(SourceFile("policy.cfg", f"batch_num: 1 {more}"))
    amctc.compile(*files(name), policy=policy, data=feeds, target="ge{sqrt_mode=false},caffe", output=tmp_path / "q")
    ours = read_again(tmp_path / "q_deploy_model.air", sqrt_mode=False)
    caffe = load_model(tmp_path / "q_deploy_model.prototxt", tmp_path / "q_deploy_weights.caffemodel")
    integers = [node.name for node in caffe.nodes if node.output.dtype.startswith("int")]
    assert any(node.output.dtype == "int8" for node in caffe.nodes if node.dialect == "quant")
    assert any(node.output.dtype == "int32" for node in caffe.nodes if node.dialect != "quant")
    names = [*integers, *(node.name for node in caffe.nodes if node.op == "quant.Dequantize")]
    assert_equal(run_all(ours, names, feeds), run_all(caffe, names, feeds))


@needs_assets
def test_roots_of_scales_come_back_rounded_once_more_and_nothing_else_differs(tmp_path: Path) -> None:
    feeds = random(load_model(*files("resnet20")))
    policy = Policy.from_text(SourceFile("policy.cfg", "batch_num: 1"))
    amctc.compile(*files("resnet20"), policy=policy, data=feeds, target="ge,caffe", output=tmp_path / "q")
    ours = read_again(tmp_path / "q_deploy_model.air")
    caffe = load_model(tmp_path / "q_deploy_model.prototxt", tmp_path / "q_deploy_weights.caffemodel")
    assert round_as_roots(caffe)
    names = [node.name for node in caffe.nodes if node.output.dtype.startswith("int")]
    assert_equal(run_all(ours, names, feeds), run_all(caffe, names, feeds))


def run_all(graph: Graph, names: list[str], feeds: Feeds) -> Arrays:
    """The outputs, and what the nodes of these names give."""
    return run(graph, feeds, [*graph.outputs, *(graph.node(name).output for name in names)])


def round_as_roots(graph: Graph) -> int:
    """Round factors that are written as their roots, as float16 does not hold them; how many layers have some."""
    count = 0
    for node in graph.nodes:
        if node.op == "quant.Dequantize" and leaves_half(factors := node.weights["deq_scale"].astype(np.float32)):
            node.weights["deq_scale"] = np.square(np.sqrt(factors))
            count += 1
    return count
