"""A small GE graph with its data, and calls of `aclgrph_calibration` on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import acl
from amctc.driver import export
from amctc.ir import Graph
from tests.nets import conv, data, layer, write_net

NET: Final = (
    data("2 3 8 8")
    + conv("conv1", "data", 4, more="pad: 1")
    + layer("relu1", "ReLU", "conv1", "relu1")
    + layer("fc", "InnerProduct", "relu1", "fc", "inner_product_param { num_output: 5 }")
    + layer("prob", "Softmax", "fc", "prob")
)
"""One input `data` of [2, 3, 8, 8]."""

TWO: Final = (
    data("2 3 8 8", "left")
    + data("2 3 4 4", "right")
    + conv("conv_l", "left", 4)
    + conv("conv_r", "right", 4)
    + layer("relu_l", "ReLU", "conv_l", "relu_l")
    + layer("relu_r", "ReLU", "conv_r", "relu_r")
)
"""Two inputs, and two outputs."""

KEYS: Final[Mapping[str, str]] = {
    "INPUT_DATA_DIR": "data.bin",
    "INPUT_SHAPE": "data:2,3,8,8",
    "SOC_VERSION": "Ascend310P3",
}
"""What must be given, for `NET`."""

SAMPLES: Final = 6


def write_air(folder: Path, text: str = NET, name: str = "net") -> Path:
    """The float `.air` of a net with random weights."""
    prototxt, weights = write_net(folder, text)
    export(prototxt, weights, target="ge", output=folder / name)
    return folder / f"{name}_model.air"


def images(count: int = SAMPLES, sides: tuple[int, ...] = (3, 8, 8), seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, *sides)).astype(np.float32)


def float_graph() -> acl.Graph:
    """The graph of `net_model.air` in the current folder."""
    graph = acl.Graph("net")
    assert graph.load_from_file("net_model.air") == acl.GRAPH_SUCCESS
    return graph


def calibrate(more: Mapping[str, str | None] | None = None, graph: acl.Graph | Graph | None = None) -> int:
    """The status for the usual keys with others added; those that are None are left out."""
    keys = {key: value for key, value in {**KEYS, **(more or {})}.items() if value is not None}
    return acl.aclgrph_calibration(graph if graph is not None else float_graph(), keys)


def refusal(capsys: pytest.CaptureFixture[str], more: Mapping[str, str | None], graph: Any = None) -> str:
    """What the log says of keys that are refused; the graph has not changed."""
    given = graph if graph is not None else float_graph()
    before = len(given.net)
    capsys.readouterr()
    assert calibrate(more, given) == acl.GRAPH_FAILED
    assert len(given.net) == before
    text = capsys.readouterr().err
    assert "the graph has not changed" in text
    return text


def quant_ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes if node.dialect == "quant"]
