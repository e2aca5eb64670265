"""Live message classes of `.proto` files, made at run time and in pools of our own.

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

from amctc.diagnostics import error
from amctc.source import SourceFile
from amctc.text.compiled_schema import read_compiled


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
    if compiled is not None:
        return schema_of(compiled)
    from amctc.text.proto_compiler import parse_schema  # to read texts takes longer to import than what is compiled

    return parse_schema(source)


def compiled_name(name: str) -> str:
    """The name of the file with the compiled form of one of our own schemas."""
    return f"{name.removesuffix('.proto')}.binpb"


def own_proto(name: str) -> SourceFile:
    """The text of one of our own `.proto` files. Raises KeyError for a name that is not there."""
    place = files("amctc.grammar").joinpath("proto", name)
    if not place.is_file():
        raise KeyError(name)
    return SourceFile(name, place.read_text(encoding="utf-8"))


def schema_of(*descriptors: FileDescriptorProto) -> Schema:
    """The schema of descriptors that were made before, each after those it imports.

    Raises `DiagnosticError` (AM129) where protobuf refuses one.
    """
    pool = DescriptorPool()
    for descriptor in descriptors:
        _add(pool, descriptor)
    return Schema("+".join(descriptor.name for descriptor in descriptors), descriptors, pool)


def _add(pool: DescriptorPool, descriptor: FileDescriptorProto) -> None:
    try:
        pool.AddSerializedFile(descriptor.SerializeToString())
        pool.FindFileByName(descriptor.name)
    except (TypeError, KeyError) as problem:
        # Everything that has a place is found before; what only protobuf knows is told without one.
        raise error("AM129", f"protobuf refuses `{descriptor.name}`: {problem}", file=descriptor.name) from None
