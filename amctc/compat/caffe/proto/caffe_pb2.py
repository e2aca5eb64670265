"""Every message and enum of caffe.proto, with those of ATC, AMCT and amctc, as classes of protobuf.

They belong to a pool of their own, so another `caffe_pb2` may be imported beside this one.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from amctc.diagnostics import did_you_mean
from amctc.dialects.caffe.schema import NET, caffe_schema

DESCRIPTOR: Final[FileDescriptor] = caffe_schema().descriptor(NET).file


def _contents() -> dict[str, Any]:
    schema = caffe_schema()
    found: dict[str, Any] = {}
    for name, message in DESCRIPTOR.message_types_by_name.items():
        found[name] = schema.message(message.full_name)
        found[f"_{name.upper()}"] = message
    for name, enum in DESCRIPTOR.enum_types_by_name.items():
        found[name] = EnumTypeWrapper(enum)
        found.update((value.name, value.number) for value in enum.values)
    return found


globals().update(_contents())


def __getattr__(name: str) -> Any:
    hint = did_you_mean(name, (*DESCRIPTOR.message_types_by_name, *DESCRIPTOR.enum_types_by_name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}" + (f"; {hint}" if hint else ""))
