"""Binary nets as text: what is no weight in a serialized `NetParameter` is read as if it were a prototxt."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from amctc.diagnostics import Collector, Diagnostic, Level, error
from amctc.dialects.caffe.schema import NET
from amctc.frontends.caffe.weights import LAYERS, V0_LAYER, V1_LAYERS
from amctc.source import SourceFile
from amctc.text.files import map_file, read_text
from amctc.text.proto_schema import Schema
from amctc.text.wire import LEN, WireError, WireField, walk, write_field

BINARY_ENDINGS = (".caffemodel", ".binaryproto", ".pb")
MAX_STRUCTURE = 4 * 1024 * 1024
"""Bytes of a binary net without its blobs; ten thousand layers have about one million."""
MAX_TEXT = 2 * MAX_STRUCTURE
"""Bytes of a prototxt; reading so many takes seconds, and up to two hundred times as much memory."""

_TYPE, _CONNECTION = 0, 1
_TYPE_BOTTOM_TOP: Mapping[int, Mapping[int, int]] = {
    LAYERS: {2: _TYPE, 3: _CONNECTION, 4: _CONNECTION},
    # A V0 layer, inside a V1 layer, has the type in itself.
    V1_LAYERS: {5: _TYPE, V0_LAYER: _TYPE, 2: _CONNECTION, 3: _CONNECTION},
}
_BLOBS = {LAYERS: (7,), V1_LAYERS: (6,)}
_V0_BLOBS = (50,)
_PROBE = 4096


def read_structure(path: str | Path, collector: Collector, schema: Schema) -> tuple[SourceFile, bool]:
    """A net file as a prototxt, and whether it is a binary one.

    The text of a binary net is protobuf's own, so that diagnostics have something to point at. Fields
    that the schema does not know have no name and are lost, with a warning (AM304). Raises
    `DiagnosticError`: AM310, AM311 for an unreadable binary net, AM330 for one that says nothing of
    its layers' types and connections, and what `read_text` raises.
    """
    if not is_binary_net(path):
        return read_text(path, MAX_TEXT), False
    name = str(path)
    try:
        structure = _without_blobs(map_file(path))
        if not _has_connections(structure):
            help = "give the prototxt first and the caffemodel second"
            raise error("AM330", "a caffemodel alone does not say how its layers are connected", file=name, help=help)
        net = schema.message(NET)()
        net.ParseFromString(structure)
        text = text_format.MessageToString(net, as_utf8=True)
    except (WireError, DecodeError, UnicodeDecodeError) as problem:
        help = "the file is damaged or cut off, or it is not a Caffe net"
        raise error("AM311", f"this is not a readable binary net: {problem}", file=name, help=help) from None
    collector.extend(_lost_fields(net, name))
    return SourceFile(f"{name} (as text)", text), True


def is_binary_net(path: str | Path) -> bool:
    """Whether a file is a binary net: by the ending of its name or, where that is another, by its content."""
    if Path(path).suffix.lower() in BINARY_ENDINGS:
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(_PROBE)
    except OSError:
        return False
    # A serialized net begins with the tag of one of its first fields, a text with a letter or a space.
    if head[:1] not in (b"\n", b"\x12", b"\x1a", b"\xa2"):
        return False
    return any(byte < 0x20 and byte not in b"\t\n\v\f\r" for byte in head)


def _without_blobs(data: memoryview) -> bytes:
    parts: list[bytes] = []
    size = 0
    for field in walk(data):
        written = _layer(field) if field.number in _BLOBS and field.kind == LEN else write_field(field)
        size += len(written)
        if size > MAX_STRUCTURE:
            raise WireError(f"without its weights it has more than the {MAX_STRUCTURE} bytes that are read")
        parts.append(written)
    return b"".join(parts)


def _layer(field: WireField) -> bytes:
    inner = bytearray()
    for part in walk(field.payload):
        if field.number == V1_LAYERS and part.number == V0_LAYER and part.kind == LEN:
            inner += write_field(part._replace(value=memoryview(_copy(part.payload, _V0_BLOBS))))
        elif part.number not in _BLOBS[field.number]:
            inner += write_field(part)
    return write_field(field._replace(value=memoryview(bytes(inner))))


def _copy(data: memoryview, without: Container[int]) -> bytes:
    return b"".join(write_field(field) for field in walk(data) if field.number not in without)


def _has_connections(structure: bytes) -> bool:
    """Whether some layer has a type and some layer a bottom or top."""
    found: set[int] = set()
    for field in walk(memoryview(structure)):
        if field.number in _TYPE_BOTTOM_TOP and field.kind == LEN:
            roles = _TYPE_BOTTOM_TOP[field.number]
            found.update(roles[part.number] for part in walk(field.payload) if part.number in roles)
    return len(found) == 2


def _lost_fields(net: Message, file: str) -> Iterator[Diagnostic]:
    """A warning for each kind of field that the schema does not know, once."""
    found: dict[tuple[str, int], int] = {}
    waiting = [net]
    while waiting:
        message = waiting.pop()
        unknown = UnknownFieldSet(message)
        for index in range(len(unknown)):
            key = (message.DESCRIPTOR.name, unknown[index].field_number)
            found[key] = found.get(key, 0) + 1
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend(value if field.is_repeated else [value])
    for (name, number), count in found.items():
        times = f" ({count} times)" if count > 1 else ""
        text = f"field number {number} of {name} is not known and left out{times}"
        help = "give the prototxt of this net, where the field has a name"
        yield Diagnostic("AM304", text, level=Level.WARNING, file=file, help=help)
