"""Non-uniform weights in a caffemodel: written and read back, half a byte a weight; bad blobs are told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.dialects.caffe.blob_proto import read_blob
from amctc.dialects.caffe.schema import caffe_schema
from amctc.dialects.traits import linear_trait, weight_from_rows, weight_rows
from amctc.frontends import load_model
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph, Node
from amctc.output import output_paths, write_files
from amctc.runtime.executor import Executor
from amctc.targets.caffe.files import caffemodel, prototxt, write_blob
from amctc.targets.caffe.lookup_tables import LookupBlob, lookup_blobs
from amctc.text.proto_schema import load_schema
from tests.nets import conv, data, layer, make_net
from tests.quantized import outputs, quantize, random_feeds, write_and_read

INNER = "inner_product_param {{ num_output: {} {} }}"

LAYERS = {
    "convolution": conv("it", "data", 6, more="bias_term: false"),
    "odd convolution": conv("it", "data", 5, kernel=1, more="group: 1"),
    "as many outputs as inputs": conv("it", "data", 4),
    "groups": conv("it", "data", 6, more="group: 2"),
    "depthwise": conv("it", "data", 4, type="DepthwiseConv"),
    "deconvolution": conv("it", "data", 3, type="Deconvolution"),
    "deconvolution with as many outputs as inputs": conv("it", "data", 4, type="Deconvolution"),
    "deconvolution in groups": conv("it", "data", 6, type="Deconvolution", more="group: 2"),
    "deconvolution in as many groups as channels": conv("it", "data", 4, type="Deconvolution", more="group: 4"),
    "InnerProduct": layer("it", "InnerProduct", "data", "it", INNER.format(7, "")),
    "InnerProduct, transposed": layer("it", "InnerProduct", "data", "it", INNER.format(7, "transpose: true")),
}
ONE_SCALE = "common_config { arq_quantize { channel_wise: false } }"


def clustered(node: Node, seed: int = 0) -> None:
    """Replace the weights of a quantized layer by some that have 16 values with each scale, and say so."""
    rng = np.random.default_rng(seed)
    dequantize = node.graph.node(f"{node.name}.dequant")
    dequantize.attrs["bits"] = 4
    rows = weight_rows(node, node.weights["weight"])
    scales = dequantize.weights["deq_scale"].size
    tables = np.array([rng.choice(np.arange(-128, 128), 16, replace=False) for _ in range(scales)], np.int8)
    codes = rng.integers(0, 16, (scales, rows.size // scales))
    values = np.take_along_axis(tables, codes, axis=1).reshape(rows.shape)
    node.weights["weight"] = weight_from_rows(node, values)


def net(folder: Path, text: str, policy: str = "") -> Graph:
    """A quantized net whose layer `it` has clustered weights."""
    graph = make_net(folder, data("2 4 5 5") + text)
    quantize(graph, random_feeds(graph, 1), f"batch_num: 1 {policy}")
    clustered(graph.node("it"))
    return graph


def message(content: bytes) -> dict[str, Any]:
    """The blobs of a caffemodel by layer, as protobuf reads them."""
    found: Any = caffe_schema().message("caffe.NetParameter")()
    found.ParseFromString(content)
    return {entry.name: entry.blobs for entry in found.layer}


def as_the_page_says(blob: Any) -> NDArray[np.int8]:
    """An independent reader of a packed blob, element by element, written from docs/files.md."""
    dims = list(blob.shape.dim)
    levels = np.frombuffer(blob.lookup_table.levels, np.int8)
    axis, groups = blob.lookup_table.axis, blob.lookup_table.groups
    found = np.empty(dims, np.int8)
    for number, index in enumerate(np.ndindex(*dims)):
        byte = blob.int4_data[number // 2]
        code = byte >> 4 if number % 2 else byte & 15
        table = 0
        if len(levels) > 16:
            table = index[0] if axis == 0 else index[0] // (dims[0] // groups) * dims[1] + index[1]
        found[index] = levels[16 * table + code]
    return found


# -- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["", ONE_SCALE], ids=["each channel", "one scale"])
@pytest.mark.parametrize("name", list(LAYERS))
def test_clustered_weights_are_packed_and_read_back(name: str, policy: str, tmp_path: Path) -> None:
    graph = net(tmp_path, LAYERS[name], policy)
    weight = graph.node("it").weights["weight"]
    content = caffemodel(graph, fake=False)
    (blob, *_) = message(content)["it"]
    scales = graph.node("it.dequant").weights["deq_scale"].size
    assert not blob.int8_data and not blob.data
    assert len(blob.int4_data) == math.ceil(weight.size / 2)
    assert len(blob.lookup_table.levels) == 16 * scales
    assert (as_the_page_says(blob) == weight).all()
    path = tmp_path / "deploy.caffemodel"
    path.write_bytes(content)
    read = read_weights(path)["it"][0]
    assert read.dtype == np.int8 and read.flags.aligned and read.flags.writeable
    assert (read == weight).all()


@pytest.mark.parametrize("policy", ["", ONE_SCALE], ids=["each channel", "one scale"])
@pytest.mark.parametrize("name", list(LAYERS))
def test_a_deploy_model_of_4_bits_computes_as_the_graph_and_is_written_again_byte_by_byte(
    name: str, policy: str, tmp_path: Path
) -> None:
    graph = net(tmp_path, LAYERS[name], policy)
    deploy, fake = write_and_read(graph, tmp_path)
    assert deploy.node("it.dequant").attrs["bits"] == fake.node("it.dequant").attrs["bits"] == 4
    assert fake.node("it").weights["weight"].dtype == np.float32
    assert (fake.node("it").weights["weight"] == deploy.node("it").weights["weight"]).all()
    for feeds in random_feeds(graph, seed=5):
        mine, theirs, float_ones = outputs(graph, feeds), outputs(deploy, feeds), outputs(fake, feeds)
        assert all((mine[blob] == theirs[blob]).all() for blob in mine)
        assert all(np.abs(mine[blob] - float_ones[blob]).max() <= 1e-4 * np.abs(mine[blob]).max() for blob in mine)
    assert caffemodel(deploy, fake=False) == caffemodel(graph, fake=False)
    assert prototxt(deploy) == prototxt(graph)


def test_tables_lie_along_the_axis_of_the_output_channels(tmp_path: Path) -> None:
    def place(name: str) -> tuple[int, int]:
        (found,) = lookup_blobs(net(tmp_path, LAYERS[name]).node("it")).values()
        return found.axis, found.groups

    assert place("convolution") == place("as many outputs as inputs") == place("groups") == (0, 1)
    assert place("deconvolution") == place("deconvolution with as many outputs as inputs") == (1, 1)
    assert place("deconvolution in groups") == (1, 2)


def test_the_tables_ascend_and_their_last_level_fills_them(tmp_path: Path) -> None:
    graph = net(tmp_path, LAYERS["odd convolution"])
    graph.node("it").weights["weight"][:] = np.array([9, -128, 127, 0], np.int8).reshape(1, 4, 1, 1)
    (found,) = lookup_blobs(graph.node("it")).values()
    assert found.levels == np.array([-128, 0, 9, *[127] * 13], np.int8).tobytes() * 5
    assert found.codes == bytes([0x02, 0x13] * 5)


def test_weights_of_more_than_16_values_are_written_as_they_are(tmp_path: Path) -> None:
    graph = net(tmp_path, LAYERS["convolution"])
    weight = graph.node("it").weights["weight"]
    weight[3].reshape(-1)[:17] = np.arange(17)
    (blob, *_) = message(caffemodel(graph, fake=False))["it"]
    assert blob.int8_data == weight.tobytes()
    assert not blob.HasField("int4_data") and not blob.HasField("lookup_table")


@pytest.mark.parametrize("change", ["bits", "scales", "no scales"])
def test_only_layers_before_a_dequantize_of_4_bits_are_packed(change: str, tmp_path: Path) -> None:
    graph = net(tmp_path, LAYERS["convolution"])
    dequantize = graph.node("it.dequant")
    if change == "bits":
        dequantize.attrs["bits"] = 8
    elif change == "scales":
        dequantize.weights["deq_scale"] = np.ones(5, np.float32)
    else:
        del dequantize.weights["deq_scale"]
    assert lookup_blobs(graph.node("it")) == {}


def test_weights_of_a_layer_that_is_not_quantized_stay_float(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data("2 4 5 5") + LAYERS["convolution"])
    assert lookup_blobs(graph.node("it")) == {}
    assert linear_trait(graph.node("it")).weight == "weight"


def test_the_weights_take_half_a_byte_each_and_16_bytes_a_channel(tmp_path: Path) -> None:
    graph = net(tmp_path, conv("it", "data", 64, more="pad: 1"))
    packed = len(caffemodel(graph, fake=False))
    graph.node("it.dequant").attrs["bits"] = 8
    weight = graph.node("it").weights["weight"]
    assert packed < len(caffemodel(graph, fake=False)) - weight.size // 2 + 16 * 64 + 32


# -- blobs of others -----------------------------------------------------------------------------


def blob_bytes(
    dims: tuple[int, ...] | None, codes: bytes | None, levels: bytes | None, axis: int = 0, groups: int = 1, **more: Any
) -> bytes:
    blob: Any = load_schema("caffe_weights.proto").message("caffe_weights.Blob")(**more)
    if dims is not None:
        blob.shape.dim.extend(dims)
    if codes is not None:
        blob.int4_data = codes
    if levels is not None:
        blob.lookup_table.levels = levels
        blob.lookup_table.axis, blob.lookup_table.groups = axis, groups
    content: bytes = blob.SerializeToString()
    return content


ONE = bytes(range(16))
REFUSED: dict[str, tuple[bytes, str]] = {
    "too few codes": (blob_bytes((4, 4), bytes(7), ONE), "has the shape [4, 4] but 7 bytes of 4-bit codes"),
    "too many codes": (blob_bytes((4, 4), bytes(9), ONE), "has the shape [4, 4] but 9 bytes of 4-bit codes"),
    "a huge shape": (
        blob_bytes((2**62, 2**62), bytes(8), ONE),
        "has the shape [4611686018427387904, 4611686018427387904] but 8 bytes of 4-bit codes",
    ),
    "negative sizes": (blob_bytes((-4, -4), bytes(8), ONE), "has the shape [-4, -4] but 8 bytes of 4-bit codes"),
    "no shape": (blob_bytes(None, bytes(8), ONE), "has `int4_data` but no shape"),
    "no table": (blob_bytes((4, 4), bytes(8), None), "has `int4_data` but no `lookup_table`"),
    "no codes": (blob_bytes((4, 4), None, ONE), "has `lookup_table` but no `int4_data`"),
    "no levels": (blob_bytes((4, 4), bytes(8), b""), "has no levels for its 4-bit codes"),
    "half a table": (
        blob_bytes((4, 4), bytes(8), ONE[:8]),
        "has 8 levels for its 4-bit codes, and a table has 16",
    ),
    "three tables for four": (
        blob_bytes((4, 4), bytes(8), ONE * 3),
        "has 3 tables of levels, where its shape [4, 4] wants 1 or 4",
    ),
    "tables of a group too few": (
        blob_bytes((4, 4), bytes(8), ONE * 4, axis=1, groups=2),
        "has 4 tables of levels, where its shape [4, 4] wants 1 or 8",
    ),
    "groups that do not divide": (
        blob_bytes((4, 4), bytes(8), ONE * 12, axis=1, groups=3),
        "has a `lookup_table` in 3 groups, which do not divide its shape [4, 4]",
    ),
    "no groups": (
        blob_bytes((4, 4), bytes(8), ONE * 4, axis=1, groups=0),
        "has a `lookup_table` in 0 groups, which do not divide its shape [4, 4]",
    ),
    "groups along axis 0": (
        blob_bytes((4, 4), bytes(8), ONE * 4, groups=2),
        "has a `lookup_table` along axis 0 in 2 groups; only axis 1 has groups",
    ),
    "axis 2": (
        blob_bytes((4, 2, 2), bytes(8), ONE * 2, axis=2),
        "has a `lookup_table` along axis 2, which must be 0 or 1",
    ),
    "a negative axis": (
        blob_bytes((4, 4), bytes(8), ONE * 4, axis=-1),
        "has a `lookup_table` along axis -1, which must be 0 or 1",
    ),
    "no such axis": (
        blob_bytes((4,), bytes(2), ONE * 4, axis=1),
        "has a `lookup_table` along axis 1, and the shape [4]",
    ),
    "a code behind the last": (
        blob_bytes((3,), b"\x00\x10", ONE),
        "has 4-bit codes that cannot be: the half byte behind the last code is not 0",
    ),
    "other numbers too": (
        blob_bytes((4, 4), bytes(8), ONE, int8_data=bytes(16)),
        "has `int4_data` and 16 other numbers too",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_blob_whose_codes_and_tables_do_not_fit_is_refused_in_words(name: str, tmp_path: Path) -> None:
    blob, words = REFUSED[name]
    with pytest.raises(ValueError) as told:
        read_blob(memoryview(blob))
    assert str(told.value) == words
    model: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    model.layer.add(name="it").blobs.add().MergeFromString(blob)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DiagnosticError) as refusal:
        read_weights(path)
    (diagnostic,) = refusal.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == ("AM312", f"blob 0 of layer `it` {words}")


@pytest.mark.parametrize("dims", [(0,), (0, 4), (4, 0), (2**40, 0, 4)])
def test_a_blob_without_elements_needs_no_codes(dims: tuple[int, ...]) -> None:
    assert read_blob(memoryview(blob_bytes(dims, b"", ONE))).shape == dims


def test_the_old_form_of_a_shape_holds_for_codes_too() -> None:
    found = read_blob(memoryview(blob_bytes(None, b"\x10\x32", ONE, num=1, channels=2, height=1, width=2)))
    assert found.tolist() == [[[[0, 1]], [[2, 3]]]]


@given(st.data())
def test_whatever_is_written_is_read_and_whatever_is_damaged_is_told(draws: st.DataObject) -> None:
    dims = draws.draw(st.tuples(*[st.integers(1, 5)] * draws.draw(st.integers(1, 4))), "dims")
    axis = draws.draw(st.integers(0, min(1, len(dims) - 1)), "axis")
    dividing = [g for g in range(1, dims[0] + 1) if dims[0] % g == 0 and (axis or g == 1)]
    groups = draws.draw(st.sampled_from(dividing), "groups")
    tables = draws.draw(st.sampled_from([1, groups * dims[1] if axis else dims[0]]), "tables")
    count = math.prod(dims)
    codes = bytearray(draws.draw(st.binary(min_size=(count + 1) // 2, max_size=(count + 1) // 2), "codes"))
    if count % 2:
        codes[-1] &= 15
    levels = draws.draw(st.binary(min_size=16 * tables, max_size=16 * tables), "levels")
    blob: Any = caffe_schema().message("caffe.BlobProto")()
    blob.shape.dim.extend(dims)
    LookupBlob(dims, bytes(codes), levels, axis, groups).write(blob)
    content = bytearray(blob.SerializeToString())
    assert (read_blob(memoryview(bytes(content))) == as_the_page_says(blob)).all()
    place = draws.draw(st.integers(0, len(content) - 1), "place")
    content[place] = draws.draw(st.integers(0, 255), "byte")
    try:
        found = read_blob(memoryview(bytes(content[: draws.draw(st.integers(0, len(content)), "length")])))
    except ValueError as problem:  # a WireError is one
        assert str(problem)
    else:
        assert found.size <= 8 * len(content)


def test_an_ordinary_blob_is_written_as_before() -> None:
    blob: Any = load_schema("caffe_weights.proto").message("caffe_weights.Blob")()
    write_blob(blob, np.array([-1, 5], np.int8))
    assert blob.SerializeToString() == b"\x3a\x03\x0a\x01\x02" + b"\x52\x02\xff\x05"


# -- files ---------------------------------------------------------------------------------------


def test_a_prototxt_that_says_4_bits_is_read_and_run(tmp_path: Path) -> None:
    graph = net(tmp_path, LAYERS["deconvolution in groups"])
    files = {"deploy.prototxt": prototxt(graph).encode(), "deploy.caffemodel": caffemodel(graph, fake=False)}
    assert b"num_bits_w: 4" in files["deploy.prototxt"]
    write_files(output_paths(tmp_path / "my", files))
    read = load_model(tmp_path / "my_deploy.prototxt", tmp_path / "my_deploy.caffemodel")
    (feeds,) = random_feeds(read, seed=3)
    (mine,), (theirs,) = Executor(graph).run(feeds).values(), Executor(read).run(feeds).values()
    assert (mine == theirs).all()
