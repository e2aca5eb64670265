"""Layers that read their data themselves: LMDB, lists of images, arrays in memory."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc.compat import caffe
from amctc.compat.caffe.proto import caffe_pb2
from amctc.runtime.lmdb_files import LmdbRecords
from tests.nets import layer

RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (5, 3, 6, 8), dtype=np.uint8)


def write_lmdb(folder: Path, records: Sequence[bytes]) -> str:
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for index, record in enumerate(records):
            transaction.put(f"{index:08d}".encode(), record)
    return str(folder)


def datums(images: Sequence[NDArray[Any]] | NDArray[Any]) -> list[bytes]:
    return [caffe.io.array_to_datum(image, index).SerializeToString() for index, image in enumerate(images)]


def net_of(
    folder: Path, source: str, batch: int = 2, transform: str = "", type: str = "Data", tops: str = 'top: "label"'
) -> caffe.Net:
    parameter = "image_data_param" if type == "ImageData" else "data_param"
    backend = "" if type == "ImageData" else "backend: LMDB"
    text = (
        f'layer {{ name: "input" type: "{type}" top: "data" {tops} '
        f'{parameter} {{ source: "{source}" batch_size: {batch} {backend} }} transform_param {{ {transform} }} }}\n'
    ) + layer("double", "Power", "data", "double", "power_param { scale: 2 }")
    (folder / "net.prototxt").write_text(text)
    return caffe.Net(str(folder / "net.prototxt"), caffe.TEST)


def test_each_forward_reads_the_next_batch_and_begins_anew_at_the_end(tmp_path: Path) -> None:
    net = net_of(tmp_path, write_lmdb(tmp_path / "db", datums(IMAGES)))
    assert net.blobs["data"].shape == (2, 3, 6, 8) and net.outputs == ["double", "label"] and net.inputs == []
    for expected in ([0, 1], [2, 3], [4, 0], [1, 2]):
        out = net.forward()
        assert out["label"].tolist() == expected
        assert np.array_equal(out["double"], IMAGES[expected] * np.float32(2))


def test_a_batch_may_be_larger_than_the_database(tmp_path: Path) -> None:
    net = net_of(tmp_path, write_lmdb(tmp_path / "db", datums(IMAGES[:2])), batch=5)
    assert net.forward()["label"].tolist() == [0, 1, 0, 1, 0]


def test_a_run_from_a_later_layer_takes_no_batch(tmp_path: Path) -> None:
    net = net_of(tmp_path, write_lmdb(tmp_path / "db", datums(IMAGES)))
    net.forward()
    net.forward(start="double")
    assert net.forward()["label"].tolist() == [2, 3]


def test_mean_scale_and_crop_are_applied_as_caffe_does_it(tmp_path: Path) -> None:
    source = write_lmdb(tmp_path / "db", datums(IMAGES))
    transform = "scale: 0.25 crop_size: 5 mean_value: 10 mean_value: 20 mean_value: 30 mirror: false"
    found = net_of(tmp_path, source, transform=transform).forward(["data"])["data"]
    expected = (IMAGES[:2, :, 0:5, 1:6] - np.array([10, 20, 30], np.float32).reshape(3, 1, 1)) * np.float32(0.25)
    assert np.array_equal(found, expected)


def test_a_mean_file_is_subtracted_before_the_middle_is_taken(tmp_path: Path) -> None:
    mean = RNG.random((1, 3, 6, 8)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(caffe.io.array_to_blobproto(mean).SerializeToString())
    source = write_lmdb(tmp_path / "db", datums(IMAGES))
    transform = f'crop_size: 4 mean_file: "{tmp_path / "mean.binaryproto"}"'
    found = net_of(tmp_path, source, transform=transform).forward(["data"])["data"]
    assert np.array_equal(found, (IMAGES[:2] - mean)[:, :, 1:5, 2:6])


def test_floats_and_encoded_images_are_read_too(tmp_path: Path) -> None:
    floats = RNG.normal(size=(2, 1, 4, 4)).astype(np.float32)
    assert np.array_equal(
        net_of(tmp_path, write_lmdb(tmp_path / "floats", datums(floats))).forward(["data"])["data"], floats
    )
    pixels = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    datum = caffe_pb2.Datum(data=file.getvalue(), encoded=True, label=1)
    source = write_lmdb(tmp_path / "encoded", [datum.SerializeToString()])
    found = net_of(tmp_path, source, batch=1).forward(["data"])["data"]
    assert np.array_equal(found[0], pixels[:, :, ::-1].transpose(2, 0, 1))
    assert net_of(tmp_path, source, transform="force_gray: true").blobs["data"].shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("records", "transform", "words"),
    [
        ([b"\xff\xff\xff"], "", "record `00000000` of .* is no Datum"),
        ([caffe_pb2.Datum(channels=3, height=9, width=9, data=b"abc").SerializeToString()], "", "3 numbers"),
        ([caffe_pb2.Datum(channels=-1, height=1, width=1, data=b"a").SerializeToString()], "", r"\(-1, 1, 1\)"),
        ([caffe_pb2.Datum(encoded=True, data=b"no image").SerializeToString()], "", "cannot be decoded"),
        (datums(IMAGES), "crop_size: 7", "`crop_size` is 7"),
        (datums(IMAGES), "mean_value: 1 mean_value: 2", "2 `mean_value`"),
        (datums([IMAGES[0], IMAGES[1, :, :5]]), "", "record `00000001` of .* has the shape .* the first one"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, records: list[bytes], transform: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=f"AM665[\\s\\S]*{words}"):
        net_of(tmp_path, write_lmdb(tmp_path / "db", records), transform=transform).forward()


def test_a_batch_of_absurd_size_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="AM665"):
        net_of(tmp_path, write_lmdb(tmp_path / "db", datums(IMAGES)), batch=4_000_000_000)


def test_a_database_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"AM663[\s\S]*there is no LMDB"):
        net_of(tmp_path, str(tmp_path / "missing"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "data.mdb").write_bytes(b"abc" * 9000)
    with pytest.raises(RuntimeError, match=r"AM663[\s\S]*cannot be read"):
        net_of(tmp_path, str(tmp_path / "bad"))
    with pytest.raises(RuntimeError, match=r"AM663[\s\S]*no records"):
        net_of(tmp_path, write_lmdb(tmp_path / "empty", []))
    source = write_lmdb(tmp_path / "db", datums(IMAGES))
    with lmdb.open(source), pytest.raises(RuntimeError, match=r"AM663[\s\S]*close it"):
        net_of(tmp_path, source)


def test_other_code_may_open_the_database_between_batches(tmp_path: Path) -> None:
    source = write_lmdb(tmp_path / "db", datums(IMAGES))
    net = net_of(tmp_path, source)
    net.forward()
    with lmdb.open(source, readonly=True) as database, database.begin() as transaction:
        raw = transaction.get(b"00000003")
    assert np.array_equal(caffe.io.datum_to_array(caffe_pb2.Datum.FromString(bytes(raw or b""))), IMAGES[3])
    assert net.forward()["label"].tolist() == [2, 3]


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lmdb(tmp_path / "db", datums(IMAGES))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(RuntimeError, match=r"AM664[\s\S]*amctc\[lmdb\]"):
        net_of(tmp_path, source)


def test_the_records_of_an_lmdb_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    records = LmdbRecords(write_lmdb(tmp_path / "db", [b"a", b"b", b"c"]))
    assert (len(records), records.first().value) == (3, b"a")
    assert [[record.value for record in records.take(count)] for count in (2, 2, 0, 4)] == [
        [b"a", b"b"],
        [b"c", b"a"],
        [],
        [b"b", b"c", b"a", b"b"],
    ]
    assert [record.value for record in LmdbRecords(tmp_path / "db" / "data.mdb").take(1)] == [b"a"]


def test_a_list_of_images_is_read_in_order(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    lines = [f"image {index}.png {index + 5}\n" for index in range(3)]
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"image {index}.png")
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{line}" for line in lines))
    net = net_of(tmp_path, str(tmp_path / "list.txt"), type="ImageData", transform="scale: 0.5")
    bgr = pixels[:, :, :, ::-1].transpose(0, 3, 1, 2)
    for chosen in ([0, 1], [2, 0]):
        out = net.forward(["data"])
        assert out["label"].tolist() == [index + 5 for index in chosen]
        assert np.array_equal(out["data"], bgr[chosen] * np.float32(0.5))


def test_a_list_of_images_resizes_without_smoothing(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.png 0\n")
    text = (
        f'layer {{ name: "input" type: "ImageData" top: "data" top: "label" image_data_param {{ '
        f'source: "{tmp_path}/list.txt" batch_size: 1 new_height: 2 new_width: 4 }} }}'
    )
    (tmp_path / "net.prototxt").write_text(text)
    found = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward()["data"][0]
    means = pixels.reshape(2, 2, 4, 2, 3).mean(axis=(1, 3))[:, :, ::-1].transpose(2, 0, 1)
    assert np.array_equal(found, np.rint(means))


def test_a_list_that_names_no_label_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png\n")
    with pytest.raises(RuntimeError, match=r"AM665[\s\S]*line 1"):
        net_of(tmp_path, str(tmp_path / "list.txt"), type="ImageData")
    (tmp_path / "list.txt").write_text("missing.png 3\n")
    with pytest.raises(RuntimeError, match=r"AM670[\s\S]*missing.png"):
        net_of(tmp_path, str(tmp_path / "list.txt"), type="ImageData")


def test_arrays_in_memory_are_fed_batch_by_batch(tmp_path: Path) -> None:
    text = (
        'layer { name: "input" type: "MemoryData" top: "data" top: "label" '
        "memory_data_param { batch_size: 2 channels: 1 height: 2 width: 2 } }\n"
    )
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    with pytest.raises(RuntimeError, match="AM666"):
        net.forward()
    images, labels = RNG.random((4, 1, 2, 2)).astype(np.float32), np.arange(4, dtype=np.float32)
    net.set_input_arrays(images, labels)
    for chosen in ([0, 1], [2, 3], [0, 1]):
        out = net.forward()
        assert np.array_equal(out["data"], images[chosen]) and out["label"].tolist() == chosen
    for bad in (
        (images[:3], labels[:3]),
        (images, labels[:2]),
        (images[:, :, :1], labels),
        (images.astype(int), labels),
    ):
        with pytest.raises(ValueError, match="AM666"):
            net.set_input_arrays(*bad)


@pytest.mark.parametrize("type", ["WindowData", "AnnotatedData"])
def test_data_of_other_kinds_are_refused_with_what_to_do(tmp_path: Path, type: str) -> None:
    text = f'layer {{ name: "input" type: "{type}" top: "data" top: "label" }}\n' + layer("r", "ReLU", "data", "r")
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(RuntimeError, match=r"AM662[\s\S]*Input layer"):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)


def test_a_leveldb_is_refused(tmp_path: Path) -> None:
    text = 'layer { name: "input" type: "Data" top: "data" data_param { source: "db" batch_size: 2 } }\n'
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(RuntimeError, match=r"AM662[\s\S]*LevelDB"):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
