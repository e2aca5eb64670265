"""The real networks of ../shared/assets with their data, prepared as each network was trained to take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.shared_files import ASSETS, GOLDEN

CAFFE = ASSETS / "caffe"
CALIBRATION = 32
"""Samples that calibrate; others are scored."""
BATCH = 8

Files: TypeAlias = tuple[Path, Path]
"""A prototxt and its caffemodel."""


@dataclass(frozen=True)
class Network:
    """A classifier: its files, its data (a folder, or arrays by input name), and the class of each sample."""

    files: Files
    data: str | Mapping[str, NDArray[np.float32]]
    labels: str | NDArray[np.int64]
    preprocess: str | None


def squeezenet() -> Network:
    """SqueezeNet 1.0 and 200 photographs."""
    return Network(
        (CAFFE / "squeezenet_v1.0_dc/deploy.prototxt", CAFFE / "squeezenet_v1.0_dc/squeezenet_v1.0_dc.caffemodel"),
        str(ASSETS / "data/imagenet"),
        str(ASSETS / "data/imagenet_labels.csv"),
        "resize-short=256,center-crop=227,bgr,mean=104:117:123",
    )


def resnet20() -> Network:
    """ResNet-20 and 1000 images of CIFAR-10."""
    samples, labels = _shuffled(ASSETS / "data/cifar10_test_rgb_1000.npz")
    files = CAFFE / "cifar10_resnet20/deploy.prototxt", CAFFE / "cifar10_resnet20/resnet20.caffemodel"
    return Network(files, {"data": samples}, labels, "mean=125.3:122.9:113.8,scale=0.00390625")


def cifar10_full() -> Network:
    """Caffe's own CIFAR-10 network, both files of the V1 kind, and 1000 images of CIFAR-10."""
    samples, labels = _shuffled(ASSETS / "data/cifar10_test_rgb_1000.npz")
    folder = CAFFE / "cifar10_full_v1"
    files = folder / "deploy.prototxt", folder / "cifar10_full_iter_70000.caffemodel"
    return Network(files, {"data": samples}, labels, f'mean="{ASSETS / "data/cifar10_mean.binaryproto"}"')


def lenet(scored: int) -> Network:
    """LeNet and as many digits of MNIST as are to be scored, after those that calibrate."""
    samples, labels = _shuffled(ASSETS / "data/mnist_t10k.npz")
    files = CAFFE / "mnist_lenet/deploy.prototxt", CAFFE / "mnist_lenet/lenet_iter_10000.caffemodel"
    count = CALIBRATION + scored
    return Network(files, {"data": samples[:count]}, labels[:count], "scale=0.00390625")


def recorded(name: str) -> Network:
    """A network that the real Caffe trained on digits, with the digits and labels it was tested on."""
    folder = GOLDEN / "caffe/nets"
    with np.load(folder / "digits_test.npz") as file:
        samples, labels = file["images"].astype(np.float32), file["labels"].astype(np.int64)
    files = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    return Network(files, {"data": samples}, labels, "scale=0.00390625")


def upscaler() -> Files:
    """The waifu2x network, which doubles the size of an image."""
    return CAFFE / "waifu2x_upconv7/deploy.prototxt", CAFFE / "waifu2x_upconv7/scale2.0x.caffemodel"


def crops(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre crops of 224x224 pixels in 0 … 1, and the same at half the size, padded by 8 as `upscaler` wants them."""
    large: list[NDArray[np.float32]] = []
    small: list[NDArray[np.float32]] = []
    for path in sorted((ASSETS / "data/imagenet").glob("*.JPEG"))[:count]:
        image = Image.open(path).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        crop = image.crop((left, top, left + 224, top + 224))
        half = _unit(crop.resize((112, 112), Image.Resampling.BICUBIC))
        large.append(_unit(crop).transpose(2, 0, 1))
        small.append(np.pad(half, ((8, 8), (8, 8), (0, 0)), mode="edge").transpose(2, 0, 1))
    return np.stack(large), np.stack(small)


def _unit(image: Image.Image) -> NDArray[np.float32]:
    """The pixels in 0 … 1, [H, W, C]."""
    return np.asarray(image, np.float32) / np.float32(255)


def _shuffled(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [N, H, W(, C)] as [N, C, H, W] with labels, in a fixed order: the CIFAR file is sorted by class."""
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    images = images[..., np.newaxis] if images.ndim == 3 else images
    order = np.random.default_rng(0).permutation(len(images))
    return images.transpose(0, 3, 1, 2)[order].astype(np.float32), labels[order].astype(np.int64)
