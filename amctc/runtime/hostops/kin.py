"""Nodes that are run as a layer of another dialect, where that layer is a host op."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from amctc.dialects.op import OpError
from amctc.dialects.table import op_def
from amctc.ir import Node, Value
from amctc.ir.node import Shape
from amctc.runtime.hostops.host_op import Arrays, HostOp, Run

if TYPE_CHECKING:
    from amctc.dialects.kin import Relation


def kin_host_op(host_ops: Callable[[str], Sequence[HostOp]]) -> HostOp:
    """The host op that runs every node whose kin is run by one of `host_ops` of its dialect."""

    def host_op_of(relation: Relation, dtypes: Mapping[Value, str]) -> HostOp | None:
        return next((op for op in host_ops(relation.node.dialect) if op.applies(relation.node, dtypes)), None)

    def applies(node: Node, dtypes: Mapping[Value, str]) -> bool:
        if op_def(node).likeness is None:
            return False
        from amctc.dialects.kin import NoKin, kin_of  # most dialects have no such nodes

        try:
            relation = kin_of(node)
        except (NoKin, OpError):
            return False
        return host_op_of(relation, _dtypes(relation)) is not None

    def begin(node: Node) -> Run:
        from amctc.dialects.kin import result_dtype, to_nchw, to_nchw_axes, to_nhwc_axes
        from amctc.runtime.lowering.kin import relation_of

        relation = relation_of(node)
        op = host_op_of(relation, _dtypes(relation))
        if op is None:
            raise ValueError(f"{node.name!r} is run by no host op")
        started = op.start(relation.node)

        def run(inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
            pairs = zip(relation.inputs, relation.node.inputs, strict=True)
            given = tuple(inputs[index].astype(stand_in.dtype, copy=False) for index, stand_in in pairs)
            wanted = tuple(shapes[index] for index in relation.outputs)
            if relation.moved:
                given = (np.ascontiguousarray(given[0].transpose(to_nchw_axes(given[0].ndim))), *given[1:])
                found = started(given, tuple(map(to_nchw, wanted)))
                found = tuple(np.ascontiguousarray(array.transpose(to_nhwc_axes(array.ndim))) for array in found)
            else:
                found = started(given, wanted)
            results = zip(relation.outputs, found, relation.node.outputs, strict=True)
            arrays = {i: a.astype(result_dtype(node, relation, made), copy=False) for i, a, made in results}
            # What the layer does not compute nobody reads.
            return tuple(
                arrays[index] if index in arrays else np.zeros(shape, value.dtype)
                for index, (value, shape) in enumerate(zip(node.outputs, shapes, strict=True))
            )

        return run

    def run(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
        return begin(node)(inputs, shapes)

    return HostOp("layer of another dialect", applies, run, begin)


def _dtypes(relation: Relation) -> dict[Value, str]:
    return {value: value.dtype for value in (*relation.node.inputs, *relation.node.outputs)}
