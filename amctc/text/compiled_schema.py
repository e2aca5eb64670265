"""Compiled descriptors of our own `.proto` texts, shipped beside them for a fast start; `make protos` writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from amctc.source import SourceFile


def read_compiled(file: str, texts: Iterable[SourceFile]) -> FileDescriptorProto | None:
    """What a file of the `proto` folder holds; None where it is not there, or was made from other texts than these."""
    try:
        compiled = FileDescriptorProto.FromString(files("amctc.grammar").joinpath("proto", file).read_bytes())
    except (OSError, DecodeError):
        return None
    places = compiled.source_code_info.location
    if not places or places[0].leading_comments != _digest(texts):
        return None
    return compiled


def stamped(descriptor: FileDescriptorProto, texts: Iterable[SourceFile]) -> bytes:
    """What the file is to hold: the descriptor with the stamp of the texts that it was made from."""
    made = FileDescriptorProto.FromString(descriptor.SerializeToString())
    made.source_code_info.location.add(span=[0, 0, 0], leading_comments=_digest(texts))
    return made.SerializeToString(deterministic=True)


def _digest(texts: Iterable[SourceFile]) -> str:
    total = hashlib.sha256()
    for source in texts:
        text = source.text.encode()
        total.update(f"{source.name} {len(text)}\n".encode() + text)
    return total.hexdigest()
