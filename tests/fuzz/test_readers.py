"""Whatever a file holds, every reader gives a result or a diagnostic; it never fails in another way."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_table
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.passes import PASSES, PIPELINES
from amctc.pipeline.order import check_complete
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, explain, resolve, to_json
from amctc.registry import builtin_registry
from amctc.runtime.datasets import Dataset
from amctc.runtime.preprocess import Preprocess
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.fuzz.mutations import damaged_bytes, damaged_texts
from tests.nets import conv, data, layer, write_net
from tests.shared_files import ROOT

MOST_BYTES = 1 << 20
"""No sample comes near it after all its edits."""

NET = (
    data("2 3 8 8")
    + conv("c", "data", 4, more='pad: 1 bias_filler { type: "constant" value: 0.1 }')
    + layer("bn", "BatchNorm", "c", "c", "batch_norm_param { use_global_stats: true eps: 1e-4 }")
    + layer("scale", "Scale", "c", "c", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "c", "c", "relu_param { negative_slope: 0.1 }")
    + conv("d", "c", 4, more="pad: 1 group: 2 dilation: 1")
    + layer("sum", "Eltwise", "c d", "sum", "eltwise_param { operation: SUM coeff: 1 coeff: -1 }")
    + layer("pool", "Pooling", "sum", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + layer("cat", "Concat", "pool pool", "cat", "concat_param { axis: 1 }")
    + conv("up", "cat", 2, kernel=4, type="Deconvolution", more="stride: 2")
    + layer("flat", "Flatten", "up", "flat", "flatten_param { axis: 1 end_axis: -1 }")
    + layer("fc", "InnerProduct", "flat", "fc", "inner_product_param { num_output: 5 bias_term: false }")
    + layer("prob", "Softmax", "fc", "prob")
)
LEGACY = 'name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n' + conv("c", "data", 2)
PHASES = (
    'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
    + layer("train", "ReLU", "data", "x", "include { phase: TRAIN }")
    + layer("test", "Reshape", "data", "x", "include { phase: TEST } reshape_param { shape { dim: 0 dim: -1 } }")
    + layer("loss", "SoftmaxWithLoss", "x data", "loss")
)
DIGITS = (ROOT / "examples/digits/digits.prototxt").read_text(encoding="utf-8")

CFG = (ROOT / "examples/digits/policy.cfg").read_text(encoding="utf-8")
OTHER_CFG = """\
batch_num: 1 joint_quant: false do_fusion: false
skip_layers: ["c", "pool"] skip_layer_types: "Softmax" skip_fusion_layers: 'd'
override_layer_configs < layer_name: "d" calibration_config < arq_quantize < channel_wise: false > > >
"""
PREPROCESS = (
    "resize-short=256,center-crop=227,bgr,mean=104:117:123",
    "resize=12x24@bicubic,gray,std=0.5,layout=hwc",
    "resize=8@nearest,rgb,mean=1e-3,scale=0.00390625,transpose-hw",
)
PREPROCESS_WORDS = (
    *("resize", "resize-short", "center-crop", "bgr", "rgb", "gray", "mean", "std", "scale", "layout", "transpose-hw"),
    *("chw", "hwc", "bilinear", "bicubic", "nearest", "x", "@"),
)


def field_words(schema: str, message: str) -> tuple[str, ...]:
    """The names of all fields and enum values that can stand in a message."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting: list[Any] = [load_schema(schema).descriptor(message)]
    while waiting:
        descriptor = waiting.pop()
        if descriptor is None or descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            found.add(field.name)
            waiting.append(field.message_type)
            if field.enum_type is not None:
                found.update(field.enum_type.values_by_name)
    return tuple(sorted(found))


NET_WORDS = (
    *field_words("caffe.proto", "caffe.NetParameter"),
    *(f'"{row.type}"' for row in op_table().values()),
    *('"data"', '"c"', '"sum"', '"fc"', '""'),
)
JSON_WORDS = (
    *("version", "batch_num", "activation_offset", "do_fusion", "skip_fusion_layers", "quant_enable", "num_bits"),
    *("activation_quant_params", "weight_quant_params", "search_range", "max_percentile", "wts_algo", "channel_wise"),
)
CFG_WORDS = (
    *JSON_WORDS,
    *("skip_layers", "skip_layer_types", "common_config", "override_layer_types", "override_layer_configs"),
    *("layer_name", "layer_type", "calibration_config", "ifmr_quantize", "arq_quantize", "snq_quantize", "update_bn"),
    *('"c"', '"fc"', '"Convolution"'),
)
GRAPH_WORDS = (
    *("graph", "node", "attrs", "weight", "out", "from", "inserted", "absorbed", "change", "rule", "quant", "output"),
    *("base64", "elided", "float32", "int8", "object", "U9999999", "caffe.ReLU", "quant.Quantize", "?", '"c"', 'b"00"'),
)


def npz_samples() -> tuple[bytes, ...]:
    """A plain and a compressed file with two float arrays and labels."""
    rng = np.random.default_rng(0)
    arrays = {"data": rng.normal(size=(4, 2, 3)).astype(np.float32), "label": np.arange(4), "other": np.zeros(3)}
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **arrays)  # type: ignore[arg-type]  # its stub takes allow_pickle for an array name
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]  # as above
    return plain.getvalue(), packed.getvalue()


@contextlib.contextmanager
def read_or_refused() -> Generator[None, None, None]:
    """Only a `DiagnosticError` that can be shown may come out of the body."""
    try:
        yield
    except DiagnosticError as refusal:
        assert refusal.diagnostics
        assert str(refusal)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def net(folder: Path) -> tuple[Path, Path]:
    """A prototxt and its caffemodel."""
    (folder / "net").mkdir()
    return write_net(folder / "net", NET)


@pytest.fixture(scope="module")
def graph(net: tuple[Path, Path]) -> Graph:
    return load_model(*net)


@given(text=damaged_texts((NET, LEGACY, PHASES, DIGITS), NET_WORDS))
def test_any_prototxt_is_read_or_refused(text: str, folder: Path) -> None:
    assert len(text) < MOST_BYTES
    path = folder / "damaged.prototxt"
    path.write_bytes(text.encode("utf-8"))
    with read_or_refused():
        found = load_model(path)
        assert print_graph(parse_graph(SourceFile("printed", print_graph(found)))) == print_graph(found)
        resolve(Policy(), found)


@given(cut=st.data())
def test_any_caffemodel_is_read_or_refused(cut: st.DataObject, net: tuple[Path, Path], folder: Path) -> None:
    model, weights = net
    path = folder / "damaged.caffemodel"
    path.write_bytes(cut.draw(damaged_bytes((weights.read_bytes(),))))
    with read_or_refused():
        found = load_model(model, path)
        assert all(array.nbytes < MOST_BYTES for node in found.nodes for array in node.weights.values())


@given(data=damaged_bytes(((ROOT / "examples/digits/digits.caffemodel").read_bytes()[-600:], b"\x0a\x04name")))
def test_any_bytes_as_a_caffemodel_are_read_or_refused(data: bytes, net: tuple[Path, Path], folder: Path) -> None:
    path = folder / "bytes.caffemodel"
    path.write_bytes(data)
    with read_or_refused():
        load_model(net[0], path)


@given(text=damaged_texts((CFG, OTHER_CFG), CFG_WORDS))
def test_any_policy_is_read_or_refused(text: str, graph: Graph) -> None:
    with read_or_refused():
        resolved = resolve(Policy.from_text(SourceFile("policy.cfg", text)), graph)
        assert explain(resolved)
        assert to_json(resolved)


@given(cut=st.data())
def test_any_layer_config_is_read_or_refused(cut: st.DataObject, graph: Graph) -> None:
    sample = to_json(resolve(Policy(), graph))
    text = cut.draw(damaged_texts((sample, sample[: len(sample) // 4] + "}"), JSON_WORDS))
    with read_or_refused():
        resolved = resolve(Policy.from_text(SourceFile("config.json", text)), graph)
        assert explain(resolved)
        assert to_json(resolved)


@given(cut=st.data())
def test_any_text_of_a_graph_is_read_or_refused(cut: st.DataObject, graph: Graph) -> None:
    samples = (print_graph(graph), print_graph(graph, elide_weights=False))
    text = cut.draw(damaged_texts(samples, GRAPH_WORDS))
    with read_or_refused():
        found = parse_graph(SourceFile("graph", text))
        assert print_graph(parse_graph(SourceFile("printed", print_graph(found)))) == print_graph(found)


@given(text=damaged_texts((*PIPELINES.values(), "fuse-batchnorm,observe{bits=8}"), (*PASSES, *PIPELINES)))
def test_any_pipeline_is_read_or_refused(text: str) -> None:
    with read_or_refused():
        found = parse_pipeline(SourceFile("--pipeline", text), builtin_registry())
        check_complete(found)
        assert str(parse_pipeline(SourceFile("printed", str(found)), builtin_registry())) == str(found)


@given(text=damaged_texts(PREPROCESS, PREPROCESS_WORDS))
def test_any_preprocessing_is_read_or_refused(text: str) -> None:
    with read_or_refused():
        found = Preprocess.parse(text)
        assert str(Preprocess.parse(str(found))) == str(found)


@given(content=damaged_bytes(npz_samples()))
def test_any_npz_file_is_read_or_refused(content: bytes, folder: Path) -> None:
    path = folder / "damaged.npz"
    path.write_bytes(content)
    with read_or_refused():
        dataset = Dataset.open(str(path), inputs={"data": (1, 2, 3)})
        for batch in dataset.batches(3):
            assert batch["data"].dtype == np.float32
            assert batch["data"].shape[1:] == (2, 3)
            assert np.isfinite(batch["data"]).all()
