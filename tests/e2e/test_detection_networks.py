"""Detectors, end to end: what they find in photographs, as they are and quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc import driver
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.runtime.executor import run_graph
from amctc.source import SourceFile
from tests.e2e.real_data import CAFFE, Files
from tests.shared_files import ASSETS, needs_assets

Floats: TypeAlias = NDArray[np.float32]

PLATES: Files = (
    CAFFE / "hyperlpr_mininet_ssd/mininet_ssd_v1.prototxt",
    CAFFE / "hyperlpr_mininet_ssd/mininet_ssd_v1.caffemodel",
)
FACES: Files = (CAFFE / "ultraface_slim_320/slim-320.prototxt", CAFFE / "ultraface_slim_320/slim-320.caffemodel")

SURE = 0.9
CALIBRATING_FACES = 5


def plates() -> Floats:
    """Photographs of plates, [N, 3, 512, 512], as the network was trained to take them; the first is of a lorry."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return _photographs("plates", (512, 512), lambda pixels: (pixels / 255 - mean) / std)


def faces() -> Floats:
    """Photographs of people, [N, 3, 240, 320], as the network was trained to take them."""
    return _photographs("faces", (320, 240), lambda pixels: (pixels - 127) / 128)


def detections(graph: Graph, image: Floats) -> Floats:
    """Rows (score, xmin, ymin, xmax, ymax) of the plates in one image, best first; corners in 0 … 1."""
    rows: Floats = run_graph(graph, {"data": image[np.newaxis]}, ["detection_out"])["detection_out"][0, 0, :, 2:]
    return rows


def found_faces(outputs: Mapping[str, NDArray[np.generic]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes [K, 4] in 0 … 1 and scores [K] of the faces of one image, those that overlap an others' by 0.3 left out."""
    scores = np.asarray(outputs["scores"], np.float64)[0, :, 1]
    deltas = np.asarray(outputs["boxes"], np.float64)[0]
    centre = deltas[:, :2] * 0.1 * _CELLS[:, 2:] + _CELLS[:, :2]
    half = np.exp(deltas[:, 2:] * 0.2) * _CELLS[:, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    kept: list[int] = []
    for index in np.argsort(-scores):
        if scores[index] > 0.7 and all(overlap(boxes[index], boxes[other]) <= 0.3 for other in kept):
            kept.append(int(index))
    return boxes[kept], scores[kept]


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    shared = sides.prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def deployed(files: Files, data: Mapping[str, Floats], folder: Path) -> Graph:
    """The deploy model of a default policy, calibrated on all of the data."""
    count = len(next(iter(data.values())))
    policy = Policy.from_text(SourceFile("policy.cfg", f"batch_num: {count}\n"))
    driver.compile(*files, policy=policy, data=data, batch_size=1, output=folder / "net")
    return load_model(folder / "net_deploy_model.prototxt", folder / "net_deploy_weights.caffemodel")


def _photographs(
    folder: str, size: tuple[int, int], prepare: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Floats:
    images: list[NDArray[np.float64]] = []
    for path in sorted((ASSETS / "data" / folder).glob("*.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), np.float64)
        images.append(prepare(pixels).transpose(2, 0, 1))
    return np.stack(images).astype(np.float32)


def _cells() -> NDArray[np.float64]:
    """Centre and size in 0 … 1 of the boxes that UltraFace's predictions are relative to, [4420, 4]."""
    found: list[tuple[float, ...]] = []
    for step, sides in ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256))):
        for row, column in np.ndindex(-(-240 // step), -(-320 // step)):
            x, y = (column + 0.5) * step / 320, (row + 0.5) * step / 240
            found += [(x, y, side / 320, side / 240) for side in sides]
    cells: NDArray[np.float64] = np.clip(np.array(found), 0, 1)
    return cells


_CELLS = _cells()


@needs_assets
def test_the_plate_is_found_where_it_is() -> None:
    best, second = detections(load_model(*PLATES), plates()[0])[:2]
    assert best[0] == pytest.approx(0.787, abs=0.005)
    # In this photograph of 320x320 pixels the plate is seen from about (154, 218) to (177, 228).
    np.testing.assert_allclose(best[1:] * 320, [154.8, 217.9, 178.6, 227.2], atol=1)
    assert second[0] < 0.2


@needs_assets
def test_the_quantized_network_still_finds_the_plate(tmp_path: Path) -> None:
    images = plates()
    quantized = deployed(PLATES, {"data": images}, tmp_path)
    before, after = (detections(graph, images[0]) for graph in (load_model(*PLATES), quantized))
    # Measured: the score falls by 0.011, a corner moves by 1.9 of the image's 512 pixels.
    assert after[0, 0] == pytest.approx(before[0, 0], abs=0.05)
    assert np.abs(after[0, 1:] - before[0, 1:]).max() * 512 <= 4
    assert after[1, 0] < 0.2


@needs_assets
def test_faces_equal_those_of_the_onnx_twin() -> None:
    graph = load_model(*FACES)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    twin = ort.InferenceSession(ASSETS / "onnx/ultraface_slim_320_bn.onnx", options)
    total = 0
    for image in faces():
        found = run_graph(graph, {"input": image[np.newaxis]}, ["scores", "boxes"])
        scores, boxes = (np.asarray(array) for array in twin.run(["scores", "boxes"], {"input": image[np.newaxis]}))
        assert np.abs(found["scores"] - scores).max() <= 1e-4
        assert np.abs(found["boxes"] - boxes).max() <= 1e-4
        own, others = found_faces(found)[0], found_faces({"scores": scores, "boxes": boxes})[0]
        assert own.shape == others.shape
        np.testing.assert_allclose(own, others, atol=1e-4)
        total += len(own)
    assert total == 185


@needs_assets
def test_the_quantized_network_finds_the_same_faces(tmp_path: Path) -> None:
    images = faces()
    quantized = deployed(FACES, {"input": images[:CALIBRATING_FACES]}, tmp_path)
    graph = load_model(*FACES)
    sure = invented = 0
    for image in images[CALIBRATING_FACES:]:
        before, scores = found_faces(run_graph(graph, {"input": image[np.newaxis]}))
        after = found_faces(run_graph(quantized, {"input": image[np.newaxis]}))[0]
        for box in before[scores > SURE]:
            # Measured: 0.88 for the worst, 0.98 in the mean.
            assert max(overlap(box, other) for other in after) >= 0.8
            sure += 1
        invented += sum(max(overlap(box, other) for other in before) < 0.5 for box in after)
    assert sure == 61
    assert invented <= 2
