"""Poolings as TensorFlow and ONNX have them: windows with four numbers, in the order of the data's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from amctc.dialects.ge.fields import flag, ints, whole, word
from amctc.dialects.ge.onnx_form import onnx_row
from amctc.dialects.ge.slots import NHWC, data_format
from amctc.dialects.kin import Kin, NoKin
from amctc.dialects.op import OpDef, OpError, Quantizable
from amctc.ir import Node
from amctc.text.plain import Plain

_FLOAT = "float32"
_WHOLE_IMAGE = (-1, -1)
"""A window as large as the image."""
_PADDINGS = {"SAME": "SAME_UPPER", "VALID": "VALID"}


def spatial(node: Node, name: str) -> tuple[int, int]:
    """The two numbers for height and width of the four of an attribute. Raises `NoKin` where the others are not 1."""
    found = ints(node, name, 4)
    nhwc = data_format(node) == NHWC
    other = (found[0], found[3]) if nhwc else found[:2]
    if set(other) != {1}:
        raise NoKin(f"cannot be run: `{name}` goes over samples or channels")
    return (found[1], found[2]) if nhwc else (found[2], found[3])


def _moved(node: Node) -> bool:
    return data_format(node) == NHWC


def _window(node: Node, padding: str) -> dict[str, Plain]:
    """Kernel, strides and padding; `padding` is the word for it: CALCULATED takes `pads`."""
    attrs: dict[str, Plain] = {"kernel_shape": spatial(node, "ksize"), "strides": spatial(node, "strides")}
    if padding == "CALCULATED":
        top, bottom, left, right = ints(node, "pads", 4)
        attrs["pads"] = (top, left, bottom, right)
    elif padding in _PADDINGS:
        attrs["auto_pad"] = _PADDINGS[padding]
    else:
        raise OpError(f"has the padding `{padding}`, which is none of CALCULATED, SAME and VALID")
    return attrs


def _max_pool(node: Node) -> Kin:
    return Kin("onnx.MaxPool", _window(node, word(node, "padding")), moved=_moved(node))


def _max_pool_v3(node: Node) -> Kin:
    if flag(node, "global_pooling"):
        return Kin("onnx.GlobalMaxPool", moved=_moved(node))
    attrs = {**_window(node, word(node, "padding_mode")), "ceil_mode": int(flag(node, "ceil_mode"))}
    return Kin("onnx.MaxPool", attrs, moved=_moved(node))


def _average_pool(node: Node) -> Kin:
    """A window of -1 is the whole image."""
    if spatial(node, "ksize") == _WHOLE_IMAGE:
        return Kin("onnx.GlobalAveragePool", moved=_moved(node))
    return Kin("onnx.AveragePool", _window(node, word(node, "padding")), moved=_moved(node))


def _average_pool_v2(node: Node) -> Kin:
    if flag(node, "global_pooling"):
        return Kin("onnx.GlobalAveragePool", moved=_moved(node))
    if whole(node, "divisor_override"):
        raise NoKin("cannot be run: `divisor_override` is not supported")
    attrs = {
        **_window(node, word(node, "padding_mode")),
        "ceil_mode": int(flag(node, "ceil_mode")),
        "count_include_pad": int(not flag(node, "exclusive")),
    }
    return Kin("onnx.AveragePool", attrs, moved=_moved(node))


def _global_average(node: Node) -> Kin:
    return Kin("onnx.GlobalAveragePool", moved=_moved(node))


def _pooling(type: str, like: str, translate: Callable[[Node], Kin], *, on: bool, notes: str) -> OpDef:
    """A pooling whose windows are smaller than the image can be quantized; of floats alone."""
    row = onnx_row(type, like, translate, quantizable=Quantizable(on_by_default=on), notes=notes)
    plain = replace(row, quantizable=None)

    def windows(node: Node) -> bool:
        if [value.dtype for value in node.inputs] != [_FLOAT]:
            return False
        try:
            return translate(node).op == f"onnx.{like}"
        except (NoKin, OpError):
            return False

    return replace(row, variant=lambda node: None if windows(node) else plain)


WINDOW_OPS: tuple[OpDef, ...] = (
    _pooling("MaxPool", "MaxPool", _max_pool, on=False, notes="ksize and strides in the order of the data's layout"),
    _pooling(
        "MaxPoolV3", "MaxPool", _max_pool_v3, on=False, notes="pads [top, bottom, left, right]; ceil_mode rounds up"
    ),
    _pooling("AvgPool", "AveragePool", _average_pool, on=True, notes="a ksize of -1 is the whole image"),
    _pooling(
        "AvgPoolV2",
        "AveragePool",
        _average_pool_v2,
        on=True,
        notes="pads [top, bottom, left, right]; exclusive leaves padding out of the mean",
    ),
    onnx_row("GlobalAveragePool", "GlobalAveragePool", _global_average),
)
