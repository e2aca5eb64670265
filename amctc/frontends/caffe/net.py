"""A Caffe net file as data: the layers that are there in one state, in today's words, with their places in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from amctc.diagnostics import Collector, Diagnostic, Label, Level, error
from amctc.dialects.caffe.schema import LAYER, NET, caffe_schema
from amctc.dialects.custom import is_registered_type
from amctc.frontends.caffe.binary_net import read_structure
from amctc.frontends.caffe.layer_def import LayerDef, layer_v2
from amctc.frontends.caffe.nearest_name import nearest_name
from amctc.frontends.caffe.net_state import NetState
from amctc.frontends.caffe.upgrade_net import input_layer, upgrade_batch_norm
from amctc.frontends.caffe.upgrade_v0 import layers_v0
from amctc.frontends.caffe.upgrade_v1 import layer_v1
from amctc.source import SourceFile
from amctc.text.checked import CheckedMessage, to_plain
from amctc.text.plain import Plain, Symbol
from amctc.text.proto_schema import Schema
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

_STRUCTURE = ("name", "layer", "layers", "input", "input_dim", "input_shape")
"""Fields of a net that become the graph itself; all others are attributes."""

_MOST_MAKERS = 4
"""So many layers that are not there are named for a blob that is missing."""


@dataclass(frozen=True)
class NetDef:
    """A net file in one state. `attrs` holds what is said of the whole net: `state`, `debug_info`, unknown fields."""

    name: str
    layers: tuple[LayerDef, ...]
    attrs: dict[str, Plain]
    source: SourceFile
    state: NetState
    left_out: tuple[LayerDef, ...]
    """Layers that are not there in this state."""
    binary: bool = False
    """Whether the file is a binary net, which may hold the weights too."""

    def makers_left_out(self, blob: str) -> str | None:
        """Words about layers that produce a blob, but not in this state; None where there are none."""
        makers = [layer for layer in self.left_out if any(top.name == blob for top in layer.tops)]
        words = [f"`{layer.name}` produces it {self.state.lacking(layer.attrs)}" for layer in makers[:_MOST_MAKERS]]
        return "; ".join(words) or None


@dataclass(frozen=True)
class NetFile:
    """A net file with the layers of all states, in today's words and in their order. `attrs` are as in `NetDef`."""

    name: str
    layers: tuple[LayerDef, ...]
    attrs: dict[str, Plain]
    source: SourceFile
    binary: bool

    @property
    def written_state(self) -> dict[str, Plain]:
        """The file's own `state`."""
        written = self.attrs.get("state")
        return written if isinstance(written, dict) else {}

    def stated(self, state: NetState) -> NetState:
        """A state with the stages that the file always sets."""
        stages = self.written_state.get("stage")
        return state.with_stages(str(name) for name in (stages if isinstance(stages, tuple) else ()))


def read_net(
    path: str | Path | NetFile, collector: Collector, state: NetState | None = None, schema: Schema | None = None
) -> NetDef:
    """Read a net file, text or binary, of any age, or one that has been read, for a state (default: to be run).

    The phase and level of `state` replace those of the file, its stages are added to the file's, as
    in Caffe. V0 and V1 layers, `input` fields and BatchNorm's old params are upgraded as Caffe does
    it. Layers that the `include` and `exclude` rules leave out are dropped. Fields that the schema
    does not know are kept and warned of; it is Caffe's, with a user's messages if `schema` has them.
    Raises `DiagnosticError` (AM1xx, AM3xx) for what is no net.
    """
    file = path if isinstance(path, NetFile) else read_net_file(path, collector, schema)
    state = file.stated(state or NetState())
    attrs = dict(file.attrs)
    described = state.described(file.written_state)
    if described:
        attrs["state"] = described
    kept = tuple(_in_phase(layer, state, file.binary) for layer in file.layers if state.keeps(layer.attrs))
    if not kept:
        raise error("AM301", f"this net has no layers in phase {state.phase}", file=file.source.name)
    left_out = tuple(layer for layer in file.layers if not state.keeps(layer.attrs))
    return NetDef(file.name, kept, attrs, file.source, state, left_out, file.binary)


def read_net_file(path: str | Path, collector: Collector, schema: Schema | None = None) -> NetFile:
    """All layers of a net file, whatever state they are for; raises as `read_net` does."""
    schema = schema or caffe_schema()
    source, binary = read_structure(path, collector, schema)
    return _checked(source, collector, schema, binary=binary)


def parse_net_file(source: SourceFile, collector: Collector) -> NetFile:
    """All layers of the text of a net; raises as `read_net` does."""
    return _checked(source, collector, caffe_schema(), binary=False)


def _checked(source: SourceFile, collector: Collector, schema: Schema, *, binary: bool) -> NetFile:
    net = check_message(parse_prototext(source), schema.descriptor(NET), collector, unknown_fields="keep")
    collector.raise_errors()
    return net_file_of(net, source, binary=binary, collector=collector)


def net_file_of(net: CheckedMessage, source: SourceFile, *, binary: bool, collector: Collector) -> NetFile:
    """All layers of a checked `NetParameter`, which may be a part of a larger `source`. Raises as `read_net` does."""
    _warn_of_unknown_fields(net, collector)
    layers = _all_layers(net, collector)
    collector.raise_errors()
    attrs = to_plain(replace(net, fields=tuple(field for field in net.fields if field.name not in _STRUCTURE)))
    return NetFile(str(net.value("name")), tuple(layers), attrs, source, binary)


def _all_layers(net: CheckedMessage, collector: Collector) -> list[LayerDef]:
    new, old = net.messages("layer"), net.messages("layers")
    if new and old:
        message = "this net has both `layer` (today's form) and `layers` (the V1 form)"
        related = (Label(new[0].span, "the first `layer`"),)
        raise error("AM300", message, old[0].span, related=related, help="write all of them as `layer { … }`")
    for layer in (*new, *old):
        _check_rules(layer, collector)
    if any(layer.has("layer") for layer in old):
        layers = layers_v0(old, collector)
    else:
        layers = [layer_v1(layer) for layer in old] or [layer_v2(layer) for layer in new]
    first = input_layer(net)
    return upgrade_batch_norm([first, *layers] if first is not None else layers)


def _check_rules(layer: CheckedMessage, collector: Collector) -> None:
    exclude = layer.messages("exclude")
    if exclude and layer.messages("include"):
        name = str(layer.value("name"))
        message = f"layer `{name}` has both include and exclude rules; Caffe allows one kind only"
        collector.add(Diagnostic("AM302", message, span=exclude[0].span))


def _in_phase(layer: LayerDef, state: NetState, binary: bool) -> LayerDef:
    """The layer with the phase it computes in, where that is not TEST.

    A layer's own phase counts before the net's, as in Caffe. Only in a binary net it does not: Caffe
    writes the phase of the training run into every layer of a snapshot.
    """
    if binary:
        layer = replace(layer, attrs={key: value for key, value in layer.attrs.items() if key != "phase"})
    if state.phase == "TEST" or "phase" in layer.attrs:
        return layer
    return replace(layer, attrs={**layer.attrs, "phase": Symbol(state.phase)})


def _warn_of_unknown_fields(message: CheckedMessage, collector: Collector) -> None:
    if message.descriptor.full_name == LAYER and is_registered_type(str(message.value("type"))):
        return  # the parameters of a custom layer are for its host op to read
    for field in message.unknown:
        text = f"`{field.name}` is not a field of {message.descriptor.name}; it is kept but has no effect here"
        help = nearest_name(field.name, message.descriptor.fields_by_name, collector)
        collector.add(Diagnostic("AM304", text, level=Level.WARNING, span=field.name_span, help=help))
    for checked in message.fields:
        if isinstance(checked.value, CheckedMessage):
            _warn_of_unknown_fields(checked.value, collector)
