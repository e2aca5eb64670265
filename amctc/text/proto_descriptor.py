"""Declarations to `FileDescriptorProto`: types are found, numbers and defaults are checked."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from lark import Token

from amctc.diagnostics import Collector, Diagnostic, Label, did_you_mean
from amctc.source import SourceFile
from amctc.text.literals import decode_strings, float_text
from amctc.text.proto_decls import Constant, EnumDecl, FieldDecl, MessageDecl, OneofDecl, OptionDecl, ProtoFile, Range
from amctc.text.proto_symbols import SCALAR_TYPES, Symbol, SymbolTable
from amctc.text.proto_syntax import constant_number, constant_text
from amctc.text.syntax import token_span

MAX_FIELD_NUMBER = 536_870_911
_PROTOBUF_OWN = range(19_000, 20_000)
_TYPE_NUMBERS = {name: FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}") for name in SCALAR_TYPES}
_LABELS = {
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
}
_INTEGER_BITS = {"int32": (True, 32), "int64": (True, 64), "uint32": (False, 32), "uint64": (False, 64)}
_INTEGERS = {
    **_INTEGER_BITS,
    "sint32": (True, 32), "sint64": (True, 64), "sfixed32": (True, 32), "sfixed64": (True, 64),
    "fixed32": (False, 32), "fixed64": (False, 64),
}  # fmt: skip


class DescriptorBuilder:
    """Builds the descriptor of one file; every mistake goes to the collector, with its place."""

    def __init__(self, file: ProtoFile, symbols: SymbolTable, collector: Collector) -> None:
        self._file = file
        self._source: SourceFile = file.source
        self._symbols = symbols
        self._collector = collector

    def build(self, name: str, dependencies: list[str]) -> FileDescriptorProto:
        """The file's descriptor under a name of the caller's, importing the named files."""
        file = FileDescriptorProto(name=name, package=self._file.package, dependency=dependencies)
        if self._file.syntax == "proto3":
            file.syntax = "proto3"
        for message in self._file.messages:
            self._message(file.message_type.add(), message, self._file.package)
        for enum in self._file.enums:
            self._enum(file.enum_type.add(), enum)
        return file

    def _message(self, out: DescriptorProto, decl: MessageDecl, scope: str) -> None:
        out.name = str(decl.name)
        inner = f"{scope}.{decl.name}" if scope else str(decl.name)
        numbers: dict[int, Token] = {}
        self._reserved(out, decl)
        for member in decl.members:
            if isinstance(member, OneofDecl):
                out.oneof_decl.add(name=str(member.name))
                index = len(out.oneof_decl) - 1
                for field in member.fields:
                    self._oneof_field(out, field, inner, numbers, index)
            else:
                self._field(out, member, inner, numbers)
        self._optional_proto3(out)
        for message in decl.messages:
            self._message(out.nested_type.add(), message, inner)
        for enum in decl.enums:
            self._enum(out.enum_type.add(), enum)

    def _oneof_field(
        self, out: DescriptorProto, decl: FieldDecl, scope: str, numbers: dict[int, Token], index: int
    ) -> None:
        if decl.label is not None:
            self._report("AM123", f"`{decl.name}` is in a `oneof`, so it has no `{decl.label}`", decl.name)
        field = self._field(out, decl, scope, numbers, in_oneof=True)
        field.oneof_index = index

    def _field(
        self,
        out: DescriptorProto,
        decl: FieldDecl,
        scope: str,
        numbers: dict[int, Token],
        in_oneof: bool = False,
    ) -> FieldDescriptorProto:
        field = out.field.add(name=str(decl.name))
        self._label(field, decl, in_oneof)
        field.number = self._number(out, decl, numbers)
        if decl.map_key is not None:
            self._map_entry(out, field, decl, scope)
        else:
            symbol = self._set_type(field, decl.type_name, scope)
            self._options(field, decl, symbol)
        return field

    def _label(self, field: FieldDescriptorProto, decl: FieldDecl, in_oneof: bool) -> None:
        proto3 = self._file.syntax == "proto3"
        if decl.label is None and not proto3 and not in_oneof:
            self._report(
                "AM123",
                f"`{decl.name}` has no label",
                decl.type_name,
                help="write `optional`, `required` or `repeated` before the type",
            )
        if decl.label == "required" and proto3:
            self._report("AM123", f"`{decl.name}` cannot be `required` in proto3", decl.name)
        field.label = _LABELS.get(decl.label or "optional", FieldDescriptorProto.LABEL_OPTIONAL)
        field.proto3_optional = proto3 and decl.label == "optional"
        if not field.proto3_optional:
            field.ClearField("proto3_optional")

    def _optional_proto3(self, out: DescriptorProto) -> None:
        # `optional` in proto3 is spelt as a oneof of one; these stand after all real ones.
        for field in out.field:
            if field.proto3_optional:
                out.oneof_decl.add(name=f"_{field.name}")
                field.oneof_index = len(out.oneof_decl) - 1

    def _number(self, out: DescriptorProto, decl: FieldDecl, numbers: dict[int, Token]) -> int:
        number = self._integer(Constant((decl.number,)))
        if number is None:
            return 1
        if not 1 <= number <= MAX_FIELD_NUMBER or number in _PROTOBUF_OWN:
            self._report(
                "AM124",
                f"{number} is not a field number",
                decl.number,
                help=f"field numbers are 1 to {MAX_FIELD_NUMBER}, without 19000 to 19999",
            )
            return 1
        first = numbers.setdefault(number, decl.number)
        if first is not decl.number:
            self._report(
                "AM122",
                f"field number {number} is used twice in `{out.name}`",
                decl.number,
                related=(Label(token_span(self._source, first), "used here first"),),
            )
        if any(r.start <= number < r.end for r in out.reserved_range):
            self._report("AM124", f"field number {number} is reserved in `{out.name}`", decl.number)
        if decl.name in out.reserved_name:
            self._report("AM124", f"the name `{decl.name}` is reserved in `{out.name}`", decl.name)
        return number

    def _set_type(self, field: FieldDescriptorProto, written: Token, scope: str) -> Symbol | None:
        number = _TYPE_NUMBERS.get(str(written))
        if number is not None:
            field.type = number
            return None
        symbol = self._symbols.find(written, scope, self._source)
        if symbol is None:
            field.type = FieldDescriptorProto.TYPE_INT32
            return None
        is_enum = symbol.kind == "enum"
        field.type = FieldDescriptorProto.TYPE_ENUM if is_enum else FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{symbol.full_name}"
        return symbol

    def _map_entry(self, out: DescriptorProto, field: FieldDescriptorProto, decl: FieldDecl, scope: str) -> None:
        assert decl.map_key is not None
        name = "".join(part.capitalize() for part in str(decl.name).split("_")) + "Entry"
        entry = out.nested_type.add(name=name)
        entry.options.map_entry = True
        for number, part, written in ((1, "key", decl.map_key), (2, "value", decl.type_name)):
            inner = entry.field.add(name=part, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
            self._set_type(inner, written, scope)
        if str(decl.map_key) not in {*_INTEGERS, "bool", "string"}:
            self._report("AM123", f"`{decl.map_key}` cannot be the key of a map", decl.map_key)
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{scope}.{name}"

    def _options(self, field: FieldDescriptorProto, decl: FieldDecl, symbol: Symbol | None) -> None:
        for option in decl.options:
            if option.name == "default":
                self._default(field, decl, option, symbol)
            elif option.name == "packed":
                field.options.packed = self._boolean(option)
            elif option.name == "deprecated":
                field.options.deprecated = self._boolean(option)

    def _default(self, field: FieldDescriptorProto, decl: FieldDecl, option: OptionDecl, symbol: Symbol | None) -> None:
        place = option.value.tokens[0]
        if decl.label == "repeated" or field.type == FieldDescriptorProto.TYPE_MESSAGE:
            self._report("AM125", f"`{decl.name}` cannot have a default: only single scalars can", place)
        elif self._file.syntax == "proto3":
            self._report("AM125", f"`{decl.name}` cannot have a default in proto3", place)
        elif symbol is not None and symbol.enum is not None:
            field.default_value = self._enum_default(symbol.enum, option.value)
        else:
            text = self._scalar_default(str(decl.type_name), option.value)
            if text is None:
                shown = token_span(self._source, place).text
                self._report("AM125", f"`{shown}` is not a value of type {decl.type_name}", place)
            else:
                field.default_value = text

    def _enum_default(self, enum: EnumDecl, value: Constant) -> str:
        word = constant_text(value)
        names = [str(v.name) for v in enum.values]
        if word not in names:
            help = did_you_mean(word, names)
            self._report("AM125", f"`{word}` is not a value of enum `{enum.name}`", value.tokens[0], help=help)
            return names[0] if names else word
        return word

    def _scalar_default(self, type_name: str, value: Constant) -> str | None:
        """A default as descriptors write it, or None where it does not fit the type."""
        if value.tokens[0].type == "STRING":
            data = decode_strings(self._source, value.tokens)
            if type_name == "string":
                return data.decode(errors="replace")
            return "".join(f"\\{byte:03o}" for byte in data) if type_name == "bytes" else None
        number = constant_number(self._source, value)
        word = constant_text(value)
        if type_name == "bool":
            return word if word in ("true", "false") else None
        if type_name in ("float", "double"):
            if number is not None:
                return float_text(number)
            return word if word in ("inf", "-inf", "nan") else None
        if type_name not in _INTEGERS or not isinstance(number, int):
            return None
        signed, bits = _INTEGERS[type_name]
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        return str(number) if low <= number <= high else None

    def _enum(self, out: EnumDescriptorProto, decl: EnumDecl) -> None:
        out.name = str(decl.name)
        alias = any(option.name == "allow_alias" and self._boolean(option) for option in decl.options)
        if alias:
            out.options.allow_alias = True
        numbers: dict[int, Token] = {}
        for value in decl.values:
            number = self._integer(value.number) or 0
            place = value.number.tokens[-1]
            if not -(1 << 31) <= number < 1 << 31:
                self._report("AM124", f"{number} does not fit 32 bits", place)
                number = 0
            first = numbers.setdefault(number, place)
            if first is not place and not alias:
                related = (Label(token_span(self._source, first), "used here first"),)
                self._report("AM122", f"the number {number} is used twice in `{decl.name}`", place, related=related)
            out.value.add(name=str(value.name), number=number)
        if not decl.values:
            self._report("AM123", f"the enum `{decl.name}` has no value", decl.name)
        elif self._file.syntax == "proto3" and out.value[0].number != 0:
            self._report("AM123", f"the first value of `{decl.name}` must be 0 in proto3", decl.values[0].name)

    def _reserved(self, out: DescriptorProto, decl: MessageDecl) -> None:
        for part in decl.reserved:
            for start, end in self._ranges(part.ranges):
                if part.extensible:
                    out.extension_range.add(start=start, end=end)
                else:
                    out.reserved_range.add(start=start, end=end)
            out.reserved_name.extend(
                decode_strings(self._source, [name]).decode(errors="replace") for name in part.names
            )

    def _ranges(self, ranges: tuple[Range, ...]) -> Iterator[tuple[int, int]]:
        """First number and the number after the last, of the ranges that make sense."""
        for entry in ranges:
            start = self._integer(entry.start)
            last = start if entry.end is None else self._range_end(entry.end)
            if start is None or last is None:
                continue
            if not 1 <= start <= last <= MAX_FIELD_NUMBER:
                self._report("AM124", f"{start} to {last} is not a range of field numbers", entry.start.tokens[0])
                continue
            yield start, last + 1

    def _range_end(self, end: Constant) -> int | None:
        return MAX_FIELD_NUMBER if end.tokens[-1].type == "MAX" else self._integer(end)

    def _integer(self, constant: Constant) -> int | None:
        number = constant_number(self._source, constant)
        if isinstance(number, int):
            return number
        self._report("AM124", f"`{constant_text(constant)}` is not a whole number", constant.tokens[-1])
        return None

    def _boolean(self, option: OptionDecl) -> bool:
        word = constant_text(option.value)
        if word not in ("true", "false"):
            self._report("AM125", f"`{option.name}` is `true` or `false`, not `{word}`", option.value.tokens[0])
        return word == "true"

    def _report(
        self,
        code: str,
        message: str,
        place: Token,
        *,
        related: tuple[Label, ...] = (),
        help: str | None = None,
    ) -> None:
        span = token_span(self._source, place)
        self._collector.add(Diagnostic(code, message, span=span, related=related, help=help))
