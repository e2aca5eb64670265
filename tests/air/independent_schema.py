"""A second schema of GE's files, built from a table that was typed from the published facts and not from our `.proto`.

`decodes_equally` reads bytes by both: what one of them misnumbers is an unknown field or another value to the other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from amctc.air.schema import ModelDef, new

TYPES = """
UNDEFINED FLOAT FLOAT16 INT8 UINT8 INT16 UINT16 INT32 INT64 UINT32 UINT64 BOOL DOUBLE STRING DUAL_SUB_INT8
DUAL_SUB_UINT8 COMPLEX64 COMPLEX128 QINT8 QINT16 QINT32 QUINT8 QUINT16 RESOURCE STRING_REF DUAL VARIANT BF16 INT4 UINT1
INT2 UINT2 COMPLEX32 HIFLOAT8 FLOAT8_E5M2 FLOAT8_E4M3FN FLOAT8_E8M0 FLOAT6_E3M2 FLOAT6_E2M3 FLOAT4_E2M1 FLOAT4_E1M2
HIFLOAT4
"""
LIST_TYPES = "NONE STRING INT FLOAT BOOL BYTES TENSOR_DESC TENSOR GRAPH NAMED_ATTRS DATA_TYPE"

# `name number type`, with `*` behind what is repeated and `|` behind the members of the one oneof of a message; `attrs`
# is a map from texts to AttrDef. Groups of attributes are not to be written: a message without fields stands for them.
MESSAGES = """
AttrDef: list 1 ListValue| s 2 bytes| i 3 int64| f 4 float| b 5 bool| bt 7 bytes| func 10 NamedAttrs|
  td 11 TensorDescriptor| t 12 TensorDef| g 13 GraphDef| list_list_int 14 ListListInt| dt 15 int64|
  list_list_float 16 ListListFloat| expression 17 bytes|
ListValue: s 2 bytes* i 3 int64* f 4 float* b 5 bool* bt 7 bytes* td 8 TensorDescriptor* t 9 TensorDef* g 10 GraphDef*
  na 11 NamedAttrs* dt 12 int64* val_type 20 ListValueType
ListListInt: list_list_i 1 ListInt*
ListInt: list_i 1 int64*
ListListFloat: list_list_f 1 ListFloat*
ListFloat: list_f 1 float*
NamedAttrs: name 1 string attr 2 attrs
ShapeDef: dim 1 int64*
TensorDescriptor: name 1 string dtype 2 DataType shape 3 ShapeDef layout 4 string attr 5 attrs attr_groups 6 AttrGroups
  has_out_attr 9 bool size 10 int64 weight_size 11 int64 reuse_input 12 bool output_tensor 13 bool device_type 14 string
  input_tensor 15 bool real_dim_cnt 16 int64 reuse_input_index 17 int64 data_offset 18 int64 cmps_size 19 int64
  cmps_tab 20 string cmps_tab_offset 21 int64
TensorDef: desc 1 TensorDescriptor data 2 bytes
OpDef: name 1 string type 2 string input 5 string* attr 10 attrs attr_groups 11 AttrGroups has_out_attr 20 bool
  id 21 int64 stream_id 22 int64 input_name 23 string* src_name 24 string* src_index 25 int64* dst_name 26 string*
  dst_index 27 int64* input_i 28 int64* output_i 29 int64* workspace 30 int64* workspace_bytes 31 int64*
  is_input_const 32 bool* input_desc 33 TensorDescriptor* output_desc 34 TensorDescriptor* subgraph_name 35 string*
GraphDef: name 1 string input 4 string* output 5 string* op 6 OpDef* attr 11 attrs attr_groups 12 AttrGroups
ModelDef: name 1 string version 2 uint32 custom_version 3 string graph 7 GraphDef* attr 11 attrs
  attr_groups 12 AttrGroups
AttrGroups:
"""

_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}
_ENUMS = {"DataType": ("DT_", TYPES), "ListValueType": ("VT_LIST_", LIST_TYPES)}


@cache
def model_class() -> type[Any]:
    """The class of ModelDef by the table."""
    file = FileDescriptorProto(name="facts.proto", package="facts", syntax="proto3")
    for name, (prefix, values) in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=prefix + value, number=number)
    words = MESSAGES.replace(":", " : ").split()
    begins = [at - 1 for at, word in enumerate(words) if word == ":"]
    for begin, end in zip(begins, [*begins[1:], len(words)], strict=True):
        message = file.message_type.add(name=words[begin])
        fields = words[begin + 2 : end]
        for at in range(0, len(fields), 3):
            _add_field(message, fields[at], int(fields[at + 1]), fields[at + 2])
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found: type[Any] = GetMessageClass(pool.FindMessageTypeByName("facts.ModelDef"))
    return found


def _add_field(message: DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind == "attrs":
        field.label, kind = FieldDescriptorProto.LABEL_REPEATED, f"{message.name}.AttrEntry"
        entry = message.nested_type.add(name="AttrEntry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, "AttrDef")
    if kind.endswith("*"):
        field.label, kind = FieldDescriptorProto.LABEL_REPEATED, kind[:-1]
    if kind.endswith("|"):
        kind = kind[:-1]
        if not message.oneof_decl:
            message.oneof_decl.add(name="value")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = FieldDescriptorProto.TYPE_ENUM if kind in _ENUMS else FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".facts.{kind}"


def decodes_equally(data: bytes) -> ModelDef:
    """The message of these bytes, after both schemas found the same in every field and nothing beyond them."""
    ours, theirs = new("ModelDef"), model_class()()
    ours.ParseFromString(data)
    theirs.ParseFromString(data)
    same_fields("ModelDef", ours, theirs)
    return ours


def same_fields(where: str, ours: Any, theirs: Any) -> None:
    """Assert that two messages of the two schemas hold the same, and that neither has fields it does not know."""
    for message in (ours, theirs):
        unknown = UnknownFieldSet(message)
        assert not len(unknown), f"{where} has unknown fields: {unknown[0].field_number}"
    assert [field.name for field, _ in ours.ListFields()] == [field.name for field, _ in theirs.ListFields()], where
    for field, value in ours.ListFields():
        other = getattr(theirs, field.name)
        place = f"{where}.{field.name}"
        for step, (mine, its) in enumerate(_pairs(place, value, other)):
            if field.message_type is not None:
                same_fields(f"{place}[{step}]", mine, its)
            elif field.enum_type is not None:
                known = theirs.DESCRIPTOR.fields_by_name[field.name].enum_type.values_by_number[its].name
                assert field.enum_type.values_by_number[mine].name == known, place
            else:
                assert type(mine) is type(its) and _bits(mine) == _bits(its), place


def _pairs(place: str, ours: Any, theirs: Any) -> Iterator[tuple[Any, Any]]:
    if hasattr(ours, "keys"):
        assert set(ours) == set(theirs), place
        return ((ours[key], theirs[key]) for key in ours)
    if hasattr(ours, "append") or hasattr(ours, "add"):
        return zip(ours, theirs, strict=True)
    return iter([(ours, theirs)])


def _bits(value: object) -> object:
    """A number that is not a number equals itself in its bits only."""
    return struct.pack("<f", value) if isinstance(value, float) else value
