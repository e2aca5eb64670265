"""Functions of single elements."""

from __future__ import annotations

from amctc.dialects.ge.fields import ints, number
from amctc.dialects.ge.rows import kin_row
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef
from amctc.ir import Node


def _relu(node: Node) -> Kin:
    return Kin("caffe.ReLU")


def _leaky_relu(node: Node) -> Kin:
    return Kin("caffe.ReLU", {"relu_param": {"negative_slope": number(node, "negative_slope")}})


def _softmax(node: Node) -> Kin:
    axes = ints(node, "axes")
    if len(axes) != 1:
        raise NoKin("cannot be run: a softmax over several axes is not supported")
    return Kin("caffe.Softmax", {"softmax_param": {"axis": axes[0]}})


ACTIVATION_OPS: tuple[OpDef, ...] = (
    kin_row("Relu", _relu, "caffe.ReLU"),
    kin_row("LeakyRelu", _leaky_relu, "caffe.ReLU"),
    kin_row("SoftmaxV2", _softmax, "caffe.Softmax"),
)
