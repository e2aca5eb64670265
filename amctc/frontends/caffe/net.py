"""A Caffe prototxt as data: the layers that are there in phase TEST, with their places in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amctc.diagnostics import Collector, Diagnostic, Level, did_you_mean, error
from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.source import SourceFile, Span
from amctc.text.checked import CheckedMessage, to_plain
from amctc.text.files import read_text
from amctc.text.plain import Plain
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

_STRUCTURE = ("name", "type", "bottom", "top", "blobs")
"""Fields of a layer that become the graph itself; all others are attributes."""


@dataclass(frozen=True)
class BlobName:
    """A blob as a layer names it, and where."""

    name: str
    span: Span


@dataclass(frozen=True)
class LayerDef:
    """One `layer { … }` of a prototxt."""

    name: str
    type: str
    bottoms: tuple[BlobName, ...]
    tops: tuple[BlobName, ...]
    attrs: dict[str, Plain]
    span: Span
    name_span: Span
    type_span: Span


@dataclass(frozen=True)
class NetDef:
    """A prototxt after the phase rules have been applied. `attrs` holds what is said of the whole net."""

    name: str
    layers: tuple[LayerDef, ...]
    attrs: dict[str, Plain]
    source: SourceFile


def read_net(path: str | Path, collector: Collector) -> NetDef:
    """Read a prototxt for inference.

    Layers that the `include` and `exclude` rules leave out of phase TEST (level 0, no stages) are
    dropped, legacy `input` fields become one Input layer. Fields that the schema does not know are
    kept and warned of. Raises `DiagnosticError` for text that is not a net.
    """
    source = read_text(path)
    tree = parse_prototext(source)
    net = check_message(
        tree,
        caffe_schema().descriptor(NET),
        collector,
        unknown_fields="keep",
    )
    collector.raise_errors()
    collector.extend(_unknown_fields(net))
    if net.has("layers"):
        span = net.messages("layers")[0].span
        help = 'rewrite it with `layer { type: "Convolution" … }` (Caffe\'s tool upgrade_net_proto_text does that)'
        raise error("AM300", "this net uses the old V1 `layers` form, which is not read yet", span, help=help)
    layers = [_layer(layer, source) for layer in net.messages("layer") if _is_kept(layer, collector)]
    collector.raise_errors()
    legacy = _legacy_inputs(net, source)
    if legacy is not None:
        layers.insert(0, legacy)
    if not layers:
        raise error("AM301", "this net has no layers in phase TEST", file=source.name)
    return NetDef(str(net.value("name")), tuple(layers), {}, source)


def _layer(layer: CheckedMessage, source: SourceFile) -> LayerDef:
    name, kind = layer.field("name"), layer.field("type")
    head = source.span(layer.span.start, min(layer.span.start + 1, layer.span.end))
    attrs = {key: value for key, value in to_plain(layer).items() if key not in _STRUCTURE}
    return LayerDef(
        name=_layer_name(layer),
        type=str(layer.value("type")),
        bottoms=_blobs(layer, "bottom"),
        tops=_blobs(layer, "top"),
        attrs=attrs,
        span=layer.span,
        name_span=name.span if name is not None else head,
        type_span=kind.span if kind is not None else head,
    )


def _layer_name(layer: CheckedMessage) -> str:
    return str(layer.value("name"))


def _blobs(layer: CheckedMessage, field: str) -> tuple[BlobName, ...]:
    return tuple(BlobName(str(f.value), f.span) for f in layer.fields if f.name == field)


def _is_kept(layer: CheckedMessage, collector: Collector) -> bool:
    """Caffe's rule for phase TEST: any include rule, or no exclude rule, must hold."""
    include, exclude = layer.messages("include"), layer.messages("exclude")
    if include and exclude:
        message = f"layer `{_layer_name(layer)}` has both include and exclude rules; Caffe allows one kind only"
        collector.add(Diagnostic("AM302", message, span=exclude[0].span))
        return False
    if include:
        return any(_holds(rule) for rule in include)
    if any(_holds(rule) for rule in exclude):
        return False
    return not (layer.has("phase") and layer.value("phase") == "TRAIN")


def _holds(rule: CheckedMessage) -> bool:
    if rule.has("phase") and rule.value("phase") != "TEST":
        return False
    if rule.has("min_level") and _int(rule.value("min_level")) > 0:
        return False
    if rule.has("max_level") and _int(rule.value("max_level")) < 0:
        return False
    return not rule.values("stage")


def _legacy_inputs(net: CheckedMessage, source: SourceFile) -> LayerDef | None:
    """`input` with `input_dim` or `input_shape` as the Input layer that Caffe makes of them."""
    names = _blobs(net, "input")
    if not names:
        return None
    dims = [_int(value) for value in net.values("input_dim")]
    shapes = [tuple(_int(dim) for dim in shape.values("dim")) for shape in net.messages("input_shape")]
    span = names[0].span
    if dims and shapes:
        raise error("AM303", "the net gives both `input_dim` and `input_shape`", span)
    if dims and len(dims) != 4 * len(names):
        message = f"{len(names)} inputs need {4 * len(names)} `input_dim` values, there are {len(dims)}"
        raise error("AM303", message, span)
    if dims:
        shapes = [tuple(dims[4 * i : 4 * i + 4]) for i in range(len(names))]
    if len(shapes) != len(names):
        message = f"{len(names)} inputs need as many `input_shape` values, there are {len(shapes)}"
        raise error("AM303", message, span, help="give `input_shape { dim: … }` for every `input`")
    dimensions: list[Plain] = [{"dim": shape} for shape in shapes]
    parameter: dict[str, Plain] = {"shape": tuple(dimensions)}
    return LayerDef("input", "Input", (), names, {"input_param": parameter}, span, span, span)


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"the schema promises an integer, not {value!r}")
    return value


def _unknown_fields(message: CheckedMessage) -> Iterator[Diagnostic]:
    known = [field.name for field in message.descriptor.fields]
    for field in message.unknown:
        text = f"`{field.name}` is not a field of {message.descriptor.name}; it is kept but has no effect here"
        help = did_you_mean(field.name, known)
        yield Diagnostic("AM304", text, level=Level.WARNING, span=field.name_span, help=help)
    for checked in message.fields:
        if isinstance(checked.value, CheckedMessage):
            yield from _unknown_fields(checked.value)
