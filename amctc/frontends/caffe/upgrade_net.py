"""Old ways of saying things about a net that Caffe rewrites after the layers: `input` fields, BatchNorm's params."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from amctc.diagnostics import error
from amctc.frontends.caffe.layer_def import LayerDef, blob_names
from amctc.text.checked import CheckedMessage
from amctc.text.plain import Plain


def input_layer(net: CheckedMessage) -> LayerDef | None:
    """`input` with `input_dim` or `input_shape` as the Input layer that Caffe makes of them.

    Raises `DiagnosticError` (AM303) where shapes and inputs do not match.
    """
    names = blob_names(net, "input")
    if not names:
        return None
    dims: list[Plain] = [*net.values("input_dim")]
    shapes = [shape.values("dim") for shape in net.messages("input_shape")]
    span = names[0].span
    if dims and shapes:
        raise error("AM303", "the net gives both `input_dim` and `input_shape`", span)
    if dims and len(dims) != 4 * len(names):
        message = f"{len(names)} inputs need {4 * len(names)} `input_dim` values, there are {len(dims)}"
        raise error("AM303", message, span)
    if dims:
        messages: list[Plain] = [{"dim": tuple(dims[4 * i : 4 * i + 4])} for i in range(len(names))]
    else:
        messages = [{"dim": tuple(shape)} for shape in shapes]
    if len(messages) != len(names):
        message = f"{len(names)} inputs need as many `input_shape` values, there are {len(messages)}"
        raise error("AM303", message, span, help="give `input_shape { dim: … }` for every `input`")
    parameter: dict[str, Plain] = {"shape": tuple(messages)}
    return LayerDef("input", "Input", (), names, {"input_param": parameter}, span, span, span)


def upgrade_batch_norm(layers: Sequence[LayerDef]) -> list[LayerDef]:
    """BatchNorm layers with three `param` messages: their statistics are not to be learned, whatever these say."""
    return [_frozen(layer) if layer.type == "BatchNorm" else layer for layer in layers]


def _frozen(layer: LayerDef) -> LayerDef:
    given = layer.attrs.get("param")
    if not isinstance(given, tuple) or len(given) != 3:
        return layer
    params: list[Plain] = [{**spec, "lr_mult": 0.0, "decay_mult": 0.0} for spec in given if isinstance(spec, dict)]
    return replace(layer, attrs=layer.attrs | {"param": tuple(params)})
