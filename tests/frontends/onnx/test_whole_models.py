"""Whole networks: they give what ONNX Runtime gives, as read, as text, and when they are written and read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from amctc.frontends.onnx import load_onnx
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.source import SourceFile
from amctc.targets.onnx.model import float_model
from tests.frontends.onnx.models import by_onnx_runtime, loaded, run
from tests.shared_files import ASSETS, needs_assets

DATA = Path(os.path.dirname(onnx.backend.test.__file__)) / "data"
LIGHT = sorted((DATA / "light").glob("*.onnx"))
SMALL = 1 << 20
"""Networks with more weights are not written as text here."""


def random_data(model: ModelProto, path: Path) -> dict[str, NDArray[Any]]:
    """Random data for every input, a free axis taken as 1."""
    constants = {tensor.name for tensor in model.graph.initializer}
    numbers = np.random.default_rng(0)
    feeds: dict[str, NDArray[Any]] = {}
    for value in model.graph.input:
        if value.name not in constants:
            tensor = value.type.tensor_type
            shape = [
                max(dim.dim_value, 1) if not _is_image(path, axis) else 64 for axis, dim in enumerate(tensor.shape.dim)
            ]
            kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            feeds[value.name] = numbers.normal(size=shape).astype(kind)
    return feeds


def _is_image(path: Path, axis: int) -> bool:
    """Whether this axis is one of the free ones of the text classifier, whose images have three channels."""
    return "ppocr" in path.name and axis > 1


def check(path: Path, folder: Path) -> None:
    model = onnx.load(path)
    feeds = random_data(model, path)
    if "ppocr" in path.name:
        feeds = {name: np.repeat(array[:, :1], 3, 1) for name, array in feeds.items()}
    wanted = by_onnx_runtime(model, feeds)
    graph = load_onnx(path)
    close(run(graph, feeds), wanted)
    close(run(loaded(float_model(graph), folder), feeds), wanted)
    if sum(array.size for node in graph.nodes for array in node.weights.values()) < SMALL:
        close(run(parse_graph(SourceFile("graph", print_graph(graph))), feeds), wanted)


def close(found: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(np.abs(b).max(initial=0)))


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_the_light_networks_give_what_onnx_runtime_gives(path: Path, tmp_path: Path) -> None:
    check(path, tmp_path)


@needs_assets
@pytest.mark.parametrize(
    "name", ["ch_ppocr_mobile_v2.0_cls_infer", "efficientnet_lite0", "lprnet", "ultraface_slim_320_bn"]
)
def test_the_real_networks_give_what_onnx_runtime_gives(name: str, tmp_path: Path) -> None:
    check(ASSETS / "onnx" / f"{name}.onnx", tmp_path)
