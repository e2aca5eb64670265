"""Train the embedded example network (examples/digits) anew and write its weights and images.

Needs scikit-learn and torch, which nothing else of this project needs: run it in an environment of their own.
Seeded and on one thread: the same library versions write the same files. How the network is put together
stands in examples/digits/digits.prototxt, by hand; the layer names below are those of that file.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent / "digits"
SEED, EPOCHS, BATCH = 7, 60, 32
TEST_IMAGES, CALIBRATION_IMAGES = 360, 64
LEAST_ACCURACY = 0.97
EPSILON = 1e-5  # Caffe's default of batch_norm_param.eps, and torch's

Array = np.ndarray
Blobs = dict[str, tuple[str, list[Array]]]  # layer name -> Caffe layer type, its blobs


class Digits(nn.Module):
    """The network of digits.prototxt up to `fc`; images [N, 1, 8, 8] in, scores [N, 10] out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.bn_depthwise = nn.BatchNorm2d(16)
        self.pointwise = nn.Conv2d(16, 16, 1, bias=False)
        self.bn_pointwise = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 2 * 2, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = functional.relu(self.bn1(self.conv1(images)))
        inner = functional.relu(self.bn_depthwise(self.depthwise(first)))
        inner = self.bn_pointwise(self.pointwise(inner))
        pooled = functional.max_pool2d(functional.relu(first + inner), 2)
        last = functional.relu(self.bn3(self.conv3(pooled)))
        return self.fc(functional.avg_pool2d(last, 2).flatten(1))

    def blobs(self) -> Blobs:
        """The weights under Caffe's layer names, in Caffe's order of blobs."""
        made: Blobs = {}
        normalized = {
            "conv1": (self.conv1, self.bn1),
            "conv2/dw": (self.depthwise, self.bn_depthwise),
            "conv2/pw": (self.pointwise, self.bn_pointwise),
            "conv3": (self.conv3, self.bn3),
        }
        for name, (conv, norm) in normalized.items():
            made[name] = ("Convolution", [numpy(conv.weight)])
            # Caffe keeps the sums and, as a third blob, what to divide them by.
            statistics = [numpy(norm.running_mean), numpy(norm.running_var), np.ones(1, np.float32)]
            made[f"{name}/bn"] = ("BatchNorm", statistics)
            made[f"{name}/scale"] = ("Scale", [numpy(norm.weight), numpy(norm.bias)])
        made["fc"] = ("InnerProduct", [numpy(self.fc.weight), numpy(self.fc.bias)])
        return made


def numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float32)


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to one pixel, the border filled with paper."""
    padded = functional.pad(images, (1, 1, 1, 1))
    corners = torch.randint(0, 3, (len(images), 2)).tolist()
    pairs = zip(padded, corners, strict=True)
    return torch.stack([image[:, y : y + 8, x : x + 8] for image, (y, x) in pairs])


def train(images: Array, labels: Array) -> Digits:
    model = Digits()
    data, target = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for chosen in order[: len(order) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            scores = model(shifted(data[chosen]))
            loss = functional.cross_entropy(scores, target[chosen], label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


# --- the caffemodel: NetParameter {name 1, layer 100 {name 1, type 2, blobs 7 {data 5, shape 7 {dim 1}}}} ---


def varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of the protobuf wire format."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(array: Array) -> bytes:
    dims = b"".join(varint(size) for size in array.shape)
    return field(5, array.astype("<f4").tobytes()) + field(7, field(1, dims))


def caffemodel(blobs: Blobs) -> bytes:
    made = field(1, b"digits")
    for name, (type_, arrays) in blobs.items():
        layer = field(1, name.encode()) + field(2, type_.encode())
        made += field(100, layer + b"".join(field(7, blob(array)) for array in arrays))
    return made


# --- the check: read the file back and run it with plain numpy ---


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; this file format has no others here."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key, size = number(), number()
        yield key >> 3, message[at : at + size]
        at += size


def read_blob(message: bytes) -> Array:
    parts = dict(fields(message))
    dims = read_dims(dict(fields(parts[7]))[1])
    return np.array([value for (value,) in struct.iter_unpack("<f", parts[5])]).reshape(dims)


def read_dims(packed: Iterable[int]) -> list[int]:
    dims, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            dims.append(value)
            value = shift = 0
    return dims


def read_caffemodel(data: bytes) -> dict[str, list[Array]]:
    layers = [list(fields(payload)) for number, payload in fields(data) if number == 100]
    return {dict(layer)[1].decode(): [read_blob(p) for n, p in layer if n == 7] for layer in layers}


def convolve(x: Array, weight: Array, group: int = 1) -> Array:
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    parts = zip(np.split(windows, group, axis=1), np.split(weight, group), strict=True)
    return np.concatenate([np.einsum("nchwyx,ocyx->nohw", part, w) for part, w in parts], axis=1)


def pool(x: Array) -> Array:
    """The four values under each 2x2 window of stride 2, on a last axis."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


def forward(layers: Mapping[str, list[Array]], images: Array) -> Array:
    """The scores `fc` of the network in digits.prototxt, in float64."""

    def normalized(name: str, x: Array, group: int = 1) -> Array:
        mean, variance, factor = layers[f"{name}/bn"]
        gamma, beta = (blob[:, None, None] for blob in layers[f"{name}/scale"])
        mean, variance = (sums[:, None, None] / factor for sums in (mean, variance))
        return (convolve(x, layers[name][0], group) - mean) / np.sqrt(variance + EPSILON) * gamma + beta

    first = np.maximum(normalized("conv1", images), 0)
    inner = normalized("conv2/pw", np.maximum(normalized("conv2/dw", first, group=16), 0))
    pooled = pool(np.maximum(first + inner, 0)).max(axis=-1)
    last = pool(np.maximum(normalized("conv3", pooled), 0)).mean(axis=-1)
    weight, bias = layers["fc"]
    return last.reshape(len(last), -1) @ weight.T + bias


def main() -> int:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_IMAGES, random_state=SEED, stratify=labels
    )
    model = train(train_x, train_y)

    weights = caffemodel(model.blobs())
    (HERE / "digits.caffemodel").write_bytes(weights)
    np.savez_compressed(HERE / "digits.npz", data=test_x, label=test_y)
    np.savez_compressed(HERE / "calibration.npz", data=train_x[:CALIBRATION_IMAGES])

    scores = forward(read_caffemodel((HERE / "digits.caffemodel").read_bytes()), test_x.astype(np.float64))
    with torch.no_grad():
        difference = np.abs(scores - model(torch.from_numpy(test_x)).numpy()).max()
    right = int((scores.argmax(axis=1) == test_y).sum())
    accuracy = right / len(test_y)
    print(f"{right} of {len(test_y)} right ({accuracy:.4f}); numpy and torch differ by {difference:.2g}")
    return 0 if difference < 1e-4 and accuracy >= LEAST_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
