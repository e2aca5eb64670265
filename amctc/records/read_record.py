"""Reading a scale and offset record, and putting new factors into one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label, Level, error
from amctc.output import write_files
from amctc.quant.half_precision import HALF_PRECISION, USUAL_PRECISION
from amctc.records.kv_cache import read_kv_cache
from amctc.records.scale_record import BITS, InputRecord, LayerRecord, Places, ScaleRecord, record_text
from amctc.source import SourceFile, Span
from amctc.text.bulk import building
from amctc.text.checked import CheckedField, CheckedMessage
from amctc.text.files import read_text
from amctc.text.proto_schema import load_schema
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

T = TypeVar("T")

MOST_BYTES = 1 << 24
"""A record of more bytes is not read: ten million bytes hold the factors of half a million channels."""

BITS_OF_WORD = MappingProxyType({"INT4": 4, "INT6": 6, "INT7": 7, "INT8": 8, "INT16": 16})
"""By the word that stands for a type in a record for PyTorch models."""

_FLAT = ("scale_d", "offset_d", "channels", "height", "width")
"""Fields of a data input that the older form has directly in `value`."""

_PIECES = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|[{}]|\brecord\b(?=\s{0,80}:?\s{0,80}\{)')


def read_record(path: str | Path, collector: Collector | None = None) -> ScaleRecord:
    """The record in a text file, in the manual's form or the older one with the factors directly in `value`.

    Warnings (AM604) go to `collector`. Raises `DiagnosticError` with every mistake at its place: AM100 to AM105 from
    reading, AM110 to AM114 for what does not fit the schema, AM286, AM600 braces that do not match, AM601 to AM603.
    """
    return parse_record(read_text(path, MOST_BYTES), collector)


def parse_record(source: SourceFile, collector: Collector | None = None) -> ScaleRecord:
    """The record of a text that has been read; raises as `read_record` does."""
    with building():  # what is built is bounded by the size of the text, which reading bounds
        return _parse(source, collector)


def _parse(source: SourceFile, collector: Collector | None) -> ScaleRecord:
    own = collector if collector is not None else Collector()
    try:
        tree = parse_prototext(source)
    except DiagnosticError as mistake:
        is_syntax = all(found.code == "AM101" for found in mistake.diagnostics)
        raise (_unbalanced(source) if is_syntax else None) or mistake from None
    descriptor = load_schema("amct_record.proto").descriptor("amct_record.ScaleOffsetRecord")
    message = check_message(tree, descriptor, own, unknown_fields="error", hint=_hint)
    own.raise_errors()
    layers = tuple(layer for entry in message.occurrences("record") for layer in _entry(entry, own))
    _report_twice(layers, own)
    own.raise_errors()
    return ScaleRecord(layers, source)


def merge_into(path: str | Path, entries: Iterable[LayerRecord], order: Sequence[str] = ()) -> ScaleRecord:
    """Put factors into the record at a path, keep what else it says, and write it whole; gives what is written.

    Of a layer that is there already, the weights and each data input that an entry has replace those of the file.
    New layers come behind the others; then those that `order` names are put in its order. A file that is not there
    is as good as an empty one. Raises `DiagnosticError` as `read_record` does, and AM700 where the file cannot be
    written; it is then what it was.
    """
    place = Path(path)
    old = read_record(place).layers if place.exists() else ()
    layers = {layer.name: layer for layer in old}
    for entry in entries:
        layers[entry.name] = _joined(layers[entry.name], entry) if entry.name in layers else entry
    ranks = {name: rank for rank, name in enumerate(order)}
    merged = tuple(sorted(layers.values(), key=lambda layer: ranks.get(layer.name, len(ranks))))
    write_files({place: record_text(merged).encode()})
    return ScaleRecord(merged)


def _joined(old: LayerRecord, new: LayerRecord) -> LayerRecord:
    inputs = {given.index: given for given in (*old.inputs, *new.inputs)}
    joined = replace(
        old,
        inputs=tuple(inputs[index] for index in sorted(inputs)),
        skip_fusion=old.skip_fusion or new.skip_fusion,
        object_layer=new.object_layer if new.object_layer is not None else old.object_layer,
        kv_cache=new.kv_cache if new.kv_cache is not None else old.kv_cache,
        precision_mode=new.precision_mode if new.inputs else old.precision_mode,
    )
    if new.balance:
        joined = replace(joined, balance=new.balance, balance_folded=new.balance_folded)
    if not new.scale_w:
        return joined
    return replace(joined, scale_w=new.scale_w, offset_w=new.offset_w, bits_w=new.bits_w, cluster=new.cluster)


def _entry(entry: CheckedField, collector: Collector) -> Iterator[LayerRecord]:
    message = entry.value
    if not isinstance(message, CheckedMessage):
        return
    _warn_of_repeated(message, collector)
    key, value, cache = message.field("key"), message.message("value"), message.message("kv_cache_value")
    if key is not None and value is None and cache is not None:
        yield LayerRecord(str(key.value), kv_cache=read_kv_cache(str(key.value), cache, collector), span=key.span)
        return
    if key is None or value is None:
        missing = "key" if key is None else "value"
        text = f"this `record` has no `{missing}`, so it says nothing of any layer"
        collector.add(Diagnostic("AM601", text, span=entry.name_span))
        return
    _warn_of_repeated(value, collector)
    yield LayerRecord(
        name=str(key.value),
        inputs=tuple(_inputs(value, collector)),
        scale_w=tuple(_float32(scale) for scale in value.values("scale_w")),
        offset_w=tuple(int(offset) for offset in value.values("offset_w")),
        bits_w=_bits(value, "wts_type", collector) or int(value.value("num_bits_w")),
        cluster=tuple(int(level) for level in value.values("cluster")),
        balance=tuple(_float32(factor) for factor in value.values("tensor_balance_factor")),
        balance_folded=bool(value.value("balance_folded")),
        precision_mode=_precision_mode(value, collector),
        skip_fusion=bool(value.value("skip_fusion")),
        shift_bit=tuple(int(shift) for shift in value.values("shift_bit")),
        object_layer=str(value.value("object_layer")) if value.has("object_layer") else None,
        kv_cache=read_kv_cache(str(key.value), cache, collector) if cache is not None else None,
        places=_places(value.fields),
        span=key.span,
    )


def _precision_mode(value: CheckedMessage, collector: Collector) -> str | None:
    """The precision mode, None for the usual one; AM608 for one that there is not."""
    mode = str(value.value("fakequant_precision_mode")) if value.has("fakequant_precision_mode") else USUAL_PRECISION
    if mode == USUAL_PRECISION:
        return None
    if mode != HALF_PRECISION:
        span = next((each.span for each in value.fields if each.name == "fakequant_precision_mode"), None)
        text = f"`{mode[:40]}` is no precision mode"
        help = f"write {USUAL_PRECISION} or {HALF_PRECISION}"
        collector.add(Diagnostic("AM608", text, span=span, help=help))
    return mode


def _inputs(value: CheckedMessage, collector: Collector) -> Iterator[InputRecord]:
    found: dict[int, InputRecord] = {}
    for given in (*_flat(value, collector), *(_input(message) for message in value.messages("record_d"))):
        first = found.setdefault(given.index, given)
        if first is not given:
            span, told = given.place("index"), first.place("index")
            related = (Label(told, "here first"),) if told is not None else ()
            text = f"input {given.index} of this layer has factors twice"
            help = "keep one of them; factors directly in `value`, the older form, are those of input 0"
            collector.add(Diagnostic("AM603", text, span=span, related=related, help=help))
    for message in value.messages("record_d"):
        _warn_of_repeated(message, collector)
    yield from found.values()


def _flat(value: CheckedMessage, collector: Collector) -> Iterator[InputRecord]:
    """Input 0 of the older form, and of that for PyTorch models, where the value has it."""
    fields = tuple(field for field in value.fields if field.name in _FLAT)
    if fields:
        factors = _factors(0, value, _places(fields), fields[0].name_span)
        yield replace(factors, bits=_bits(value, "act_type", collector) or factors.bits)


def _bits(value: CheckedMessage, field: str, collector: Collector) -> int | None:
    """The bits that a type is of, in the words of the records for PyTorch models; None where nothing is said.

    `dst_type` is an older field for data and weights alike.
    """
    name = next((name for name in (field, "dst_type") if value.has(name)), None)
    if name is None:
        return None
    word = str(value.value(name))
    if word in BITS_OF_WORD:
        return BITS_OF_WORD[word]
    span = next((each.span for each in value.fields if each.name == name), None)
    help = f"one of {', '.join(BITS_OF_WORD)}"
    collector.add(Diagnostic("AM607", f"`{name}` is no type that integers have: `{word[:40]}`", span=span, help=help))
    return None


def _input(message: CheckedMessage) -> InputRecord:
    return _factors(int(message.value("index")), message, _places(message.fields), message.span)


def _factors(index: int, message: CheckedMessage, places: Places, span: Span) -> InputRecord:
    def number(name: str) -> int | None:
        return int(message.value(name)) if message.has(name) else None

    return InputRecord(
        index,
        scale=_float32(message.value("scale_d")) if message.has("scale_d") else None,
        offset=number("offset_d"),
        bits=(number("num_bits_d") or 0) if "num_bits_d" in places else BITS,
        channels=number("channels"),
        height=number("height"),
        width=number("width"),
        places=places,
        span=span,
    )


def _places(fields: Iterable[CheckedField]) -> Places:
    found: dict[str, list[Span]] = {}
    for field in fields:
        found.setdefault(field.name, []).append(field.span)
    return {name: tuple(spans) for name, spans in found.items()}


def _float32(value: object) -> float:
    """The number of a `float` field: reading keeps the shortest decimal of it, here it is exact."""
    return float(np.float32(value)) if isinstance(value, int | float) else 0.0


def _warn_of_repeated(message: CheckedMessage, collector: Collector) -> None:
    """Protobuf lets the last of several count; so does the manual, which leaves it to the user to see to it."""
    first: dict[str, CheckedField] = {}
    for field in message.fields:
        earlier = first.setdefault(field.name, field)
        if field is not earlier and not field.repeated:
            text = f"`{field.name}` is written more than once; the last one counts"
            related = (Label(earlier.name_span, "here first"),)
            help = "keep one of them"
            collector.add(Diagnostic("AM604", text, Level.WARNING, field.name_span, related=related, help=help))


def _report_twice(layers: Sequence[LayerRecord], collector: Collector) -> None:
    first: dict[str, LayerRecord] = {}
    for layer in layers:
        earlier = first.setdefault(layer.name, layer)
        if earlier is not layer and layer.span is not None and earlier.span is not None:
            related = (Label(earlier.span, "here first"),)
            text = f"the record has the layer `{layer.name}` twice"
            collector.add(Diagnostic("AM602", text, span=layer.span, related=related, help="keep one of them"))


def _hint(descriptor: object, name: str) -> str | None:
    return "a `}` is missing before it, to close the record in front" if name == "record" else None


def _unbalanced(source: SourceFile) -> DiagnosticError | None:
    """AM600 for a `record` that begins inside another, or whose braces are never closed; None for other mistakes."""
    open_at: list[int] = []
    record = 0
    for piece in _PIECES.finditer(source.text):
        if piece[0] == "{":
            open_at.append(piece.start())
        elif piece[0] == "}":
            if not open_at:
                return _missing(source, piece.start(), piece.end(), "this `}` closes nothing", "take it out")
            open_at.pop()
        elif piece[0] == "record":
            if open_at:
                text = f"this `record` begins inside that of line {source.position(record)[0]}"
                return _missing(source, piece.start(), piece.end(), text, "a `}` is missing before it")
            record = piece.start()
    if not open_at:
        return None
    text = "this brace is never closed"
    return _missing(source, open_at[-1], open_at[-1] + 1, text, "a `}` is missing at the end of the file")


def _missing(source: SourceFile, start: int, end: int, text: str, help: str) -> DiagnosticError:
    return error("AM600", text, source.span(start, end), help=help)
