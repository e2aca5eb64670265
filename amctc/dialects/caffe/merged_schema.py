"""The messages of Caffe's files merged from texts: our own, and a user's with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from lark import Token

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label
from amctc.dialects.caffe.schema import caffe_schema, own_texts
from amctc.source import SourceFile
from amctc.text.compiled_schema import stamped
from amctc.text.files import read_text
from amctc.text.proto_compiler import parse_schema
from amctc.text.proto_decls import ProtoFile
from amctc.text.proto_merge import merge_protos
from amctc.text.proto_parts import MergeRules, ProtoPart, Standing
from amctc.text.proto_schema import Schema
from amctc.text.proto_splice import SplicedText
from amctc.text.proto_syntax import parse_proto
from amctc.text.syntax import token_span

MAX_PROTO_BYTES = 1 << 18
"""Of a user's file; Caffe's own has 60 KB. Reading this many takes seconds."""

_STANDING = (
    ("Caffe's caffe.proto", Standing.BASE),
    ("ATC's caffe.proto", Standing.FORK),
    ("amctc's layers.proto", Standing.FILLING),
    ("AMCT's amct_custom.proto", Standing.RESERVED),
)
"""Whose each of `OWN_PROTOS` is, and what counts where two files differ."""

_EVERY_LAYER = "name type bottom top loss_weight param blobs include exclude phase propagate_down"
_OF_NETS = (
    "NetParameter NetState NetStateRule Phase ParamSpec BlobProto BlobShape BlobProtoVector "
    "V1LayerParameter V0LayerParameter"
)
_OF_AMCT = (
    "QuantParameter DeQuantParameter IFMRParameter LSTMQuantParameter SearchNParameter "
    "RetrainDataQuantParameter RetrainWeightQuantParameter SingleLayerRecord ScaleOffsetRecord"
)
_RULES = MergeRules(
    unified="LayerParameter",
    fixed_fields=frozenset(_EVERY_LAYER.split()),
    fixed_messages=frozenset(_OF_NETS.split()),
    reserved_messages=frozenset(_OF_AMCT.split()),
    reserved_by="AMCT's amct_custom.proto",
)


def compile_caffe_schema() -> bytes:
    """What `COMPILED` should hold: a `FileDescriptorProto`, stamped with the texts it was made from."""
    (descriptor,) = merged_own().files
    return stamped(descriptor, own_texts())


def merged_own() -> Schema:
    """The schema of our own texts, from the texts."""
    return _compile(_merge(_own_parts(), Collector()), ())


def schema_with(custom_protos: Sequence[str | Path], collector: Collector) -> Schema:
    """The schema with the messages and layer fields of users' files, one merged after the other.

    A file that declares `NetParameter` is the whole caffe.proto of some Caffe: what it says of layers takes the place
    of what BVLC's and ATC's say. Warnings go to `collector`. Raises `DiagnosticError` with every
    mistake: AM100 to AM105 unreadable files, AM120 to AM126 from their declarations, AM140 to AM145
    where they clash with ours.
    """
    if not custom_protos:
        return caffe_schema()
    given = _read(custom_protos, collector)
    forks = [part for part in given if _is_whole(part.file)]
    own = _own_parts()
    parts = (*own[:2], *forks, *own[2:], *(part for part in given if part not in forks))
    return _compile(_merge(parts, collector), given)


def merge_caffe_proto(custom_protos: Sequence[str | Path], base: str | Path | None, collector: Collector) -> str:
    """A caffe.proto that holds AMCT's and the users' layers beside those of `base`, or of Caffe and ATC.

    Warnings and errors as with `schema_with`; a base without `LayerParameter` is AM144.
    """
    given = _read(custom_protos, collector, Standing.CUSTOM)
    parts = (*_own_parts(), *given)
    if base is not None:
        parts = (*_read([base], collector, Standing.BASE), *_own_parts()[2:], *given)
    merged = _merge(parts, collector)
    _compile(merged, given)
    return merged.source.text


def _read(paths: Iterable[str | Path], collector: Collector, standing: Standing | None = None) -> tuple[ProtoPart, ...]:
    """The users' files as parts of a merge; a whole caffe.proto is a fork unless `standing` says otherwise."""
    parts: list[ProtoPart] = []
    for path in paths:
        try:
            file = parse_proto(read_text(path, MAX_PROTO_BYTES))
        except DiagnosticError as mistakes:
            collector.extend(mistakes.diagnostics)
            continue
        own = standing or (Standing.FORK if _is_whole(file) else Standing.CUSTOM)
        parts.append(ProtoPart(file, f"`{file.source.name}`", own))
    collector.raise_errors()
    return tuple(parts)


def _is_whole(file: ProtoFile) -> bool:
    return any(message.name == "NetParameter" for message in file.messages)


@cache
def _own_parts() -> tuple[ProtoPart, ...]:
    own = zip(own_texts(), _STANDING, strict=True)
    return tuple(ProtoPart(parse_proto(text), owner, standing) for text, (owner, standing) in own)


def _merge(parts: Sequence[ProtoPart], collector: Collector) -> SplicedText:
    merged = merge_protos(parts, _RULES, collector, "caffe.proto")
    collector.raise_errors()
    return merged


def _compile(merged: SplicedText, given: Sequence[ProtoPart]) -> Schema:
    try:
        return parse_schema(merged.source)
    except DiagnosticError as mistakes:
        found = [_explained(merged.restore(diagnostic), given) for diagnostic in mistakes.diagnostics]
        # What else is wrong in our own texts follows from what the user's messages lack.
        users = [diagnostic for diagnostic in found if _is_in(diagnostic, given)]
        raise DiagnosticError(*(users or found)) from None


def _explained(diagnostic: Diagnostic, given: Sequence[ProtoPart]) -> Diagnostic:
    """What is missing in a file of ours is missing because the user's message took the place of ours."""
    span = diagnostic.span
    if span is None or diagnostic.code != "AM121" or _is_in(diagnostic, given):
        return diagnostic
    outer, _, inner = span.text.rpartition(".")
    for source, name in _message_names(given):
        if name == outer:
            message = f"`{outer}` lacks `{inner}`, which the message of `{span.source.name}` in its place declares"
            related = (Label(span, "used here"),)
            help = f"declare `{inner}` in your message, too"
            return Diagnostic("AM145", message, span=token_span(source, name), related=related, help=help)
    return diagnostic


def _is_in(diagnostic: Diagnostic, parts: Sequence[ProtoPart]) -> bool:
    return any(diagnostic.span is not None and diagnostic.span.source is part.file.source for part in parts)


def _message_names(parts: Sequence[ProtoPart]) -> Iterator[tuple[SourceFile, Token]]:
    for part in parts:
        for message in part.file.messages:
            yield part.file.source, message.name
