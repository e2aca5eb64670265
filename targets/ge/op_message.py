"""One op of a GE file: its attributes, its edges, its descriptors, and the name-index lists that GE finds slots by."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass

from amctc.air.data_types import GE_TYPES
from amctc.air.descriptors import (
    absent_descriptor,
    dtype_of,
    format_of,
    is_absent,
    make_descriptor,
    set_format,
    set_shape,
    set_type,
    shape_of,
)
from amctc.air.plain_messages import attribute_message, fill_message
from amctc.air.schema import OpDef, TensorDescriptor, new
from amctc.dialects.ge.prototype import prototype_of
from amctc.ir.node import Shape
from amctc.text.plain import Plain


@dataclass(frozen=True)
class Tensor:
    """What a descriptor is to say. A shape of None is not known."""

    shape: Shape | None
    dtype: str
    layout: str


@dataclass(frozen=True)
class Slot:
    """One input: its name, the edge that fills it ("" for none), what comes in, and whether that is constant."""

    name: str
    edge: str = ""
    tensor: Tensor | None = None
    constant: bool = False


def op_message(
    name: str,
    type: str,
    slots: Sequence[Slot],
    outputs: Sequence[tuple[str, Tensor]],
    attributes: Mapping[str, Plain],
    controls: Sequence[str] = (),
    rest: Mapping[str, Plain] | None = None,
) -> OpDef:
    """An op, as both generations of GE read it.

    `rest` is what a file has said of it beyond this: it is kept, and its descriptors are brought up to date.
    """
    op = new("OpDef")
    fill_message(op, rest or {})
    op.name, op.type = name, type
    op.has_out_attr = True
    del op.input[:]
    op.input.extend([*(slot.edge for slot in slots), *(f"{control}:-1" for control in controls)])
    prototype = prototype_of(type)
    for key, value in attributes.items():
        known = prototype.attributes.get(key) if prototype is not None else None
        op.attr[key].CopyFrom(attribute_message(value, known.type if known is not None else None))
    _describe(op.input_desc, [slot.tensor for slot in slots])
    _describe(op.output_desc, [tensor for _, tensor in outputs])
    _index(op, "_input_name", [slot.name for slot in slots])
    _index(op, "_output_name", [output for output, _ in outputs])
    optional = {port.name for port in prototype.inputs if port.optional} if prototype is not None else set[str]()
    _list_texts(op, "_opt_input", sorted(slot.name for slot in slots if slot.name in optional))
    _mark_constants(op, slots, known=rest is not None)
    return op


def _describe(descriptors: MutableSequence[TensorDescriptor], tensors: Sequence[Tensor | None]) -> None:
    """Make the descriptors say what the tensors are; one that says it already stays as it is."""
    wanted = list(tensors)
    old = [_copy(descriptor) for descriptor in descriptors]
    del descriptors[:]
    for index, tensor in enumerate(wanted):
        found = old[index] if index < len(old) else None
        if tensor is None:
            descriptors.append(found if found is not None and is_absent(found) else absent_descriptor())
        elif found is None or is_absent(found):
            descriptors.append(make_descriptor(tensor.shape, tensor.dtype, tensor.layout))
        else:
            _update(found, tensor)
            descriptors.append(found)


def _copy(descriptor: TensorDescriptor) -> TensorDescriptor:
    found = new("TensorDescriptor")
    found.CopyFrom(descriptor)
    return found


def _update(descriptor: TensorDescriptor, tensor: Tensor) -> None:
    if dtype_of(descriptor) != tensor.dtype and tensor.dtype in GE_TYPES:  # else the op is one that is only kept
        set_type(descriptor, tensor.dtype)
    if tensor.shape is not None and not fits(shape_of(descriptor), tensor.shape):
        set_shape(descriptor, tensor.shape)
        if len(tensor.shape) != len(shape_of(descriptor)) and format_of(descriptor) != tensor.layout:
            set_format(descriptor, tensor.layout)


def fits(declared: Sequence[int], shape: Shape) -> bool:
    """Whether a shape is one that a descriptor allows, whose dims may be unknown."""
    if tuple(declared) == (-2,):
        return True
    return len(declared) == len(shape) and all(wide in (-1, size) for wide, size in zip(declared, shape, strict=True))


def _index(op: OpDef, stem: str, names: Sequence[str]) -> None:
    """The two lists of names and of their slots, sorted by name, as GE writes them: without a `val_type`."""
    _list_texts(op, f"{stem}_key", sorted(names))
    op.attr.pop(f"{stem}_value", None)
    if names:
        place = {name: index for index, name in enumerate(names)}
        op.attr[f"{stem}_value"].list.i.extend(place[name] for name in sorted(names))


def _list_texts(op: OpDef, key: str, texts: Sequence[str]) -> None:
    op.attr.pop(key, None)
    if texts:
        op.attr[key].list.s.extend(text.encode() for text in texts)


def _mark_constants(op: OpDef, slots: Sequence[Slot], known: bool) -> None:
    """Which linked inputs are constant, where the file had that too, or is new."""
    had = bool(op.is_input_const) or "is_input_const" in op.attr
    del op.is_input_const[:]
    op.attr.pop("is_input_const", None)
    linked = [slot.constant for slot in slots if slot.edge]
    if not linked or (known and not had):
        return
    op.is_input_const.extend(linked)
    op.attr["is_input_const"].CopyFrom(attribute_message(tuple(linked), "ListBool"))
