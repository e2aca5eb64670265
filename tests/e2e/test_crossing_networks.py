"""Real networks there and back: Caffe as ONNX, ONNX as Caffe, float and quantized."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.dialects.shapes import annotate_shapes
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.runtime.executor import read_inputs
from amctc.source import SourceFile
from amctc.targets.onnx.model import float_model
from tests.e2e.real_data import CAFFE
from tests.onnx_nets import run_model
from tests.quantized import outputs
from tests.shared_files import ASSETS, needs_assets

Feeds = Mapping[str, NDArray[np.float32]]

NETS = {
    "squeezenet": ("squeezenet_v1.0_dc/deploy", "squeezenet_v1.0_dc/squeezenet_v1.0_dc"),
    "resnet20": ("cifar10_resnet20/deploy", "cifar10_resnet20/resnet20"),
    "cifar10_full": ("cifar10_full_v1/deploy", "cifar10_full_v1/cifar10_full_iter_70000"),
    "lenet": ("mnist_lenet/deploy", "mnist_lenet/lenet_iter_10000"),
    "det1": ("mtcnn/det1", "mtcnn/det1"),
    "det2": ("mtcnn/det2", "mtcnn/det2"),
    "det3": ("mtcnn/det3", "mtcnn/det3"),
    "waifu2x": ("waifu2x_upconv7/deploy", "waifu2x_upconv7/scale2.0x"),
    "hyperlpr": ("hyperlpr_mininet_ssd/mininet_ssd_v1", "hyperlpr_mininet_ssd/mininet_ssd_v1"),
    "ultraface": ("ultraface_slim_320/slim-320", "ultraface_slim_320/slim-320"),
    "silero": ("silero_lstm/silero_lstm", "silero_lstm/silero_lstm"),
}
NO_WAY_BACK = {"hyperlpr": "NonMaxSuppression", "silero": "Scan"}
"""Of these only the way to ONNX exists, and which op stands in the way back."""

OPEN_SIZES = {"ch_ppocr_mobile_v2.0_cls_infer": {"x": (1, 3, 48, 192)}}
MODELS = ("ch_ppocr_mobile_v2.0_cls_infer", "efficientnet_lite0", "lprnet", "ultraface_slim_320_bn")
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
LIGHT_MODELS = ("squeezenet", "resnet50", "shufflenet", "inception_v1", "inception_v2", "densenet121", "zfnet512")


def files(name: str) -> tuple[Path, Path]:
    prototxt, weights = NETS[name]
    return CAFFE / f"{prototxt}.prototxt", CAFFE / f"{weights}.caffemodel"


def random(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    feeds = {n: rng.uniform(-1, 1, v.shape or ()).astype(np.float32) for n, v in read_inputs(graph).items()}
    if "cont" in feeds:
        feeds["cont"] = (rng.uniform(size=feeds["cont"].shape) > 0.1).astype(np.float32)
    return feeds


def assert_close(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * float(np.abs(array).max()))


def in_caffe(path: Path, folder: Path, **shapes: tuple[int, ...]) -> Graph:
    amctc.export(path, target="caffe", output=folder / "back", shapes=shapes)
    return load_model(folder / "back_model.prototxt", folder / "back_model.caffemodel")


@needs_assets
@pytest.mark.parametrize("name", NETS)
def test_a_caffe_network_computes_the_same_in_onnx_runtime_and_back_in_caffe(name: str, tmp_path: Path) -> None:
    graph = load_model(*files(name))
    feeds = random(graph)
    wanted = outputs(graph, feeds)
    amctc.export(*files(name), target="onnx", output=tmp_path / "there")
    there = tmp_path / "there_model.onnx"
    assert_close(run_model(there, feeds), wanted, 1e-5)
    assert_close(outputs(load_model(there), feeds), wanted, 1e-5)
    if name not in NO_WAY_BACK:
        assert_close(outputs(in_caffe(there, tmp_path), feeds), wanted, 1e-5)
        return
    with pytest.raises(DiagnosticError) as caught:
        in_caffe(there, tmp_path)
    assert any(f"({NO_WAY_BACK[name]})" in found.message for found in caught.value.diagnostics)


@needs_assets
@pytest.mark.parametrize("name", MODELS)
def test_an_onnx_network_computes_the_same_in_caffe(name: str, tmp_path: Path) -> None:
    path = ASSETS / f"onnx/{name}.onnx"
    graph = load_model(path)
    shapes = OPEN_SIZES.get(name, {})
    annotate_shapes(graph, shapes)
    feeds = random(graph)
    assert_close(outputs(in_caffe(path, tmp_path, **shapes), feeds), outputs(graph, feeds), 1e-5)


@pytest.mark.parametrize("name", LIGHT_MODELS)
def test_a_light_model_of_onnx_computes_the_same_in_caffe(name: str, tmp_path: Path) -> None:
    # Their weights are all one number: random ones show where a layer reads another one's.
    random_weights = load_model(LIGHT / f"light_{name}.onnx")
    rng = np.random.default_rng(0)
    for node in random_weights.nodes:
        weight = node.weights.get("weight")
        if weight is not None:
            scale = np.float32(np.sqrt(2 / weight[0].size))
            node.weights["weight"] = rng.standard_normal(weight.shape, np.float32) * scale
    path = tmp_path / "light.onnx"
    path.write_bytes(float_model(random_weights).SerializeToString())
    graph = load_model(path)
    feeds = random(graph)
    wanted = outputs(graph, feeds)
    assert all(np.ptp(array) > 0 for array in wanted.values())
    assert_close(outputs(in_caffe(path, tmp_path), feeds), wanted, 1e-5)


def quantized(model: Path, weights: Path | None, feeds: Feeds, target: str, folder: Path, more: str = "") -> Graph:
    policy = Policy.from_text(SourceFile("policy.cfg", f"batch_num: 1 {more}"))
    compiled = amctc.compile(model, weights, policy=policy, data=feeds, target=target, output=folder / "q")
    return compiled.graph


@needs_assets
@pytest.mark.parametrize("name", NETS)
def test_a_quantized_caffe_network_has_the_same_integers_in_onnx(name: str, tmp_path: Path) -> None:
    graph = load_model(*files(name))
    feeds = random(graph)
    more = 'skip_layers: "lstm"' if name == "silero" else ""
    simulated = outputs(quantized(*files(name), feeds, "onnx", tmp_path, more), feeds)
    deploy = load_model(tmp_path / "q_deploy_model.onnx")
    assert_close(outputs(deploy, feeds), simulated, 1e-6)
    if name == "hyperlpr":  # a box more or less, where a score is next to the threshold
        return
    for form in ("fake_quant", "qdq"):
        found = run_model(tmp_path / f"q_{form}_model.onnx", feeds)
        assert_close(found, simulated, 0.03)


@needs_assets
def test_a_quantized_lstm_is_refused_with_what_to_do(tmp_path: Path) -> None:
    graph = load_model(*files("silero"))
    with pytest.raises(DiagnosticError) as caught:
        quantized(*files("silero"), random(graph), "onnx", tmp_path)
    (found,) = caught.value.diagnostics
    assert (found.code, "layer `lstm` (LSTM)" in found.message) == ("AM710", True)
    assert 'skip_layers: "lstm"' in str(found.help)
    assert list(tmp_path.iterdir()) == []


@needs_assets
@pytest.mark.parametrize("name", MODELS)
def test_a_quantized_onnx_network_has_the_same_integers_in_caffe(name: str, tmp_path: Path) -> None:
    path = ASSETS / f"onnx/{name}.onnx"
    graph = load_model(path)
    annotate_shapes(graph, OPEN_SIZES.get(name, {}))
    feeds = random(graph)
    simulated = outputs(quantized(path, None, feeds, "caffe", tmp_path), feeds)
    for kind in ("deploy", "fake_quant"):
        again = load_model(tmp_path / f"q_{kind}_model.prototxt", tmp_path / f"q_{kind}_weights.caffemodel")
        assert_close(outputs(again, feeds), simulated, 1e-6)
