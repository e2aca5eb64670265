"""Graphs of any size that keep every built-in pass busy: chains, ladders and stars of a small unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.records.scale_record import InputRecord, LayerRecord, ScaleRecord
from amctc.registry import builtin_registry
from amctc.source import SourceFile
from amctc.text.plain import Plain

SHAPE: Shape = (1, 2, 2, 2)
Unit: TypeAlias = Callable[["Builder", Value], Value]


class Builder:
    """Adds layers with random weights and numbered names to a graph; every value has the shape SHAPE."""

    def __init__(self) -> None:
        self.graph = Graph("net")
        self.rng = np.random.default_rng(0)
        self.count = 0

    def data(self) -> Value:
        return self.node("Input", [], attrs={"input_param": {"shape": {"dim": SHAPE}}}).output

    def node(
        self,
        type: str,
        inputs: Sequence[Value],
        weights: Sequence[tuple[str, Shape]] = (),
        attrs: dict[str, Plain] | None = None,
        outputs: int = 1,
        shape: Shape = SHAPE,
    ) -> Node:
        self.count += 1
        name = f"{type}{self.count}"
        arrays = {role: self.rng.uniform(0.25, 0.75, size).astype(np.float32) for role, size in weights}
        blobs = [name if i == 0 else f"{name}_{i}" for i in range(outputs)]
        node = self.graph.add(name, f"caffe.{type}", inputs, blobs, attrs=attrs, weights=arrays)
        for value in node.outputs:
            value.shape = shape
        return node

    def layer(self, type: str, value: Value, *weights: tuple[str, Shape], **attrs: Plain) -> Value:
        """A layer with one input and one output, and its parameters."""
        return self.node(type, [value], weights, dict(attrs)).output

    def sum(self, a: Value, b: Value) -> Value:
        """Half of each, so that the values stay small in large graphs."""
        return self.node("Eltwise", [a, b], attrs={"eltwise_param": {"coeff": (0.5, 0.5)}}).output


# -- units: a few layers behind a value ------------------------------------------------------------


def conv(build: Builder, value: Value) -> Value:
    weights: list[tuple[str, Shape]] = [("weight", (2, 2, 1, 1)), ("bias", (2,))]
    return build.layer("Convolution", value, *weights, convolution_param={"num_output": 2, "kernel_size": (1,)})


def batch_norm(build: Builder, value: Value) -> Value:
    weights: list[tuple[str, Shape]] = [("mean", (2,)), ("variance", (2,)), ("factor", (1,))]
    return build.layer("BatchNorm", value, *weights, batch_norm_param={"use_global_stats": True})


def scale(build: Builder, value: Value) -> Value:
    return build.layer("Scale", value, ("scale", (2,)))


def relu(build: Builder, value: Value) -> Value:
    return build.layer("ReLU", value)


def relu6(build: Builder, value: Value) -> Value:
    return build.layer("ReLU6", value)


def inner(build: Builder, value: Value) -> Value:
    """An inner product of the last axis, which keeps the shape."""
    param: Plain = {"num_output": 2, "axis": 3, "bias_term": False}
    return build.layer("InnerProduct", value, ("weight", (2, 2)), inner_product_param=param)


def two_convs(build: Builder, value: Value) -> Value:
    """Two that can be equalized, and what keeps them apart from the next two."""
    return build.layer("Sigmoid", conv(build, relu(build, conv(build, value))))


def pool(build: Builder, value: Value) -> Value:
    return build.layer("Pooling", value, pooling_param={"kernel_size": 1})


def dropout(build: Builder, value: Value) -> Value:
    return build.layer("Dropout", value)


def normalized(build: Builder, value: Value) -> Value:
    return scale(build, batch_norm(build, conv(build, value)))


def scale_relu(build: Builder, value: Value) -> Value:
    return relu(build, scale(build, value))


def conv_pool(build: Builder, value: Value) -> Value:
    return pool(build, conv(build, value))


def dead_branch(build: Builder, value: Value) -> Value:
    relu(build, conv(build, value))
    return relu(build, value)


def idle(build: Builder, value: Value) -> Value:
    return relu(build, dropout(build, value))


def split(build: Builder, value: Value) -> Value:
    return build.sum(*build.node("Split", [value], outputs=2).outputs)


def constant(build: Builder, value: Value) -> Value:
    numbers = build.node("Parameter", [], [("data", SHAPE)], {"parameter_param": {"shape": {"dim": SHAPE}}})
    return build.sum(value, relu(build, numbers.output))


def reshapes(build: Builder, value: Value) -> Value:
    flat = build.node("Reshape", [value], attrs={"reshape_param": {"shape": {"dim": (0, -1)}}}, shape=(1, 8))
    return build.layer("Reshape", flat.output, reshape_param={"shape": {"dim": (0, 2, 2, -1)}})


def permutes(build: Builder, value: Value) -> Value:
    for order in ((0, 2, 1, 3), (0, 2, 1, 3)):
        value = build.layer("Permute", value, permute_param={"order": order})
    return value


def affines(build: Builder, value: Value) -> Value:
    return scale(build, batch_norm(build, value))


def everything(build: Builder, value: Value) -> Value:
    for unit in (normalized, dropout, split, reshapes, permutes, dead_branch, constant, affines):
        value = unit(build, value)
    return value


# -- shapes of graphs -----------------------------------------------------------------------------


def chain(unit: Unit, size: int) -> Graph:
    """The units one behind the other."""
    build = Builder()
    value = build.data()
    while build.count < size:
        value = unit(build, value)
    build.graph.outputs = [relu(build, value)]
    return build.graph


def ladder(unit: Unit, size: int) -> Graph:
    """Two rails of units, and a sum of both at every rung."""
    build = Builder()
    left = right = build.data()
    while build.count < size:
        left, right = unit(build, left), unit(build, right)
        left = build.sum(left, right)
    build.graph.outputs = [build.sum(left, right)]
    return build.graph


def star(unit: Unit, size: int) -> Graph:
    """One value that every unit reads; what they give is summed up."""
    build = Builder()
    middle = build.data()
    total = unit(build, middle)
    while build.count < size:
        total = build.sum(total, unit(build, middle))
    build.graph.outputs = [total]
    return build.graph


SHAPES: dict[str, Callable[[Unit, int], Graph]] = {"chain": chain, "ladder": ladder, "star": star}


# -- passes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A pass, the unit that keeps it busy, and what must have run before it.

    `weights` says whether it changes weights; `factors` that data scales are made up before it, `record` that
    it has them from a record, `means` that those of the float network are known.
    """

    unit: Unit
    setup: str = ""
    policy: str | None = None
    factors: bool = False
    weights: bool = False
    record: bool = False
    means: bool = False


DEPTHWISE = 'override_layer_types { layer_type: "Scale" calibration_config { ifmr_quantize { num_bits: 8 } } }'
UPDATED = "update_bn: true bn_update_config { bn_update_iterations: 1 }"
ROUNDED = "common_config { ada_quantize { num_iteration: 0 } }"
QUANTIZED = "annotate-quant,quantize-weights"
BALANCED = "common_config { dmq_balancer { } }"
LINEAR = "ALL_INNER_PRODUCTS"
"""In a policy: the names of all inner products of the graph."""
KV_CACHE = f"kv_cache_quant_config {{ quant_layers: [{LINEAR}] }}"

CASES = {
    "remove-dead": Case(dead_branch),
    "fold-split": Case(split),
    "remove-identity": Case(idle),
    "fold-constants": Case(constant),
    "merge-reshape": Case(reshapes),
    "merge-permute": Case(permutes),
    "merge-affine": Case(affines, weights=True),
    "update-batchnorm": Case(normalized, setup=QUANTIZED, policy=UPDATED, weights=True),
    "fuse-batchnorm": Case(normalized, weights=True),
    "depthwise-affine": Case(scale_relu, policy=DEPTHWISE, weights=True),
    "replace-relu6": Case(relu6),
    "equalize-layers": Case(two_convs, weights=True),
    "insert-kv-cache-quant": Case(inner, policy=KV_CACHE),
    "annotate-quant": Case(conv_pool, policy=""),
    "balance-channels": Case(conv_pool, setup="annotate-quant", policy=BALANCED, weights=True),
    "apply-record": Case(conv_pool, setup="annotate-quant", policy="", record=True),
    "round-weights": Case(conv_pool, setup="annotate-quant", policy=ROUNDED, weights=True),
    "observe-means": Case(conv_pool, setup="annotate-quant", policy=""),
    "quantize-weights": Case(conv_pool, setup="annotate-quant", policy="", weights=True),
    "observe": Case(conv_pool, setup=QUANTIZED, policy=""),
    "calibrate": Case(conv_pool, setup=f"{QUANTIZED},observe", policy=""),
    "correct-bias": Case(conv_pool, setup=QUANTIZED, policy="", factors=True, weights=True, means=True),
    "quantize-bias": Case(conv_pool, setup=QUANTIZED, policy="", factors=True, weights=True),
    "insert-quant": Case(conv_pool, setup=QUANTIZED, policy="", factors=True),
    "insert-retrain-quant": Case(conv_pool),
}
"""Every built-in pass."""


def prepared(case: Case, shape: str, size: int) -> tuple[Graph, Context]:
    """A graph of about `size` nodes that is ready for the pass of a case, and the context to run it with."""
    graph = SHAPES[shape](case.unit, size)
    linear = ", ".join(f'"{node.name}"' for node in graph.nodes if node.type == "InnerProduct")
    text = None if case.policy is None else case.policy.replace(LINEAR, linear)
    policy = None if text is None else resolve(Policy.from_text(SourceFile("policy", text)), graph)
    feeds = {"Input1": np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)}
    context = Context(policy, Calibration(lambda: iter([feeds]), 1))
    if case.setup:
        run(case.setup, graph, context)
    for node in graph.nodes if case.factors else ():
        for quant in () if node.quant is None else node.quant.inputs:
            node.quant = None if node.quant is None else node.quant.with_factors(quant.index, 0.5, 3)
    if case.means:
        context.means.update({node.name: np.zeros((1, 2)) for node in graph.nodes if node.type == "Convolution"})
    if case.record:
        context = replace(context, record=ScaleRecord(tuple(made_up(graph))))
    return graph, context


def made_up(graph: Graph) -> Iterator[LayerRecord]:
    """Factors for every annotated layer."""
    for node in graph.nodes:
        if node.quant is not None:
            inputs = tuple(InputRecord(quant.index, 0.5, 3) for quant in node.quant.inputs)
            yield LayerRecord(node.name, inputs, (0.25,) if node.quant.weight is not None else ())


def run(passes: str, graph: Graph, context: Context) -> float:
    """Run passes, and give the seconds that they took themselves."""
    runs = parse_pipeline(SourceFile("pipeline", passes), builtin_registry()).run(graph, context)
    return sum(each.seconds for each in runs)
