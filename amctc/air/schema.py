"""The messages of GE's files, by our own `ge_ir.proto`.

Their classes are made at run time, so that a type checker knows nothing of them: the names below say what is meant.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from amctc.text.proto_schema import Schema, load_schema

ModelDef: TypeAlias = Any
GraphDef: TypeAlias = Any
OpDef: TypeAlias = Any
AttrDef: TypeAlias = Any
TensorDescriptor: TypeAlias = Any
TensorDef: TypeAlias = Any


@cache
def ge_schema() -> Schema:
    """The schema of both generations of GE's files."""
    return load_schema("ge_ir.proto")


def new(message: str) -> Any:
    """An empty message, by its name in the package: `new("ModelDef")`."""
    return ge_schema().message(f"ge.proto.{message}")()
