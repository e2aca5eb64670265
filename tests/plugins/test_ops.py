"""Registered ops: known like any other, and run where a host op is registered for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc.catalog import describe_ops
from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.op import ONE, OpError
from amctc.dialects.table import builtin_ops, is_custom, op_table
from amctc.ir import Graph
from amctc.ir.node import Shape
from amctc.runtime.executor import Executor
from tests.nets import conv, data, layer, make_net, write_net
from tests.quantized import random_feeds


def halved(node: amctc.Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    if shapes[0][1] % 2:
        raise OpError("an odd number of channels")
    return ((shapes[0][0], shapes[0][1] // 2, *shapes[0][2:]),)


HALVES = amctc.OpDef("caffe.Halves", "the sum of both halves of the channels", ONE, ONE, halved)


def sum_of_halves(node: amctc.Node, inputs: tuple[NDArray[Any], ...], shapes: tuple[Shape, ...]) -> NDArray[Any]:
    first, second = np.split(inputs[0], 2, axis=1)
    total: NDArray[Any] = first + second
    return total


@pytest.fixture
def halves() -> Iterator[None]:
    with amctc.register_op(HALVES):
        yield
    assert op_table() is builtin_ops()


def halves_net(folder: Path, channels: int = 4) -> Graph:
    write_net(folder, data() + conv("a", "data", channels))
    text = data() + conv("a", "data", channels) + layer("half", "Halves", "a", "half", "halves_param { fast: true }")
    (folder / "net.prototxt").write_text(text, encoding="utf-8")
    collector = Collector()
    graph = amctc.load(folder / "net.prototxt", folder / "net.caffemodel", collector)
    assert collector.diagnostics == []
    return graph


@pytest.mark.usefixtures("halves")
def test_a_registered_op_is_known_and_runs_with_a_host_op(tmp_path: Path) -> None:
    graph = halves_net(tmp_path)
    assert not is_custom(graph.node("half"))
    assert graph.node("half").output.shape == (2, 2, 6, 6)
    assert graph.node("half").attrs["halves_param"] == {"fast": True}
    (feeds,) = random_feeds(graph, 0)
    with pytest.raises(DiagnosticError, match=r"AM436.*there is no host op"):
        amctc.run(graph, feeds)
    with amctc.register_host_op("Halves", sum_of_halves):
        found = amctc.run(graph, feeds, ["a", "half"])
        (row,) = [row for row in describe_ops("caffe") if row.name == "caffe.Halves"]
    assert np.array_equal(found["half"], found["a"][:, :2] + found["a"][:, 2:])
    assert (row.runs, row.owner) == ("a host op", __name__)


@pytest.mark.usefixtures("halves")
def test_the_row_of_a_registered_op_may_refuse_a_layer(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="an odd number of channels"):
        halves_net(tmp_path, channels=3)


def test_what_the_row_of_a_registered_op_raises_is_told_of_the_layer(tmp_path: Path) -> None:
    row = amctc.OpDef("caffe.Halves", "fails", ONE, ONE, lambda node, shapes: ((shapes[7]),))
    with amctc.register_op(row), pytest.raises(DiagnosticError, match="`infer` failed: IndexError"):
        halves_net(tmp_path)


def test_an_op_of_another_dialect_runs_too(tmp_path: Path) -> None:
    graph = make_net(tmp_path, data() + conv("a", "data", 4))
    (feeds,) = random_feeds(graph, 0)
    row = amctc.OpDef("chip.Halves", "the sum of both halves of the channels", ONE, ONE, halved)
    with amctc.register_op(row), amctc.register_host_op("chip.Halves", sum_of_halves):
        half = graph.insert_after(graph.node("a").output, "half", "chip.Halves")
        found = Executor(graph, fetch=[half.output]).run(feeds)[half.output]
    assert found.shape == (2, 2, 6, 6)


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        (amctc.OpDef("caffe.ReLU", "mine", ONE, ONE, halved), "AM520", f"of {__name__} has the name of one of amctc"),
        (amctc.OpDef("quant.Mine", "mine", ONE, ONE, halved), "AM523", "the dialect `quant`"),
        (amctc.OpDef("Mine", "mine", ONE, ONE, halved), "AM523", "not of the form `dialect.Type`"),
        (amctc.OpDef("caffe.Mi ne", "mine", ONE, ONE, halved), "AM523", "not of the form `dialect.Type`"),
        (amctc.OpDef("caffe.Mine", " ", ONE, ONE, halved), "AM523", "it has no summary"),
        (amctc.OpDef("caffe.Mine", "mine", ONE, ONE, lambda node: ()), "AM523", r"its `infer`: its parameters are"),  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_wrong_row_is_refused(row: amctc.OpDef, code: str, words: str) -> None:
    with pytest.raises(DiagnosticError, match=f"{code}.*{words}"):
        amctc.register_op(row)
