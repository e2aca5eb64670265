"""`.proto` text to a schema: for users' files, and for our own where what is compiled of them is out of date."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from amctc.diagnostics import Collector, Diagnostic
from amctc.source import SourceFile
from amctc.text.compiled_schema import stamped
from amctc.text.literals import decode_strings
from amctc.text.proto_decls import ProtoFile
from amctc.text.proto_descriptor import DescriptorBuilder
from amctc.text.proto_schema import Schema, own_proto, schema_of
from amctc.text.proto_symbols import SymbolTable
from amctc.text.proto_syntax import parse_proto
from amctc.text.syntax import token_span


def parse_schema(*sources: SourceFile) -> Schema:
    """The schema of several `.proto` texts that see each other's names.

    An `import` may only name one of these texts. Raises `DiagnosticError` with every mistake of all
    the texts: AM101 to AM104 from reading, AM120 to AM129 from the declarations.
    """
    parsed = [parse_proto(source) for source in sources]
    collector = Collector()
    names = _file_names(sources)
    for file in parsed:
        _check_imports(file, names, collector)
    symbols = SymbolTable(parsed, collector)
    built: list[FileDescriptorProto] = []
    for file, name in zip(parsed, names, strict=True):
        built.append(DescriptorBuilder(file, symbols, collector).build(name, list(names[: len(built)])))
    collector.raise_errors()
    return schema_of(*built)


def compile_own(name: str) -> bytes:
    """What the file `compiled_name(name)` of that folder should hold. Raises KeyError for a name that is not there."""
    source = own_proto(name)
    (descriptor,) = parse_schema(source).files
    return stamped(descriptor, [source])


def _file_names(sources: tuple[SourceFile, ...]) -> tuple[str, ...]:
    """A name for each file in the pool: its own last part, numbered where it is not the only one."""
    names: list[str] = []
    for source in sources:
        base = source.name.replace("\\", "/").rsplit("/", 1)[-1] or "schema.proto"
        names.append(base if base not in names else f"{base}#{len(names)}")
    return tuple(names)


def _check_imports(file: ProtoFile, names: tuple[str, ...], collector: Collector) -> None:
    for token in file.imports:
        path = decode_strings(file.source, [token]).decode(errors="replace")
        if path.rsplit("/", 1)[-1] not in names:
            collector.add(
                Diagnostic(
                    "AM126",
                    f"the import of `{path}` is not followed",
                    span=token_span(file.source, token),
                    help="give that file too, or copy what is needed from it into this one",
                )
            )
