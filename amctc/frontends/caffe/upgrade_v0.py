"""V0 files (`layers { layer { type: "conv" … } … }`) in today's words, as Caffe's `upgrade_proto.cpp` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from amctc.diagnostics import Collector, Diagnostic, Label, Level, did_you_mean
from amctc.frontends.caffe.layer_def import BlobName, LayerDef, blob_names, in_schema_order, make_layer
from amctc.frontends.caffe.upgrade_v1 import layer_v1, param_specs
from amctc.text.checked import CheckedField, CheckedMessage, to_plain
from amctc.text.plain import Plain

V0_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "Accuracy",
        "bnll": "BNLL",
        "concat": "Concat",
        "conv": "Convolution",
        "data": "Data",
        "dropout": "Dropout",
        "euclidean_loss": "EuclideanLoss",
        "flatten": "Flatten",
        "hdf5_data": "HDF5Data",
        "hdf5_output": "HDF5Output",
        "im2col": "Im2col",
        "images": "ImageData",
        "infogain_loss": "InfogainLoss",
        "innerproduct": "InnerProduct",
        "lrn": "LRN",
        "multinomial_logistic_loss": "MultinomialLogisticLoss",
        "pool": "Pooling",
        "relu": "ReLU",
        "sigmoid": "Sigmoid",
        "softmax": "Softmax",
        "softmax_loss": "SoftmaxWithLoss",
        "split": "Split",
        "tanh": "TanH",
        "window_data": "WindowData",
    }
)
"""The type that each V0 type has become; `padding` layers become the `pad` of the layer behind them."""

_PADDING = "padding"

_PARAMETERS = {
    "concat": "concat_param",
    "conv": "convolution_param",
    "data": "data_param",
    "dropout": "dropout_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "infogain_loss": "infogain_loss_param",
    "innerproduct": "inner_product_param",
    "lrn": "lrn_param",
    "pool": "pooling_param",
    "window_data": "window_data_param",
}
_WEIGHTED, _WINDOWED = ("conv", "innerproduct"), ("conv", "pool")
_READING = ("data", "hdf5_data", "images", "window_data")
_FIELDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "num_output": ("num_output", _WEIGHTED),
    "biasterm": ("bias_term", _WEIGHTED),
    "weight_filler": ("weight_filler", _WEIGHTED),
    "bias_filler": ("bias_filler", _WEIGHTED),
    "pad": ("pad", _WINDOWED),
    "kernelsize": ("kernel_size", _WINDOWED),
    "group": ("group", ("conv",)),
    "stride": ("stride", _WINDOWED),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", (*_READING, "infogain_loss")),
    "batchsize": ("batch_size", _READING),
    "rand_skip": ("rand_skip", ("data", "images")),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
}
"""V0 field -> its name in the layer's own parameters, and the V0 types that have it."""
_REPEATED = ("pad", "kernel_size", "stride")
"""Of a convolution these are lists today."""
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_ELSEWHERE = ("name", "type", "blobs", "blobs_lr", "weight_decay")


def layers_v0(messages: Sequence[CheckedMessage], collector: Collector) -> list[LayerDef]:
    """The layers of a file in which any `layers` holds a `layer`.

    Refuses (AM307) unknown types and (AM318) a padding that does not stand before one convolution or
    pooling; warns (AM304) of fields that a layer of the type never had, which Caffe drops too.
    """
    padding: dict[str, CheckedMessage] = {}
    found: list[LayerDef] = []
    for message in messages:
        inner = message.message("layer")
        kind = str(inner.value("type")) if inner is not None else ""
        if kind == _PADDING:
            _check_padded(message, kind, padding, collector)
            padding.update({top.name: message for top in blob_names(message, "top")})
            continue
        found.append(layer_v1(message) if inner is None else _layer(message, inner, kind, padding, collector))
        for top in blob_names(message, "top"):
            padding.pop(top.name, None)
    return found


def _layer(
    message: CheckedMessage,
    inner: CheckedMessage,
    kind: str,
    padding: Mapping[str, CheckedMessage],
    collector: Collector,
) -> LayerDef:
    if kind not in V0_TYPES:
        written = inner.field("type")
        help = did_you_mean(kind, V0_TYPES)
        span = written.span if written is not None else inner.span
        collector.add(Diagnostic("AM307", f"`{kind}` is not a layer type of V0 files", span=span, help=help))
    bottoms = _check_padded(message, kind, padding, collector)
    attrs = _attrs(inner, kind, collector)
    if bottoms is not None:
        source = padding[blob_names(message, "bottom")[0].name].message("layer")
        _put(attrs, kind, "pad", source.value("pad") if source is not None else 0)
    for field in message.fields:
        if field.name not in ("layer", "bottom", "top"):
            collector.add(_lost(field, "beside the `layer` of a V0 file"))
    return make_layer(message, V0_TYPES.get(kind, kind), in_schema_order(attrs), named=inner, bottoms=bottoms)


def _attrs(inner: CheckedMessage, kind: str, collector: Collector) -> dict[str, Plain]:
    given = to_plain(inner)
    attrs: dict[str, Plain] = {}
    for name, value in given.items():
        new, kinds = _FIELDS.get(name, (name, ()))
        if kind in kinds:
            _put(attrs, kind, new, value)
        elif name in _TRANSFORM:
            _put_in(attrs, "transform_param", _TRANSFORM[name], value)
        elif (name, kind) == ("hdf5_output_param", "hdf5_output") or name not in inner.descriptor.fields_by_name:
            attrs[name] = value
        elif name not in _ELSEWHERE and (field := inner.field(name)) is not None:
            collector.add(_lost(field, f"in a V0 layer of type `{kind}`"))
    specs = param_specs((), (), _list(given.get("blobs_lr")), _list(given.get("weight_decay")))
    if specs:
        attrs["param"] = specs
    return attrs


def _check_padded(
    message: CheckedMessage, kind: str, padding: Mapping[str, CheckedMessage], collector: Collector
) -> tuple[BlobName, ...] | None:
    """What the layer reads in place of a padded blob; None where it reads none, or must not."""
    bottoms = blob_names(message, "bottom")
    padded = next((bottom for bottom in bottoms if bottom.name in padding), None)
    if padded is None:
        return None
    source = padding[padded.name]
    behind = blob_names(source, "bottom")
    if kind not in _WINDOWED:
        problem = f"a V0 padding may stand before `conv` and `pool` only, not before `{kind}`"
    elif len(bottoms) != 1 or len(behind) != 1:
        problem = "a V0 padding and the layer behind it read one blob each"
    else:
        return behind
    related = (Label(source.span, f"`{padded.name}` is padded here"),)
    collector.add(Diagnostic("AM318", problem, span=padded.span, related=related))
    return None


def _put(attrs: dict[str, Plain], kind: str, field: str, value: Plain) -> None:
    repeated = kind == "conv" and field in _REPEATED
    _put_in(attrs, _PARAMETERS[kind], field, (value,) if repeated else value)


def _put_in(attrs: dict[str, Plain], message: str, field: str, value: Plain) -> None:
    old = attrs.get(message)
    attrs[message] = {**(old if isinstance(old, dict) else {}), field: value}


def _lost(field: CheckedField, where: str) -> Diagnostic:
    text = f"`{field.name}` means nothing {where}; it is dropped, as Caffe's upgrade does"
    return Diagnostic("AM304", text, level=Level.WARNING, span=field.name_span)


def _list(value: Plain | None) -> tuple[Plain, ...]:
    return value if isinstance(value, tuple) else ()
