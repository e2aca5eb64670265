"""Real networks, end to end: calibrated on 32 samples, scored on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc import driver
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.policy import Policy
from amctc.quant.histogram import TOGETHER
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observer import EXACT_LIMIT, TAIL_CAPACITY, IfmrObserver
from amctc.runtime.calibration import Reader
from amctc.runtime.calibration_engine import observe_values
from amctc.runtime.executor import Executor
from amctc.runtime.labels import Labels
from amctc.runtime.metrics import psnr_db
from amctc.source import SourceFile
from tests.e2e.real_data import (
    BATCH,
    CAFFE,
    CALIBRATION,
    Files,
    Network,
    cifar10_full,
    crops,
    lenet,
    recorded,
    resnet20,
    squeezenet,
    upscaler,
)
from tests.nets import conv, data, layer, make_net
from tests.shared_files import ASSETS, needs_assets, needs_golden


def policy(batches: int) -> Policy:
    return Policy.from_text(SourceFile("policy.cfg", f"batch_num: {batches}\n"))


def compiled(network: Network, folder: Path, samples: int = CALIBRATION) -> driver.CompileResult:
    return driver.compile(
        *network.files,
        policy=policy(samples // BATCH),
        data=network.data,
        preprocess=network.preprocess,
        batch_size=BATCH,
        output=folder / "net",
    )


def written(folder: Path, kind: str) -> Files:
    return folder / f"net_{kind}_model.prototxt", folder / f"net_{kind}_weights.caffemodel"


def top1(network: Network, files: Files) -> float:
    """Top-1 in percent over all samples but those that calibrate."""
    graph = load_model(*files)
    dataset = driver.open_dataset(graph, network.data, network.preprocess)
    labels = network.labels
    known = Labels.open(labels, dataset) if isinstance(labels, str) else Labels(labels)
    rest = dataset.select(CALIBRATION)
    return 100 * driver.evaluate(graph, rest, known.select(CALIBRATION), batch_size=BATCH).top1


def quantized_top1(network: Network, folder: Path, *kinds: str) -> tuple[float, ...]:
    """Top-1 of the float model and of these forms of the quantized one."""
    compiled(network, folder)
    return top1(network, network.files), *(top1(network, written(folder, kind)) for kind in kinds)


@pytest.fixture(scope="module")
def small_squeezenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Path]:
    """SqueezeNet, compiled: its quantized graph, and the folder of its files."""
    folder = tmp_path_factory.mktemp("squeezenet")
    return compiled(squeezenet(), folder).graph, folder


@needs_assets
def test_squeezenet_loses_at_most_a_point_and_a_half(small_squeezenet: tuple[Graph, Path]) -> None:
    network, (_, folder) = squeezenet(), small_squeezenet
    before, after = top1(network, network.files), top1(network, written(folder, "fake_quant"))
    assert before > 60
    assert after >= before - 1.5


@needs_assets
def test_deploy_and_fake_quant_agree_to_one_unit_on_every_quantized_layer(
    small_squeezenet: tuple[Graph, Path],
) -> None:
    network, (graph, folder) = squeezenet(), small_squeezenet
    quantizers = [node for node in graph.nodes if node.op == "quant.Quantize"]
    read = {use.node.name for node in quantizers for use in graph.uses(node.output)}
    assert {node.name for node in graph.nodes if node.quant is not None and node.quant.weight is not None} <= read
    dataset = driver.open_dataset(graph, network.data, network.preprocess).select(CALIBRATION, CALIBRATION + BATCH)
    deploy, fake = (load_model(*written(folder, kind)) for kind in ("deploy", "fake_quant"))
    (batch,) = dataset.batches(BATCH)
    integers, centred = values_of(deploy, quantizers, batch), values_of(fake, quantizers, batch)
    for node in quantizers:
        offset = node.attrs["offset"]
        assert isinstance(offset, int)
        # A fake-quant model computes on the integers less the offset, in float.
        apart = np.abs(integers[node.name].astype(np.int64) - offset - centred[node.name].astype(np.int64))
        assert apart.max() <= 1, node.name


def values_of(
    graph: Graph, nodes: Sequence[Node], batch: Mapping[str, NDArray[np.float32]]
) -> Mapping[str, NDArray[np.generic]]:
    """The outputs of the nodes of these names in one batch."""
    wanted = [graph.node(node.name).output for node in nodes]
    return {value.producer.name: array for value, array in Executor(graph, fetch=wanted).run(batch).items()}


@needs_assets
def test_resnet20_loses_at_most_seven_tenths_of_a_point(tmp_path: Path) -> None:
    before, after = quantized_top1(resnet20(), tmp_path, "fake_quant")
    assert before > 80
    assert after >= before - 0.7


@needs_assets
def test_caffes_own_cifar10_network_scores_what_caffe_gave_it() -> None:
    network = cifar10_full()
    graph = load_model(*network.files)
    dataset = driver.open_dataset(graph, network.data, network.preprocess)
    assert isinstance(network.labels, np.ndarray)
    scored = driver.evaluate(graph, dataset, Labels(network.labels), batch_size=BATCH)
    # 79.50 percent was scored with the same images when the network was recorded.
    assert (scored.count, scored.top1_hits) == (1000, 795)


@needs_assets
def test_caffes_own_cifar10_network_loses_at_most_half_a_point(tmp_path: Path) -> None:
    before, *after = quantized_top1(cifar10_full(), tmp_path, "fake_quant", "deploy")
    assert before > 79
    assert min(after) >= before - 0.5


@needs_assets
def test_lenet_loses_at_most_a_tenth_of_a_point(tmp_path: Path) -> None:
    before, *after = quantized_top1(lenet(2000), tmp_path, "fake_quant", "deploy")
    assert before > 98.5
    assert min(after) >= before - 0.1


@needs_assets
def test_waifu2x_loses_at_most_half_a_decibel(tmp_path: Path) -> None:
    large, small = crops(2 * BATCH + 8)
    network = Network(upscaler(), {"input": small[: 2 * BATCH]}, "", None)
    compiled(network, tmp_path, samples=2 * BATCH)
    before, after = (
        psnr(files, large[2 * BATCH :], small[2 * BATCH :])
        for files in (network.files, written(tmp_path, "fake_quant"))
    )
    assert before > 25
    assert after >= before - 0.5


def psnr(files: Files, large: NDArray[np.float32], small: NDArray[np.float32]) -> float:
    executor = Executor(load_model(*files))
    ratios: list[float] = []
    for wanted, given in zip(large, small, strict=True):
        (made,) = executor.run({"input": given[np.newaxis]}).values()
        ratios.append(psnr_db(wanted, np.clip(made[0, :, 4:-4, 4:-4], 0, 1), peak=1.0))
    return float(np.mean(ratios))


@needs_assets
@pytest.mark.parametrize(("name", "side"), [("det1", 12), ("det2", 24), ("det3", 48)])
def test_the_networks_of_mtcnn_compile_and_give_nearly_the_same_outputs(name: str, side: int, tmp_path: Path) -> None:
    files = CAFFE / f"mtcnn/{name}.prototxt", CAFFE / f"mtcnn/{name}.caffemodel"
    preprocess = f"resize={side},bgr,mean=127.5,scale=0.0078125"
    faces = Network(files, str(ASSETS / "data/faces"), "", preprocess)
    compiled(faces, tmp_path, samples=BATCH)
    reference = outputs(faces, files)
    for kind in ("fake_quant", "deploy"):
        found = outputs(faces, written(tmp_path, kind))
        assert found.keys() == reference.keys()
        for blob, array in found.items():
            assert array.shape == reference[blob].shape
            assert cosine(array, reference[blob]) > 0.99, (kind, blob)


def outputs(network: Network, files: Files) -> Mapping[str, NDArray[np.float32]]:
    graph = load_model(*files)
    return driver.run_blobs(graph, driver.open_dataset(graph, network.data, network.preprocess), batch_size=BATCH)


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


@needs_golden
@pytest.mark.parametrize("name", ["lenet", "mnist_bn"])
def test_networks_that_the_real_caffe_trained_compile_and_keep_their_accuracy(name: str, tmp_path: Path) -> None:
    network = recorded(name)
    before, *after = quantized_top1(network, tmp_path, "fake_quant", "deploy")
    assert before > 95
    assert min(after) >= before - 1


def test_what_calibration_keeps_does_not_grow_with_the_number_of_batches(tmp_path: Path) -> None:
    text = data("2 3 64 64") + conv("a", "data", 8) + layer("relu", "ReLU", "a", "a") + conv("b", "a", 4)
    graph = make_net(tmp_path, text)
    few, many = (observed_bytes(graph, count) for count in (4, 40))
    # The values at either end wait to be sorted: at most as many again as are kept. So do bins, to be counted.
    ends, bins = 2 * TAIL_CAPACITY * np.dtype(np.float32).itemsize, TOGETHER * np.dtype(np.int16).itemsize
    assert abs(many - few) <= len(graph.nodes) * (ends + bins)
    assert len(graph.nodes) * (ends + bins) < few


def observed_bytes(graph: Graph, count: int) -> int:
    rng = np.random.default_rng(0)
    batches = ({"data": rng.normal(size=(2, 3, 64, 64)).astype(np.float32)} for _ in range(count))
    readers = [Reader(node.output, IfmrSettings(), node.name) for node in graph.nodes]
    observers = observe_values(graph, readers, batches, count)
    ours = [observer for observer in observers if isinstance(observer, IfmrObserver)]
    assert len(ours) == len(readers) and all(observer.count > EXACT_LIMIT for observer in ours)
    return sum(observer.nbytes for observer in ours)
