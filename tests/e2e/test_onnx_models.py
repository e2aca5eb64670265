"""Real ONNX networks, end to end: what the quantized files compute, in ONNX Runtime and here."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc import driver
from amctc.frontends import load_model
from amctc.ir import Graph, Node, Value
from amctc.policy import Policy
from amctc.runtime.executor import Executor
from amctc.runtime.lowering.quantization import grid_of
from amctc.runtime.metrics import sqnr_db
from amctc.source import SourceFile
from tests.e2e.real_data import BATCH, CALIBRATION
from tests.e2e.test_detection_networks import FACES, faces, found_faces
from tests.shared_files import ASSETS, needs_assets

ONNX = ASSETS / "onnx"
Floats: TypeAlias = NDArray[np.float32]

CORRECTED = f"""batch_num: {CALIBRATION // BATCH}
override_layer_types {{ layer_type: "Add" calibration_config {{ ifmr_quantize {{ }} }} }}
override_layer_types {{ layer_type: "GlobalAveragePool" calibration_config {{ ifmr_quantize {{ }} }} }}
override_layer_types {{ layer_type: "Linear" calibration_config {{ arq_quantize {{ channel_wise: true }} }} }}
pass {{ name: "observe-means" }}
pass {{ name: "correct-bias" }}
"""
"""Everything in integers, and corrected biases: that of `benchmarks/bench_onnx.py`."""
STRIDE = 6
FORMS = ("deploy", "fake_quant", "qdq")


@dataclass(frozen=True)
class Compiled:
    """A float model, its files of each form, and the quantized graph, which simulates them in integers."""

    model: Path
    written: Mapping[str, Path]
    result: driver.CompileResult


def compiled(model: Path, data: Mapping[str, Floats], folder: Path, policy: str, batch: int) -> Compiled:
    rules = Policy.from_text(SourceFile("policy.cfg", policy))
    result = driver.compile(model, policy=rules, data=data, batch_size=batch, output=folder / "net")
    written = {form: folder / f"net_{form}_model.onnx" for form in FORMS}
    assert set(written.values()) <= set(result.files)
    return Compiled(model, written, result)


def session(model: Path, outputs: Sequence[str] = (), level: str = "ORT_ENABLE_ALL") -> ort.InferenceSession:
    """A session of ONNX Runtime; `outputs` are values to give beside the model's own outputs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    proto = onnx.load(model)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def first_outputs(model: Path, images: Floats, batch: int = BATCH) -> Floats:
    """The first output of each sample, in ONNX Runtime."""
    runner = session(model)
    name = runner.get_inputs()[0].name
    made = [runner.run(None, {name: images[at : at + batch]})[0] for at in range(0, len(images), batch)]
    return np.concatenate([np.asarray(part, np.float32) for part in made])


def simulated(graph: Graph, images: Floats, batch: int = BATCH) -> Floats:
    """The same of a graph, here."""
    executor = Executor(graph)
    (name,) = (node.output.blob for node in graph.nodes if node.type == "Input")
    made = [executor.run({name: images[at : at + batch]})[graph.outputs[0]] for at in range(0, len(images), batch)]
    return np.concatenate(made)


def differing(a: Floats, b: Floats) -> int:
    """Samples of different classes."""
    return int(np.count_nonzero(a.argmax(axis=1) != b.argmax(axis=1)))


# -- efficientnet_lite0 ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photographs:
    calibration: Floats
    scored: Floats
    labels: NDArray[np.int64]


@cache
def photographs() -> Photographs:
    """200 images of ImageNet: every sixth calibrates until there are 32, the others are scored."""
    from amctc.runtime.labels import Labels

    data = ASSETS / "data/imagenet"
    graph = load_model(ONNX / "efficientnet_lite0.onnx")
    dataset = driver.open_dataset(graph, str(data), "resize-short=256,center-crop=224,mean=127,std=128")
    labels = Labels.open(str(ASSETS / "data/imagenet_labels.csv"), dataset).values
    images = np.concatenate([batch["input"] for batch in dataset.batches(BATCH)])
    chosen = np.arange(0, len(images), STRIDE)[:CALIBRATION]
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    return Photographs(images[chosen], images[rest], labels[rest])


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    data = {"input": photographs().calibration}
    return compiled(ONNX / "efficientnet_lite0.onnx", data, tmp_path_factory.mktemp("net"), CORRECTED, BATCH)


@needs_assets
def test_efficientnet_keeps_its_outputs_and_its_classes(efficientnet: Compiled) -> None:
    images = photographs()
    reference, found = (
        first_outputs(model, images.scored) for model in (efficientnet.model, efficientnet.written["qdq"])
    )
    # Measured: 21.6 dB.
    assert sqnr_db(reference, found) >= 21
    right, quantized = (np.count_nonzero(made.argmax(axis=1) == images.labels) for made in (reference, found))
    assert right == 151
    assert quantized >= right - 2
    # The simulation in integers takes longer: every eighth image.
    exact = simulated(efficientnet.result.graph, images.scored[::8])
    assert differing(exact, found[::8]) <= 1
    assert sqnr_db(reference[::8], exact) >= 21


@needs_assets
def test_the_files_of_efficientnet_are_read_back_and_agree(efficientnet: Compiled) -> None:
    images = photographs().scored[::21]
    exact = simulated(efficientnet.result.graph, images)
    assert np.array_equal(simulated(load_model(efficientnet.written["deploy"]), images), exact)
    for form in ("fake_quant", "qdq"):
        path = efficientnet.written[form]
        for found in (simulated(load_model(path), images), first_outputs(path, images)):
            assert differing(exact, found) <= 1, form
            # Measured: 29.9 dB and more.
            assert sqnr_db(exact, found) >= 25, form


@needs_assets
def test_each_layer_of_efficientnet_agrees_to_one_unit_of_its_grid(efficientnet: Compiled) -> None:
    images = photographs().scored[:2]
    for form in ("fake_quant", "qdq"):
        assert worst_units(efficientnet, form, {"input": images}) <= 1, form


@needs_assets
def test_the_runtime_computes_efficientnet_in_integers(efficientnet: Compiled, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(efficientnet.written["qdq"]), options, providers=["CPUExecutionProvider"])
    types = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert types.count("QLinearConv") == 49
    assert types.count("QLinearAdd") == 9
    assert not {"Conv", "FusedConv"} & set(types)


@needs_assets
def test_the_weights_of_efficientnet_take_a_quarter(efficientnet: Compiled) -> None:
    assert bytes_of_weights(efficientnet.written["qdq"]) <= 0.27 * efficientnet.model.stat().st_size


def bytes_of_weights(model: Path) -> int:
    return sum(len(tensor.raw_data) for tensor in onnx.load(model).graph.initializer)


def worst_units(net: Compiled, form: str, feeds: Mapping[str, Floats]) -> float:
    """How far a form's layers are from the simulation's, in units of the grids that their outputs are rounded to.

    In the simulation each layer reads the integers of the form, not its own: so a layer answers for itself alone. The
    form is run by ONNX Runtime as it would be without a look inside.
    """
    graph = net.result.graph
    quantizes = {node.output: node for node in graph.nodes if node.op == "quant.Quantize"}
    made = integers_of(net.written[form], form, list(quantizes.values()), feeds)
    found: list[float] = []

    def look(computed: tuple[Value, ...], batches: Sequence[dict[Value, NDArray[Any]]]) -> None:
        for value in computed:
            other = made[quantizes[value]]
            found.append(float(np.abs(batches[0][value].astype(np.float32) - other).max()))
            batches[0][value] = other.astype(batches[0][value].dtype)

    Executor(graph, fetch=list(quantizes), apart=set(quantizes.values())).run_together([feeds], look)
    assert len(found) == len(quantizes)
    return max(found)


def integers_of(model: Path, form: str, quantizes: Sequence[Node], feeds: Mapping[str, Floats]) -> dict[Node, Floats]:
    """What each Quantize gives in a form, as integers of the signed grid."""
    known = {name for node in onnx.load(model).graph.node for name in node.output}
    names = {node: quantized_name(node, form, known) for node in quantizes}
    wanted = sorted(set(names.values()))
    made = dict(zip(wanted, session(model, wanted).run(wanted, dict(feeds)), strict=True))
    # The fake-quant model holds them without their offset, the other with 128 more.
    moved = {node: grid_of(node)[1] if form == "fake_quant" else -128 for node in quantizes}
    return {node: np.asarray(made[names[node]], np.float32) + moved[node] for node in quantizes}


def quantized_name(node: Node, form: str, known: Container[str]) -> str:
    if form == "fake_quant":
        return node.output.blob
    value = node.inputs[0]
    # An activation that the grid's own ends replace is not in the file.
    while f"{value.blob}_QuantizeLinear" not in known:
        value = value.producer.inputs[0]
    return f"{value.blob}_QuantizeLinear"


# -- the others --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Other:
    """A network, samples for its input, and the least SQNR of each output of the Q/DQ model in dB.

    Measured: lprnet 31.1, ch_ppocr 24.6, ultraface 19.1 (boxes) and 44.4 (scores).
    """

    name: str
    input: str
    samples: Callable[[], Floats]
    sqnr: tuple[float, ...]


def signs() -> Floats:
    """Centres of photographs as the classifier of text lines takes them, [12, 3, 48, 192]."""
    return shrunk(48, 192)


def plates() -> Floats:
    """The same as the reader of licence plates takes them, [12, 3, 24, 94]."""
    return shrunk(24, 94)


def shrunk(height: int, width: int) -> Floats:
    pictures: list[NDArray[np.float64]] = []
    for path in sorted((ASSETS / "data/imagenet").glob("*.JPEG"))[:12]:
        with Image.open(path) as image:
            pictures.append(np.asarray(image.convert("RGB").resize((width, height)), np.float64) / 127.5 - 1)
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)


OTHERS = (
    Other("lprnet", "input.1", plates, (29.0,)),
    Other("ch_ppocr_mobile_v2.0_cls_infer", "x", signs, (22.0,)),
    Other("ultraface_slim_320_bn", "input", faces, (18.0, 42.0)),
)


@needs_assets
@pytest.mark.parametrize("net", OTHERS, ids=lambda net: net.name)
def test_other_networks_are_compiled_and_their_forms_agree(net: Other, tmp_path: Path) -> None:
    samples = net.samples()
    count = len(samples) // 2
    model = ONNX / f"{net.name}.onnx"
    made = compiled(model, {net.input: samples[:count]}, tmp_path, f"batch_num: {count}\n", 1)
    rest = {net.input: samples[count:]}
    for form in ("fake_quant", "qdq"):
        assert worst_units(made, form, {net.input: samples[count : count + 1]}) <= 1, form
    told = driver.compare_models(model, made.written["qdq"], data=rest, batch_size=1)
    measured = [value.difference.sqnr for value in told.values if value.output]
    assert len(measured) == len(net.sqnr)
    for found, least in zip(measured, net.sqnr, strict=True):
        assert found >= least
    graph = made.result.graph
    deploy = load_model(made.written["deploy"])
    feeds = {net.input: samples[count : count + 1]}
    for exact, again in zip(run_outputs(graph, feeds), run_outputs(deploy, feeds), strict=True):
        assert np.array_equal(exact, again)


def run_outputs(graph: Graph, feeds: Mapping[str, Floats]) -> list[NDArray[Any]]:
    found = Executor(graph).run(feeds)
    return [found[value] for value in graph.outputs]


# -- one network, through Caffe and through ONNX -----------------------------------------------------------------------

TWIN = ONNX / "ultraface_slim_320_bn.onnx"
STEP = 0.01
"""Of the search for a scale, in parts of the range that the data have."""


@needs_assets
def test_faces_are_the_same_through_caffe_and_through_onnx() -> None:
    caffe, twin = (Executor(graph) for graph in (load_model(*FACES), load_model(TWIN)))
    total = 0
    for image in faces():
        feeds = {"input": image[np.newaxis]}
        (own, sure), (other, as_sure) = (
            found_faces({value.blob: array for value, array in executor.run(feeds).items()})
            for executor in (caffe, twin)
        )
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, atol=2e-5)
        np.testing.assert_allclose(sure, as_sure, atol=2e-5)
        total += len(own)
    assert total == 185


@needs_assets
def test_records_of_caffe_and_of_onnx_agree_within_one_step_of_the_search(tmp_path: Path) -> None:
    images = {"input": faces()[:5]}
    policy = Policy.from_text(SourceFile("policy.cfg", "batch_num: 5\n"))
    graphs: list[Graph] = []
    for files, target in ((FACES, "caffe"), ((TWIN, None), "onnx")):
        made = driver.compile(*files, policy=policy, data=images, batch_size=1, target=target, output=tmp_path / target)
        graphs.append(made.graph)
    caffe, twin = ([node for node in graph.nodes if weight_scales(node) is not None] for graph in graphs)
    assert len(caffe) == len(twin) == 42
    # The Caffe net calls its layers as the other calls their outputs before BatchNorm is folded.
    names = {node.output.blob: node.name for node in load_model(TWIN).nodes}
    worst_data = worst_weight = 0.0
    for node in caffe:
        other = graphs[1].node(names[node.name])
        assert node.quant is not None and other.quant is not None
        own, found = node.quant.inputs[0], other.quant.inputs[0]
        assert own.scale is not None and found.scale is not None
        worst_data = max(worst_data, abs(found.scale / own.scale - 1))
        left, right = weight_scales(node), weight_scales(other)
        assert left is not None and right is not None
        assert left.shape == right.shape
        worst_weight = max(worst_weight, float(np.abs(right / left - 1).max()))
    # Measured: 5e-7 of the scales of data, 2e-7 of those of weights.
    assert worst_data <= STEP / 0.7
    assert worst_weight <= 1e-4


def weight_scales(node: Node) -> NDArray[np.float32] | None:
    return None if node.quant is None or node.quant.weight is None else node.quant.weight.scales.get("weight")
