"""Random nets under random policies: the deploy model and the fake-quant model compute the same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_def, op_table
from amctc.frontends import load_model
from amctc.ir import Graph, Node, Value
from amctc.policy import Policy
from amctc.runtime.executor import Executor, read_inputs
from amctc.runtime.lowering.integer import largest_sum
from amctc.source import SourceFile
from tests.fuzz.random_nets import TYPES, fitting_feeds, nets
from tests.nets import write_net
from tests.quantized import Feeds, quantize, write_and_read

Values: TypeAlias = Mapping[Value, NDArray[Any]]

ROWS = [row for row in op_table().values() if row.dialect == "caffe"]
QUANTIZABLE = {row.type: row.quantizable for row in ROWS if row.quantizable is not None}
OFTEN = (*(kind for kind, how in QUANTIZABLE.items() if how.on_by_default), *TYPES)

NOTHING_TO_QUANTIZE = {"AM224"}
FIGURES_THAT_HAVE_NO_GRID = {"AM403", "AM405", "AM406", "AM407"}
"""Calibration refuses what is always 0, not finite, or too large or small for a scale."""

EXACT = 1 << 24
"""Up to here float32, in which a fake-quant model computes, has all the integers of the deploy model."""


@st.composite
def policies(draw: st.DrawFn) -> str:
    """What a policy says of all layers, and after it `|` and what it says of those not quantized by default."""
    flags, bits = st.sampled_from(("true", "false")), st.integers(8, 16)
    weights = f"arq_quantize {{ channel_wise: {draw(flags)} }}"
    common = f"common_config {{ ifmr_quantize {{ num_bits: {draw(bits)} }} {weights} }}"
    text = f"activation_offset: {draw(flags)} do_fusion: {draw(flags)} {common}"
    return f"{text} | calibration_config {{ ifmr_quantize {{ num_bits: {draw(bits)} }} }}"


def _policy_for(graph: Graph, drawn: str) -> str:
    """The drawn policy, with every layer of the graph switched on."""
    common, _, others = drawn.partition(" | ")
    types = {node.type for node in graph.nodes if node.type in QUANTIZABLE}
    off = sorted(kind for kind in types if not QUANTIZABLE[kind].on_by_default)
    return "\n".join([common, *(f"override_layer_types {{ layer_type: '{kind}' {others} }}" for kind in off)])


@settings(max_examples=settings().max_examples // 3)
@given(nets(types=OFTEN), policies())
def test_the_deploy_and_the_fake_quant_model_of_a_net_agree(text: str, policy: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, weights = write_net(Path(folder), text)
        graph = load_model(model, weights if weights.stat().st_size else None)
        try:
            compiled = _compiled(graph, _policy_for(graph, policy), Path(folder))
        except DiagnosticError as refused:
            codes = {diagnostic.code for diagnostic in refused.diagnostics if diagnostic.level == "error"}
            assume(not codes <= NOTHING_TO_QUANTIZE | FIGURES_THAT_HAVE_NO_GRID)
            raise
        deploy, fake = compiled
        feeds = fitting_feeds(graph, 1)
        one, other = _all_values(deploy, feeds), _all_values(fake, feeds)
        if isinstance(one, str) or isinstance(other, str):
            assert one == other
            return
        _compare(deploy, fake, one, other)


def _compiled(graph: Graph, policy: str, folder: Path) -> tuple[Graph, Graph]:
    """Both models; by way of `compile` where the inputs are of one batch, as data files are."""
    feeds = fitting_feeds(graph)
    batch = {name: feeds[name] for name in read_inputs(graph)}
    sizes = {array.shape[0] for array in batch.values()}
    if len(sizes) != 1 or any(value.shape is None for value in read_inputs(graph).values()):
        return write_and_read(quantize(graph, [feeds], policy), folder)
    data, output = folder / "data.npz", folder / "net"
    np.savez(data, **batch)  # type: ignore[arg-type]  # its stub takes allow_pickle for an array name
    weights = folder / "net.caffemodel"
    amctc.compile(
        folder / "net.prototxt",
        weights if weights.stat().st_size else None,
        policy=Policy.from_text(SourceFile("policy.cfg", policy)),
        data=data,
        output=output,
    )
    deploy, fake = (
        load_model(folder / f"net_{kind}_model.prototxt", folder / f"net_{kind}_weights.caffemodel")
        for kind in ("deploy", "fake_quant")
    )
    return deploy, fake


def _compare(deploy: Graph, fake: Graph, one: Values, other: Values) -> None:
    """Every value is the same, up to layers whose sums float32 cannot hold and what comes behind these."""
    rough: set[Node] = set()
    for node in deploy.nodes:
        if any(value.producer in rough for value in node.inputs):
            rough.add(node)
            continue
        most = _largest_sum(node)
        for mine, its in zip(node.outputs, fake.node(node.name).outputs, strict=True):
            integers, floats = _centred(mine, one[mine]), other[its]
            if most < EXACT:
                np.testing.assert_array_equal(integers, floats, err_msg=mine.name)
            else:
                rough.add(node)
                np.testing.assert_allclose(integers, floats, rtol=0, atol=most / EXACT * 4, err_msg=mine.name)


def _largest_sum(node: Node) -> int:
    linear = op_def(node).linear is not None and node.inputs[0].dtype.startswith("int")
    return largest_sum(node) if linear else 0


def _centred(value: Value, array: NDArray[Any]) -> NDArray[Any]:
    """A deploy model's integers without their offset, as a fake-quant model has them."""
    quantize = value.producer
    while quantize.inputs and value.dtype in ("int8", "int16") and quantize.op != "quant.Quantize":
        quantize = quantize.inputs[0].producer
    if quantize.op != "quant.Quantize" or value.dtype not in ("int8", "int16"):
        return array
    return array.astype(np.float32) - np.float32(int(str(quantize.attrs["offset"])))


def _all_values(graph: Graph, feeds: Feeds) -> Values | str:
    """Every value; or what is said of figures that turn out to be none a layer can take."""
    values = [value for node in graph.nodes for value in node.outputs]
    try:
        return Executor(graph, fetch=values).run(feeds)
    except DiagnosticError as told:
        return "; ".join(diagnostic.message for diagnostic in told.diagnostics)
