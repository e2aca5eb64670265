"""The real networks that the benchmarks run, and their data in the form that `amctc` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"
CALIBRATION = 32
"""Samples that calibrate; all others are scored."""


@dataclass(frozen=True)
class Classifier:
    """A classifier: its files, its data, its labels, and how the data is prepared."""

    name: str
    model: Path
    weights: Path
    data: Path
    labels: str
    preprocess: str


def classifiers(scratch: Path) -> tuple[Classifier, ...]:
    """The classifiers; data that is not keyed by the input's name is written anew to `scratch`."""
    caffe = ASSETS / "caffe"
    cifar10 = _shuffled(ASSETS / "data/cifar10_test_rgb_1000.npz", scratch / "cifar10.npz")
    return (
        Classifier(
            "squeezenet",
            caffe / "squeezenet_v1.0_dc/deploy.prototxt",
            caffe / "squeezenet_v1.0_dc/squeezenet_v1.0_dc.caffemodel",
            ASSETS / "data/imagenet",
            str(ASSETS / "data/imagenet_labels.csv"),
            "resize-short=256,center-crop=227,bgr,mean=104:117:123",
        ),
        Classifier(
            "cifar10_resnet20",
            caffe / "cifar10_resnet20/deploy.prototxt",
            caffe / "cifar10_resnet20/resnet20.caffemodel",
            cifar10,
            "label",
            "mean=125.3:122.9:113.8,scale=0.00390625",
        ),
        Classifier(
            "cifar10_full",
            caffe / "cifar10_full_v1/deploy.prototxt",
            caffe / "cifar10_full_v1/cifar10_full_iter_70000.caffemodel",
            cifar10,
            "label",
            f'mean="{ASSETS / "data/cifar10_mean.binaryproto"}"',
        ),
        Classifier(
            "mnist_lenet",
            caffe / "mnist_lenet/deploy.prototxt",
            caffe / "mnist_lenet/lenet_iter_10000.caffemodel",
            _shuffled(ASSETS / "data/mnist_t10k.npz", scratch / "mnist.npz"),
            "label",
            "scale=0.00390625",
        ),
    )


def _shuffled(source: Path, target: Path) -> Path:
    """`images` [N, H, W(, C)] as `data` [N, C, H, W] with `label`, in a fixed random order.

    The CIFAR file is sorted by class; its first 32 images would calibrate on one class alone.
    """
    with np.load(source) as file:
        images, labels = file["images"], file["labels"]
    images = images[..., np.newaxis] if images.ndim == 3 else images
    order = np.random.default_rng(0).permutation(len(images))
    np.savez(target, data=images.transpose(0, 3, 1, 2)[order], label=labels[order].astype(np.int64))
    return target
