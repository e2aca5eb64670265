"""V1 files (`layers { type: CONVOLUTION … }`) in today's words, as Caffe's `upgrade_proto.cpp` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from amctc.frontends.caffe.layer_def import STRUCTURE, LayerDef, in_schema_order, make_layer
from amctc.text.checked import CheckedMessage, to_plain
from amctc.text.plain import Plain

V1_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "NONE": "",
        "ABSVAL": "AbsVal",
        "ACCURACY": "Accuracy",
        "ARGMAX": "ArgMax",
        "BNLL": "BNLL",
        "CONCAT": "Concat",
        "CONTRASTIVE_LOSS": "ContrastiveLoss",
        "CONVOLUTION": "Convolution",
        "DATA": "Data",
        "DECONVOLUTION": "Deconvolution",
        "DROPOUT": "Dropout",
        "DUMMY_DATA": "DummyData",
        "ELTWISE": "Eltwise",
        "EUCLIDEAN_LOSS": "EuclideanLoss",
        "EXP": "Exp",
        "FLATTEN": "Flatten",
        "HDF5_DATA": "HDF5Data",
        "HDF5_OUTPUT": "HDF5Output",
        "HINGE_LOSS": "HingeLoss",
        "IM2COL": "Im2col",
        "IMAGE_DATA": "ImageData",
        "INFOGAIN_LOSS": "InfogainLoss",
        "INNER_PRODUCT": "InnerProduct",
        "LRN": "LRN",
        "MEMORY_DATA": "MemoryData",
        "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
        "MVN": "MVN",
        "POOLING": "Pooling",
        "POWER": "Power",
        "RELU": "ReLU",
        "SIGMOID": "Sigmoid",
        "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
        "SILENCE": "Silence",
        "SLICE": "Slice",
        "SOFTMAX": "Softmax",
        "SOFTMAX_LOSS": "SoftmaxWithLoss",
        "SPLIT": "Split",
        "TANH": "TanH",
        "THRESHOLD": "Threshold",
        "WINDOW_DATA": "WindowData",
    }
)
"""The type that each value of the V1 enum has become."""

_TRANSFORM = ("scale", "mirror", "crop_size", "mean_file")
_WITH_TRANSFORM = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
_PARAM_LISTS = ("param", "blob_share_mode", "blobs_lr", "weight_decay")


def layer_v1(message: CheckedMessage) -> LayerDef:
    """The layer of a `layers { … }`; its parameters keep their names and values.

    `blobs_lr`, `weight_decay`, `param` and `blob_share_mode` become `param { … }` messages, and the
    image transformation that data layers once had among their own fields becomes `transform_param`.
    """
    kind = str(message.value("type"))
    kind = V1_TYPES.get(kind, kind)
    given = to_plain(message)
    attrs = {key: value for key, value in given.items() if key not in (*STRUCTURE, *_PARAM_LISTS)}
    specs = param_specs(*(_list(given.get(key)) for key in _PARAM_LISTS))
    if specs:
        attrs["param"] = specs
    return make_layer(message, kind, in_schema_order(_with_transform(kind, attrs)))


def param_specs(
    names: Sequence[Plain], modes: Sequence[Plain], rates: Sequence[Plain], decays: Sequence[Plain]
) -> tuple[Plain, ...]:
    """One `param { … }` for each blob that any of the four lists speaks of."""
    lists = {"name": names, "share_mode": modes, "lr_mult": rates, "decay_mult": decays}
    count = max(map(len, lists.values()))
    return tuple({key: values[i] for key, values in lists.items() if i < len(values)} for i in range(count))


def _with_transform(kind: str, attrs: dict[str, Plain]) -> dict[str, Plain]:
    field = _WITH_TRANSFORM.get(kind, "")
    own = attrs.get(field)
    if not isinstance(own, dict) or not any(key in own for key in _TRANSFORM):
        return attrs
    transform = attrs.get("transform_param")
    moved = {key: own[key] for key in _TRANSFORM if key in own}
    rest = {key: value for key, value in own.items() if key not in _TRANSFORM}
    upgraded: dict[str, Plain] = {**attrs, field: rest}
    upgraded["transform_param"] = {**(transform if isinstance(transform, dict) else {}), **moved}
    return upgraded


def _list(value: Plain | None) -> tuple[Plain, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
