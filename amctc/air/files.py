"""Reading and writing `.air` files as messages."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError

from amctc.air.schema import ModelDef, ge_schema
from amctc.diagnostics import error
from amctc.text.files import MAX_MAPPED_BYTES, map_file

MODEL = "ge.proto.ModelDef"


def read_air(path: str | Path) -> ModelDef:
    """The ModelDef in a file. Raises `DiagnosticError`: AM310 if it cannot be read, AM350 if it is no such message."""
    data = map_file(path)
    if not len(data):
        raise error("AM350", "the file is empty", file=str(path), help="a `.air` file holds one ge.proto.ModelDef")
    try:
        return ge_schema().message(MODEL).FromString(bytes(data))
    except DecodeError as problem:
        reason = str(problem).splitlines()[0] if str(problem) else "cut off or damaged"
        help = "a `.air` file holds one ge.proto.ModelDef in protobuf's binary form, without a header"
        raise error("AM350", f"this is no GE graph: {reason[:200]}", file=str(path), help=help) from None


def air_bytes(model: ModelDef) -> bytes:
    """The bytes of a `.air` file: the same for equal messages.

    Raises `DiagnosticError` (AM712) for a model of more than 2 GiB.
    """
    if model.ByteSize() > MAX_MAPPED_BYTES:
        help = "a `.air` file holds all weights: write a smaller model, or another format"
        raise error("AM712", "the model would have more than 2 GiB, which one `.air` file cannot hold", help=help)
    found: bytes = model.SerializeToString(deterministic=True)
    return found
