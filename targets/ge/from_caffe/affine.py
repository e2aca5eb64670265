"""BatchNorm, Scale and Bias."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amctc.dialects.caffe.batch_norm import statistics
from amctc.dialects.caffe.params import params
from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Operand, Rule, Unsayable
from amctc.text.plain import Plain


def _batch_norm(c: Crossing, node: Node) -> None:
    """Mean, variance and the number that divides both stay three constants, as the caffemodel has them."""
    found = statistics(node)
    if isinstance(found, str):
        raise Unsayable(f"has no form in GE: {found}")
    attributes: dict[str, Plain] = {"epsilon": found.eps, "use_global_stats": True, "mode": 1}
    blobs = [node.weights[role].reshape(-1) for role in ("mean", "variance", "factor")]
    c.map(node, "BNInference", [*c.inputs(node), *blobs], attributes)


def _scale(c: Crossing, node: Node) -> None:
    param, inputs = params(node, "scale_param"), c.inputs(node)
    bias = node.weights.get("bias") if param.bias_term else None
    own = len(inputs) == 1
    scale: Operand = node.weights.get("scale") if own else inputs[1]
    if scale is None or (bias is None and param.bias_term):
        raise Unsayable("has no weights")
    attributes = {**_axes(param), "scale_from_blob": own}
    c.map(node, "Scale", [inputs[0], scale, bias], attributes)


def _bias(c: Crossing, node: Node) -> None:
    param, inputs = params(node, "bias_param"), c.inputs(node)
    own = len(inputs) == 1
    bias: Operand = node.weights.get("bias") if own else inputs[1]
    if bias is None:
        raise Unsayable("has no weights")
    c.map(node, "Bias", [inputs[0], bias], {**_axes(param), "bias_from_blob": own})


def _axes(param: object) -> Mapping[str, Plain]:
    return {name: int(getattr(param, name)) for name in ("axis", "num_axes")}


AFFINE: Mapping[str, Rule] = MappingProxyType(
    {"caffe.BatchNorm": _batch_norm, "caffe.Scale": _scale, "caffe.Bias": _bias}
)
