"""Weights from a caffemodel: every payload that occurs, and how a bad file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe import load_caffe
from amctc.frontends.caffe.weights import read_weights
from amctc.text.proto_schema import load_schema
from tests.nets import conv, data, write_net


def model(fill: Callable[[Any], None], name: str = "c") -> bytes:
    message: Any = load_schema("caffe.proto").message("caffe.NetParameter")()
    entry = message.layer.add()
    entry.name = name
    fill(entry.blobs.add())
    content: bytes = message.SerializeToString()
    return content


def read(folder: Path, content: bytes) -> np.ndarray:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return read_weights(path)["c"][0]


def shaped(blob: Any, *dims: int) -> None:
    blob.shape.dim.extend(dims)


def test_packed_floats_with_a_shape(tmp_path: Path) -> None:
    def fill(blob: Any) -> None:
        shaped(blob, 2, 3)
        blob.data.extend([1, 2, 3, 4, 5, 0.1])

    found = read(tmp_path, model(fill))
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 2, 3], [4, 5, float(np.float32(0.1))]]


def test_legacy_dimensions(tmp_path: Path) -> None:
    def fill(blob: Any) -> None:
        blob.num, blob.channels, blob.height, blob.width = 1, 1, 2, 2
        blob.data.extend([1, 2, 3, 4])

    assert read(tmp_path, model(fill)).shape == (1, 1, 2, 2)


def test_doubles_and_integers(tmp_path: Path) -> None:
    def doubles(blob: Any) -> None:
        shaped(blob, 2)
        blob.double_data.extend([0.1, 0.2])

    def bytes_(blob: Any) -> None:
        shaped(blob, 3)
        blob.int8_data = np.array([-128, 0, 127], np.int8).tobytes()

    def words(blob: Any) -> None:
        shaped(blob, 2)
        blob.uint64_data.extend([1, 2**63])

    assert read(tmp_path, model(doubles)).tolist() == [0.1, 0.2]
    assert read(tmp_path, model(bytes_)).tolist() == [-128, 0, 127]
    assert read(tmp_path, model(words)).tolist() == [1, 2**63]


def test_floats_that_were_not_packed_are_read_too(tmp_path: Path) -> None:
    numbers = b"".join(b"\x2d" + np.float32(x).tobytes() for x in (1.5, -2.5))  # field 5, a 32-bit number each
    blob = numbers + b"\x3a\x03\x0a\x01\x02"  # shape { dim: 2 }
    entry = b"\x0a\x01c" + b"\x3a" + bytes([len(blob)]) + blob
    content = b"\xa2\x06" + bytes([len(entry)]) + entry
    assert read(tmp_path, content).tolist() == [1.5, -2.5]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "AM311"), (b"\xff\xff\xff", "AM311"), (b"not a caffemodel at all", "AM311")],
)
def test_what_is_no_caffemodel_is_refused(content: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=code):
        read(tmp_path, content)


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, data() + conv("c", "data", 4) + conv("d", "c", 4))
    whole = weights.read_bytes()
    for length in range(0, len(whole), 97):
        weights.write_bytes(whole[:length])
        with pytest.raises(DiagnosticError, match=r"AM31[1-4]"):
            load_caffe(prototxt, weights)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"AM310.*no such file"):
        read_weights(tmp_path / "gone.caffemodel")


def test_a_blob_whose_numbers_do_not_fill_its_shape_is_refused(tmp_path: Path) -> None:
    def fill(blob: Any) -> None:
        shaped(blob, 10**12, 10**12)
        blob.data.extend([1, 2])

    with pytest.raises(DiagnosticError, match=r"AM312.*but 2 numbers"):
        read(tmp_path, model(fill))


def test_a_negative_dimension_is_refused(tmp_path: Path) -> None:
    def fill(blob: Any) -> None:
        shaped(blob, -1, -2)
        blob.data.extend([1, 2])

    with pytest.raises(DiagnosticError, match="AM312"):
        read(tmp_path, model(fill))


def test_weights_that_do_not_fit_the_layer_are_refused_at_its_line(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, data() + conv("c", "data", 4))
    other = tmp_path / "other.prototxt"
    other.write_text(data() + conv("c", "data", 5))
    with pytest.raises(DiagnosticError) as caught:
        load_caffe(other, weights)
    assert [d.code for d in caught.value.diagnostics] == ["AM314", "AM314"]
    assert "its weight must have the shape [5, 3, 3, 3]" in caught.value.diagnostics[0].message
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert span.line == 2
    other.write_text(data() + conv("c", "data", 4, more="bias_term: false"))
    with pytest.raises(DiagnosticError, match=r"AM314.*needs 1 blobs \(weight\)"):
        load_caffe(other, weights)
    assert prototxt.exists()


def test_a_layer_without_weights_is_named_and_an_extra_layer_is_ignored(tmp_path: Path) -> None:
    _, weights = write_net(tmp_path, data() + conv("c", "data", 4) + conv("extra", "c", 4))
    other = tmp_path / "other.prototxt"
    other.write_text(data() + conv("c", "data", 4))
    assert load_caffe(other, weights).node("c").weights["weight"].shape == (4, 3, 3, 3)
    other.write_text(data() + conv("c_1", "data", 4))
    with pytest.raises(DiagnosticError, match=r"AM313.*layer `c_1`"):
        load_caffe(other, weights)


def test_blobs_of_an_old_4d_file_fit_with_leading_ones(tmp_path: Path) -> None:
    prototxt, weights = write_net(tmp_path, data() + conv("c", "data", 4))
    message: Any = load_schema("caffe.proto").message("caffe.NetParameter")()
    message.ParseFromString(weights.read_bytes())
    bias = message.layer[0].blobs[1]
    bias.ClearField("shape")
    bias.num, bias.channels, bias.height, bias.width = 1, 1, 1, 4
    weights.write_bytes(message.SerializeToString())
    assert load_caffe(prototxt, weights).node("c").weights["bias"].shape == (4,)
