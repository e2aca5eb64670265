"""A layer as a net file defines it, in the words of today's `layer { … }`, with its places in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from amctc.dialects.caffe.schema import LAYER, caffe_schema
from amctc.source import Span
from amctc.text.checked import CheckedMessage, to_plain
from amctc.text.plain import Plain

STRUCTURE = ("name", "type", "bottom", "top", "blobs")
"""Fields of a layer that become the graph itself; all others are attributes."""


@dataclass(frozen=True)
class BlobName:
    """A blob as a layer names it, and where."""

    name: str
    span: Span


@dataclass(frozen=True)
class LayerDef:
    """One layer. `attrs` holds its other fields, as a V2 file would have them, whatever the file's own form."""

    name: str
    type: str
    bottoms: tuple[BlobName, ...]
    tops: tuple[BlobName, ...]
    attrs: dict[str, Plain]
    span: Span
    name_span: Span
    type_span: Span


def make_layer(
    message: CheckedMessage,
    type: str,
    attrs: Mapping[str, Plain],
    named: CheckedMessage | None = None,
    bottoms: tuple[BlobName, ...] | None = None,
) -> LayerDef:
    """A layer with the bottoms and tops of a message, and the name (and its place) of `named`."""
    inner = named if named is not None else message
    name, kind = inner.field("name"), inner.field("type")
    head = Span(message.span.source, message.span.start, min(message.span.start + 1, message.span.end))
    return LayerDef(
        name=str(inner.value("name")),
        type=type,
        bottoms=blob_names(message, "bottom") if bottoms is None else bottoms,
        tops=blob_names(message, "top"),
        attrs=dict(attrs),
        span=message.span,
        name_span=name.span if name is not None else head,
        type_span=kind.span if kind is not None else head,
    )


def layer_v2(message: CheckedMessage) -> LayerDef:
    """The layer of a `layer { … }`."""
    attrs = {key: value for key, value in to_plain(message).items() if key not in STRUCTURE}
    return make_layer(message, str(message.value("type")), attrs)


def blob_names(message: CheckedMessage, field: str) -> tuple[BlobName, ...]:
    return tuple(BlobName(str(entry.value), entry.span) for entry in message.occurrences(field))


def in_schema_order(attrs: Mapping[str, Plain]) -> dict[str, Plain]:
    """Upgraded fields in the order in which Caffe's own upgrade writes them; unknown ones come last."""
    order = _order()
    return dict(sorted(attrs.items(), key=lambda item: order.get(item[0], len(order))))


@cache
def _order() -> Mapping[str, int]:
    fields = sorted(caffe_schema().descriptor(LAYER).fields, key=lambda field: field.number)
    return {field.name: index for index, field in enumerate(fields)}
