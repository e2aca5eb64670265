"""Typical scripts on real models: accuracy of digits and of small pictures, an ImageNet classifier."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import caffe
from tests.shared_files import ASSETS, needs_assets

MODELS = ASSETS / "caffe"
LENET = (str(MODELS / "mnist_lenet/deploy.prototxt"), str(MODELS / "mnist_lenet/lenet_iter_10000.caffemodel"))


def digits(count: int) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    with np.load(ASSETS / "data/mnist_t10k.npz") as arrays:
        images = next(arrays[name] for name in arrays.files if arrays[name].ndim > 1)
        labels = next(arrays[name] for name in arrays.files if arrays[name].ndim == 1)
    return images.reshape(-1, 1, 28, 28)[:count], labels[:count]


@needs_assets
def test_digits_are_recognized_batch_by_batch() -> None:
    images, labels = digits(1000)
    net = caffe.Net(*LENET, caffe.TEST)
    net.blobs["data"].reshape(100, 1, 28, 28)
    right = 0
    for begin in range(0, 1000, 100):
        net.blobs["data"].data[...] = images[begin : begin + 100] / 256
        found = net.forward()[net.outputs[0]].argmax(axis=1)
        right += int((found == labels[begin : begin + 100]).sum())
    assert right >= 980
    net.blobs["data"].reshape(1, 1, 28, 28)
    net.reshape()
    assert net.forward(data=images[:1] / 256)[net.outputs[0]].argmax() == labels[0]


@needs_assets
def test_a_testing_net_reads_its_lmdb_and_tells_its_accuracy(tmp_path: Path) -> None:
    images, labels = digits(200)
    folder = str(tmp_path / "mnist_test_lmdb")
    with lmdb.open(folder, map_size=1 << 26) as database, database.begin(write=True) as transaction:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            datum = caffe.io.array_to_datum(image, int(label))
            transaction.put(f"{index:08d}".encode(), datum.SerializeToString())
    deploy = Path(LENET[0]).read_text()
    begin, end = deploy.index("layer {"), deploy.index("layer {", deploy.index("layer {") + 1)
    data = (
        'layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST } '
        'transform_param { scale: 0.00390625 } data_param { source: "FOLDER" batch_size: 50 backend: LMDB } }\n'
    ).replace("FOLDER", folder)
    accuracy = 'layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" }\n'
    (tmp_path / "test.prototxt").write_text(deploy[:begin] + data + deploy[end:] + accuracy)
    net = caffe.Net(str(tmp_path / "test.prototxt"), LENET[1], caffe.TEST)
    shown = [float(net.forward()["accuracy"]) for _ in range(4)]
    assert np.mean(shown) >= 0.97


@needs_assets
def test_resnet_recognizes_small_pictures() -> None:
    with np.load(ASSETS / "data/cifar10_test_rgb_1000.npz") as arrays:
        images = next(arrays[name] for name in arrays.files if arrays[name].ndim == 4)[:200]
        labels = next(arrays[name] for name in arrays.files if arrays[name].ndim == 1)[:200]
    images = images if images.shape[1] == 3 else images.transpose(0, 3, 1, 2)
    folder = MODELS / "cifar10_resnet20"
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST, weights=str(folder / "resnet20.caffemodel"))
    x = (images - np.array([125.3, 122.9, 113.8]).reshape(1, 3, 1, 1)) / 256
    net.blobs[net.inputs[0]].reshape(50, 3, 32, 32)
    samples: dict[str, Any] = {net.inputs[0]: x.astype(np.float32)}
    found = net.forward_all(**samples)[net.outputs[0]]
    assert (found.reshape(200, -1).argmax(axis=1) == labels).mean() >= 0.75


@needs_assets
def test_a_picture_is_classified_as_in_caffes_example() -> None:
    folder = MODELS / "squeezenet_v1.0_dc"
    net = caffe.Net(str(folder / "deploy.prototxt"), str(folder / "squeezenet_v1.0_dc.caffemodel"), caffe.TEST)
    transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_mean("data", np.array([104, 117, 123]))
    transformer.set_raw_scale("data", 255)
    transformer.set_channel_swap("data", (2, 1, 0))
    net.blobs["data"].reshape(1, *net.blobs["data"].shape[1:])
    with open(ASSETS / "data/imagenet_labels.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[1].strip().isdigit()][:20]
    right = 0
    for row in rows:
        image = caffe.io.load_image(str(ASSETS / "data/imagenet" / Path(row[0]).name))
        net.blobs["data"].data[...] = transformer.preprocess("data", image)
        output = net.forward()
        top5 = output[net.outputs[0]][0].flatten().argsort()[::-1][:5]
        right += int(row[1]) in top5
    assert len(rows) == 20 and right >= 14


@needs_assets
@pytest.mark.parametrize("name", ["ultraface_slim_320/slim-320", "hyperlpr_mininet_ssd/mininet_ssd_v1"])
def test_detection_networks_load_and_run(name: str) -> None:
    net = caffe.Net(str(MODELS / f"{name}.prototxt"), str(MODELS / f"{name}.caffemodel"), caffe.TEST)
    found = net.forward()
    assert found.keys() == set(net.outputs) and all(np.isfinite(array).all() for array in found.values())
