"""Weights from a caffemodel: every payload that occurs, and how a bad file is refused."""

from __future__ import annotations

import os
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

    assert read(tmp_path, model(doubles)).tolist() == np.array([0.1, 0.2], np.float32).tolist()
    assert read(tmp_path, model(bytes_)).tolist() == [-128, 0, 127]
    assert read(tmp_path, model(words)).tolist() == [1, 2**63]


def test_integers_that_were_not_packed_and_negative_ones_are_read(tmp_path: Path) -> None:
    def numbers(blob: Any) -> None:
        shaped(blob, 4)
        blob.int32_data.extend([-1, 0, -(2**31), 2**31 - 1])

    assert read(tmp_path, model(numbers)).tolist() == [-1, 0, -(2**31), 2**31 - 1]
    blob = b"\x58\x05\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x3a\x03\x0a\x01\x02"  # field 11: 5, -1
    entry = b"\x0a\x01c" + b"\x3a" + bytes([len(blob)]) + blob
    assert read(tmp_path, b"\xa2\x06" + bytes([len(entry)]) + entry).tolist() == [5, -1]


def test_doubles_that_float32_cannot_hold_are_infinite_as_in_caffe(tmp_path: Path) -> None:
    def doubles(blob: Any) -> None:
        shaped(blob, 3)
        blob.double_data.extend([1e300, -1e300, 1e-300])

    assert read(tmp_path, model(doubles)).tolist() == [np.inf, -np.inf, 0]


def test_every_array_is_aligned_and_owns_its_numbers(tmp_path: Path) -> None:
    def odd(blob: Any) -> None:
        shaped(blob, 3)
        blob.data.extend([1, 2, 3])

    for name in ("c", "cc", "ccc", "cccc"):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(model(odd, name))
        (found,) = read_weights(path)[name]
        assert found.flags.aligned
        assert found.flags.writeable
        path.write_bytes(b"\0" * path.stat().st_size)
        assert found.tolist() == [1, 2, 3]


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


@pytest.mark.parametrize(
    "content",
    [
        b"\xa2\x06\xff\xff\xff\xff\x07",  # a layer of 2 GiB
        b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a layer of 2**64 - 1 bytes
        b"\xa2\x06" + b"\xff" * 20,  # a length without an end
        b"\x0b" * 100_000,  # groups in groups
        b"\x0e\x00",  # a wire type that is none
        b"\x02\x00",  # field number 0
    ],
)
def test_lengths_and_tags_that_cannot_be_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM311"):
        read(tmp_path, content)


def test_a_blob_of_too_many_axes_is_refused(tmp_path: Path) -> None:
    def fill(blob: Any) -> None:
        shaped(blob, *[1] * 1000)
        blob.data.extend([1])

    with pytest.raises(DiagnosticError, match=r"AM312.*1000 axes"):
        read(tmp_path, model(fill))


def test_weights_in_hdf5_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"AM311.*HDF5.*\n.*\n.*caffe.Net"):
        read(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(100))


def test_a_folder_or_a_pipe_is_no_weights_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DiagnosticError, match=r"AM310.*not a regular file"):
            read_weights(path)


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
