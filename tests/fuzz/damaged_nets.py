"""Damage that keeps a net readable: odd numbers in its fields, floods of fields, tops and layers, other connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, TypeAlias

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.dialects.table import op_table

Net: TypeAlias = Any
"""A `NetParameter`; its class is made when the schema is read, so no type checker knows its fields."""

_SMALL = (0, 0, 1, 1, 2, 3, 4, 5, 7)
_INTEGERS: dict[int, Sequence[int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-1, -2, -5, 100, 65536, 10**6, 10**9, 2**31 - 1, -(2**31), *_SMALL),
    FieldDescriptor.CPPTYPE_UINT32: (100, 65536, 10**6, 10**9, 2**31 - 1, 2**31, 2**32 - 1, *_SMALL),
    FieldDescriptor.CPPTYPE_INT64: (-1, 100, 65536, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63), *_SMALL),
    FieldDescriptor.CPPTYPE_UINT64: (100, 65536, 2**32, 2**63, 2**64 - 1, *_SMALL),
}
FLOATS = (
    *(float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 3e38, 1e-38, 1e-45),
    *(0.0, -0.0, -1.0, 0.5, 1.5, 2.0, -3.0, 1e9, -1e9, 16777217.0),
)
_FLOODS = (2, 3, 33, 33, 300)


def parse_net(text: str) -> Net | None:
    """The text as a message; None where protobuf does not read it."""
    net = caffe_schema().message(NET)()
    try:
        return text_format.Parse(text, net, allow_unknown_field=True)
    except text_format.ParseError:
        return None


def damage(rng: Random, net: Net) -> None:
    """One to four changes of a net, most of them of one number."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice((*(_set_field,) * 6, *(_set_shape,) * 2, _flood, _rewire, _retype, _copy_layer, _rename))
        change(rng, net)


def join_weights(net: Net, weights: bytes) -> None:
    """Move the blobs of a caffemodel into the layers of the same names, as in a snapshot."""
    stored: Any = caffe_schema().message(NET)()
    stored.ParseFromString(weights)
    blobs = {layer.name: layer.blobs for layer in (*stored.layer, *stored.layers)}
    for layer in (*net.layer, *net.layers):
        if layer.name in blobs:
            layer.blobs.extend(blobs[layer.name])


def _layers(net: Net) -> Sequence[Any]:
    found: Sequence[Any] = net.layer or net.layers
    return found


def _set_field(rng: Random, net: Net) -> None:
    """Another value for a field, set or not, of some layer's parameters."""
    if not _layers(net):
        return
    parts = [*_parts(rng.choice(_layers(net)))]
    message = rng.choice(parts)
    fields = [field for field in message.DESCRIPTOR.fields if field.message_type is None and field.name != "name"]
    # What is set already has an effect; what is not may be any of many fields of which few matter.
    known = [field for field, _ in message.ListFields() if field in fields]
    if fields:
        _set(rng, message, rng.choice(known if known and rng.random() < 0.6 else fields))


def _parts(message: Any) -> Iterator[Any]:
    """The messages inside a layer; the layer itself where it has none."""
    inner = [
        part
        for field, value in message.ListFields()
        if field.message_type is not None and field.name != "blobs"
        for part in (value if field.is_repeated else [value])
    ]
    if not inner:
        yield message
    for part in inner:
        yield part
        yield from (deeper for deeper in _parts(part) if deeper is not part)


def _set(rng: Random, message: Any, field: FieldDescriptor) -> None:
    if not field.is_repeated:
        setattr(message, field.name, _value(rng, field))
        return
    values = getattr(message, field.name)
    if len(values) and rng.random() < 0.6:
        values[rng.randrange(len(values))] = _value(rng, field)
    else:
        values.extend(_value(rng, field) for _ in range(rng.choice((1, 1, 1, 2, 5, 2000))))


def _value(rng: Random, field: FieldDescriptor) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice([value.number for value in field.enum_type.values] if field.enum_type else [0])
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice(_texts())
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(FLOATS)
        case integer:
            return rng.choice(_INTEGERS[integer])


def _texts() -> tuple[str, ...]:
    return ("", "data", "x" * 100_000, "\0", "\n", "é𝄞", "../..", "/dev/zero", "a/b c", "0", '"', "ReLU")


def _set_shape(rng: Random, net: Net) -> None:
    """Another size, or other sizes, for an input."""
    shapes = [*net.input_shape]
    shapes += [shape for layer in net.layer if layer.HasField("input_param") for shape in layer.input_param.shape]
    if not shapes:
        if net.input_dim:
            net.input_dim[rng.randrange(len(net.input_dim))] = rng.choice(_INTEGERS[FieldDescriptor.CPPTYPE_INT32])
        return
    dims = rng.choice(shapes).dim
    kind = rng.randrange(4)
    if kind == 0 and len(dims):
        del dims[rng.randrange(len(dims))]
    elif kind == 1:
        dims.insert(rng.randrange(len(dims) + 1), rng.choice(_SMALL))
    elif kind == 2:
        dims.extend([1] * rng.choice(_FLOODS))
    elif len(dims):
        dims[rng.randrange(len(dims))] = rng.choice((*_INTEGERS[FieldDescriptor.CPPTYPE_INT64], *_SMALL, 32, 300))


def _flood(rng: Random, net: Net) -> None:
    """The same thing many times: bottoms, tops, dimensions, inputs, parameters, layers."""
    count = rng.choice(_FLOODS)
    layer = rng.choice(_layers(net)) if _layers(net) else None
    kind = rng.randrange(6)
    if kind == 0 and layer is not None and layer.bottom:
        layer.bottom.extend([rng.choice(layer.bottom)] * (10 * count))
    elif kind == 1 and layer is not None:
        layer.top.extend(f"flood{index}" for index in range(10 * count))
    elif kind == 2:
        net.input_dim.extend(rng.choice(_INTEGERS[FieldDescriptor.CPPTYPE_INT32]) for _ in range(10 * count))
        net.input.extend(f"flood{index}" for index in range(rng.choice((0, 1, count))))
    elif kind == 3 and layer is not None and net.layer:
        for _ in range(count):
            layer.param.add().name = rng.choice(("", "shared", "w"))
    elif kind == 4 and layer is not None and net.layer:
        for _ in range(count):
            layer.include.add().stage.append("stage")
    elif layer is not None:
        _copies(rng, net, layer, count)


def _copies(rng: Random, net: Net, layer: Any, count: int) -> None:
    """A row of copies of a layer, each behind the one before where it has one bottom and one top."""
    in_row = len(layer.bottom) == 1 and len(layer.top) == 1 and rng.random() < 0.7
    for index in range(count):
        copy = _layers(net).add()  # type: ignore[attr-defined]  # a repeated field of messages
        copy.CopyFrom(layer)
        if hasattr(copy, "name"):
            copy.name = f"{layer.name}_{index}"
        if in_row:
            copy.bottom[0] = copy.top[0] if index == 0 else f"row{index - 1}"
            copy.top[0] = f"row{index}"


def _rewire(rng: Random, net: Net) -> None:
    """Another blob for some layer to read or to write, one more, or one less."""
    if not _layers(net):
        return
    layer = rng.choice(_layers(net))
    blobs = sorted({name for each in _layers(net) for name in (*each.top, *each.bottom)}) or ["data"]
    side = layer.bottom if rng.random() < 0.7 else layer.top
    match rng.randrange(3):
        case 0 if len(side):
            side[rng.randrange(len(side))] = rng.choice(blobs)
        case 1 if len(side):
            del side[rng.randrange(len(side))]
        case _:
            side.append(rng.choice((*blobs, "new")))


def _retype(rng: Random, net: Net) -> None:
    """Another type for some layer."""
    if net.layer:
        rng.choice(net.layer).type = rng.choice([row.type for row in op_table().values()])


def _copy_layer(rng: Random, net: Net) -> None:
    """One layer once more: under its own name or another."""
    if not _layers(net):
        return
    layer = rng.choice(_layers(net))
    copy = _layers(net).add()  # type: ignore[attr-defined]  # a repeated field of messages
    copy.CopyFrom(layer)
    if rng.random() < 0.7:
        copy.name = "copy"
        if copy.top and rng.random() < 0.7:
            copy.top[0] = "copy"


def _rename(rng: Random, net: Net) -> None:
    """An odd or very long name for a layer or a blob, wherever it is used."""
    if not _layers(net):
        return
    name = rng.choice(_texts())
    layer = rng.choice(_layers(net))
    if rng.random() < 0.4:
        layer.name = name
        return
    if not layer.top:
        return
    old = rng.choice(layer.top)
    for each in _layers(net):
        for side in (each.bottom, each.top):
            for index, blob in enumerate(side):
                if blob == old:
                    side[index] = name
