"""What there is to say of a field of a policy: its type, range and default, and the comment that declares it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from amctc.lsp.comments import said
from amctc.lsp.cursor import Message
from amctc.policy.flavours import FLAVOURS, Flavour, recognise
from amctc.policy.limits import FLAVOUR_LIMITS
from amctc.policy.settings import ACTIVATION_OFFSET, ARQ_BITS, BATCH_NUM, BN_UPDATE, DO_FUSION, IFMR, UPDATE_BN
from amctc.source import SourceFile
from amctc.text.proto_decls import EnumDecl, FieldDecl, MessageDecl
from amctc.text.proto_schema import own_proto
from amctc.text.proto_syntax import parse_proto
from amctc.text.prototext_tree import TextMessage

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_BOOL: "bool",
        FieldDescriptor.CPPTYPE_STRING: "string",
        FieldDescriptor.CPPTYPE_FLOAT: "float",
        FieldDescriptor.CPPTYPE_DOUBLE: "double",
        FieldDescriptor.CPPTYPE_INT32: "int32",
        FieldDescriptor.CPPTYPE_INT64: "int64",
        FieldDescriptor.CPPTYPE_UINT32: "uint32",
        FieldDescriptor.CPPTYPE_UINT64: "uint64",
    }
)

_DEFAULTS: Mapping[str, bool | int | float | str] = MappingProxyType(
    {
        "batch_num": BATCH_NUM,
        "activation_offset": ACTIVATION_OFFSET,
        "do_fusion": DO_FUSION,
        "update_bn": UPDATE_BN,
        "bn_update_config.bn_update_iterations": BN_UPDATE.iterations,
        "bn_update_config.bn_moving_average_fraction": BN_UPDATE.fraction,
        "ifmr_quantize.search_range_start": IFMR.search_range[0],
        "ifmr_quantize.search_range_end": IFMR.search_range[1],
        "ifmr_quantize.search_step": IFMR.search_step,
        "ifmr_quantize.max_percentile": IFMR.max_percentile,
        "ifmr_quantize.min_percentile": IFMR.min_percentile,
        "ifmr_quantize.num_bits": IFMR.bits,
        "arq_quantize.channel_wise": "that of the layer type",
        "arq_quantize.num_bits": ARQ_BITS,
    }
)
"""Of the flavour `caffe`, where its schema states none; the keys are those of `LIMITS`."""

_COMMENT_LINE = re.compile(r"[ \t]*//[ \t]?(.*)")
_ABOUT_NUMBERS = re.compile(r"(?:all )?numbers?\b.*\bours\.?|ours\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Field:
    """A field of a message, and what is known of it.

    `range` and `default` are empty where there is none; `doc` is the comment of its declaration.
    """

    name: str
    descriptor: FieldDescriptor
    range: str
    default: str
    doc: str = ""

    @property
    def type(self) -> str:
        """`uint32`, `message ARQuantize`, `enum DataType`."""
        if self.descriptor.message_type is not None:
            return f"message {self.descriptor.message_type.name}"
        if self.descriptor.enum_type is not None:
            return f"enum {self.descriptor.enum_type.name}"
        return _TYPES[self.descriptor.cpp_type]

    @property
    def times(self) -> str:
        """How often the field may stand in its message."""
        if self.descriptor.is_repeated:
            return "any number of times"
        return "required" if self.descriptor.is_required else ""

    @property
    def message(self) -> str:
        """The name of the message that the field is in."""
        owner = self.descriptor.containing_type
        return owner.name if owner is not None else ""

    @property
    def is_message(self) -> bool:
        return self.descriptor.message_type is not None

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are values of the field: those of its enum, or of a truth value."""
        if self.descriptor.enum_type is not None:
            return tuple(value.name for value in self.descriptor.enum_type.values)
        return ("true", "false") if self.descriptor.cpp_type == FieldDescriptor.CPPTYPE_BOOL else ()


def flavour_of(text: str, names: TextMessage) -> Flavour:
    """The flavour of a policy that may be half written, of which `names` is the `rough_tree`.

    It is the one that a comment states, or the one that the fields are of.
    """
    stated = said(SourceFile("", text), "flavour")
    return FLAVOURS.get(stated.text if stated is not None else "") or recognise(names)


def descriptor_at(flavour: Flavour, path: tuple[str, ...]) -> Descriptor | None:
    """The message at a path of field names from the root; None where there is none."""
    descriptor = flavour.descriptor
    for name in path:
        found = descriptor.fields_by_name.get(name)
        if found is None or found.message_type is None:
            return None
        descriptor = found.message_type
    return descriptor


def fields_at(flavour: Flavour, path: tuple[str, ...]) -> tuple[Field, ...]:
    """The fields of the message at a path, in the order of the schema; none where there is no such message."""
    descriptor = descriptor_at(flavour, path)
    return tuple(_field(flavour, path, found) for found in descriptor.fields) if descriptor is not None else ()


def field_at(flavour: Flavour, path: tuple[str, ...], name: str) -> Field | None:
    """One field of the message at a path."""
    return next((found for found in fields_at(flavour, path) if found.name == name), None)


def open_fields(fields: tuple[Field, ...], message: Message, besides: int) -> Iterator[Field]:
    """The fields that may still be written in a message; a name that begins at `besides` is not looked at."""
    written = {name for name, start in message.written if start != besides}
    for found in fields:
        oneof = found.descriptor.containing_oneof
        taken = {other.name for other in oneof.fields} if oneof is not None else {found.name}
        if found.descriptor.is_repeated or not taken & written:
            yield found


def _field(flavour: Flavour, path: tuple[str, ...], descriptor: FieldDescriptor) -> Field:
    key = f"{path[-1]}.{descriptor.name}" if path else descriptor.name
    limits = FLAVOUR_LIMITS[flavour.name].get(key)
    default = _DEFAULTS.get(key) if flavour.name == "caffe" else None
    if descriptor.has_default_value:
        default = descriptor.default_value
        if descriptor.enum_type is not None:
            default = descriptor.enum_type.values_by_number[int(default)].name
    shown = "" if default is None else _word(default)
    field = Field(descriptor.name, descriptor, str(limits or ""), shown)
    return replace(field, doc=comments(flavour.cfg_schema).get(f"{field.message}.{field.name}", ""))


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@cache
def comments(schema: str) -> Mapping[str, str]:
    """The comments of the fields and enum values of one of our `.proto` files, by `Message.field` and `Enum.VALUE`.

    Such a comment stands on the lines above the declaration or on its own line after it. What it says of
    field numbers is left out: they are not written in a policy.
    """
    file = parse_proto(own_proto(schema))
    text = file.source.text
    found: dict[str, str] = {}

    def read(message: MessageDecl) -> None:
        for member in message.members:
            for decl in (member,) if isinstance(member, FieldDecl) else member.fields:
                found[f"{message.name}.{decl.name}"] = _comment(text, decl.start, decl.end)
        for inner in message.messages:
            read(inner)
        for enum in message.enums:
            read_enum(enum)

    def read_enum(enum: EnumDecl) -> None:
        for value in enum.values:
            start, end = value.name.start_pos or 0, text.find(";", value.name.end_pos or 0) + 1
            found[f"{enum.name}.{value.name}"] = _comment(text, start, end)

    for message in file.messages:
        read(message)
    for enum in file.enums:
        read_enum(enum)
    return MappingProxyType({name: comment for name, comment in found.items() if comment})


def _comment(text: str, start: int, end: int) -> str:
    lines: list[str] = []
    above = text[: text.rfind("\n", 0, start) + 1].splitlines()
    while above and (line := _COMMENT_LINE.fullmatch(above.pop())) is not None:
        lines.insert(0, line[1])
    stop = text.find("\n", end)
    after = _COMMENT_LINE.match(text[end : stop if stop >= 0 else len(text)])
    if after is not None:
        lines.append(after[1])
    kept = [line.strip() for line in lines if not _ABOUT_NUMBERS.fullmatch(line.strip())]
    return " ".join(kept)
