"""`.proto` text to live message classes, at run time and in pools of our own.

Nothing is registered in protobuf's default pool, so several schemas that declare the same names
(BVLC's `caffe.proto` and a user's) live side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from amctc.diagnostics import Collector, Diagnostic, error
from amctc.source import SourceFile
from amctc.text.compiled_schema import read_compiled, stamped
from amctc.text.literals import decode_strings
from amctc.text.proto_decls import ProtoFile
from amctc.text.proto_descriptor import DescriptorBuilder
from amctc.text.proto_symbols import SymbolTable
from amctc.text.proto_syntax import parse_proto
from amctc.text.syntax import token_span


@dataclass(frozen=True)
class Schema:
    """The messages of one or more `.proto` files, in a pool of their own."""

    name: str
    files: tuple[FileDescriptorProto, ...] = field(repr=False, compare=False)
    pool: DescriptorPool = field(repr=False, compare=False)

    def descriptor(self, full_name: str) -> Descriptor:
        """The descriptor of `package.Message`. Raises KeyError where there is none."""
        return self.pool.FindMessageTypeByName(full_name)

    def message(self, full_name: str) -> type[Message]:
        """The class of `package.Message`, the same one at every call. Raises KeyError."""
        return GetMessageClass(self.descriptor(full_name))


@cache
def load_schema(name: str) -> Schema:
    """One of our own schemas in `amctc.grammar`'s `proto` folder, such as `quant_param.proto`: compiled, where that is
    current.

    Raises KeyError for a name that is not there.
    """
    source = own_proto(name)
    compiled = read_compiled(compiled_name(name), [source])
    return schema_of(compiled) if compiled is not None else parse_schema(source)


def compile_own(name: str) -> bytes:
    """What the file `compiled_name(name)` of that folder should hold. Raises KeyError for a name that is not there."""
    source = own_proto(name)
    (descriptor,) = parse_schema(source).files
    return stamped(descriptor, [source])


def compiled_name(name: str) -> str:
    """The name of the file with the compiled form of one of our own schemas."""
    return f"{name.removesuffix('.proto')}.binpb"


def own_proto(name: str) -> SourceFile:
    """The text of one of our own `.proto` files. Raises KeyError for a name that is not there."""
    place = files("amctc.grammar").joinpath("proto", name)
    if not place.is_file():
        raise KeyError(name)
    return SourceFile(name, place.read_text(encoding="utf-8"))


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


def schema_of(*descriptors: FileDescriptorProto) -> Schema:
    """The schema of descriptors that were made before, each after those it imports.

    Raises `DiagnosticError` (AM129) where protobuf refuses one.
    """
    pool = DescriptorPool()
    for descriptor in descriptors:
        _add(pool, descriptor)
    return Schema("+".join(descriptor.name for descriptor in descriptors), descriptors, pool)


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


def _add(pool: DescriptorPool, descriptor: FileDescriptorProto) -> None:
    try:
        pool.AddSerializedFile(descriptor.SerializeToString())
        pool.FindFileByName(descriptor.name)
    except (TypeError, KeyError) as problem:
        # Everything that has a place is found before; what only protobuf knows is told without one.
        raise error("AM129", f"protobuf refuses `{descriptor.name}`: {problem}", file=descriptor.name) from None
