"""Computing at once what depends on constants alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amctc.dialects.onnx.element_types import OPAQUE
from amctc.dialects.onnx.generic import is_known_type
from amctc.dialects.onnx.inference import infer_node
from amctc.dialects.op import OpError
from amctc.dialects.table import op_def
from amctc.ir import Node
from amctc.ir.node import Array
from amctc.runtime.session import library_errors

if TYPE_CHECKING:
    from onnx import NodeProto

MOST_ELEMENTS = 1 << 26
"""Constants of more elements are not made of one model: a few bytes of a file can ask for any number of them."""


def folded(
    node: Node, proto: NodeProto, constants: Mapping[str, Array], opsets: Mapping[str, int], most: int = MOST_ELEMENTS
) -> list[Array] | None:
    """The outputs of a node whose operands are all constant; None where it stays.

    What may give something else each time stays, and what has graphs inside, has more than `most` elements, or cannot
    be computed.
    """
    if sum(constants[name].size for name in proto.input if name) > MOST_ELEMENTS:
        return None
    if op_def(node).effect or not is_known_type(node.type) or any(each.HasField("g") for each in proto.attribute):
        return None
    try:
        found = infer_node(node, (), ())
    except OpError:
        return None
    if any(each.shape is None or each.dtype in (None, OPAQUE) for each in found):
        return None
    if sum(math.prod(each.shape or ()) for each in found) > most:
        return None
    return _computed(proto, {name: constants[name] for name in proto.input if name}, opsets)


def _computed(proto: NodeProto, feeds: Mapping[str, Array], opsets: Mapping[str, int]) -> list[Array] | None:
    import onnxruntime as ort
    from onnx import ValueInfoProto, helper, numpy_helper

    names = [name for name in proto.output if name]
    graph = helper.make_graph(
        [proto],
        "constant",
        [],
        [ValueInfoProto(name=name) for name in names],
        [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in feeds.items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found: Sequence[Any] = session.run(names, {})
    except library_errors():
        return None
    return list(found) if all(isinstance(array, np.ndarray) and array.dtype.kind != "O" for array in found) else None
