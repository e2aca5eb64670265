"""Fields that the schema does not know, anywhere in a message: loaders drop them without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from amctc.air.verify.report import Report, shown

_Step: TypeAlias = "tuple[str, int | str | None, Any]"
"""A field, the place or the key in it, and the message there."""

_MOST_NUMBERS = 8


def check_unknown_fields(model: Any, report: Report) -> None:
    """AM360 for each message that has some."""
    fields: dict[str, tuple[FieldDescriptor, ...]] = {}
    path: list[_Step] = []
    _check(model, path, report)
    waiting = [_inner(model, fields)]
    while waiting:
        step = next(waiting[-1], None)
        if step is None:
            waiting.pop()
            del path[-1:]
            continue
        path.append(step)
        _check(step[2], path, report)
        waiting.append(_inner(step[2], fields) if _may_have(step[2]) else iter(()))


def _may_have(message: Any) -> bool:
    """Whether a message or one below it has unknown fields; not looked at for the large ones around ops."""
    if message.DESCRIPTOR.name != "OpDef":
        return True
    # Protobuf copies and counts a thousand times as fast as its messages can be visited here.
    copy = type(message)()
    try:
        copy.CopyFrom(message)
    except DecodeError:  # deeper than a file can be, so that it was not read from one
        return True
    copy.DiscardUnknownFields()
    return bool(copy.ByteSize() != message.ByteSize())


def _check(message: Any, path: Sequence[_Step], report: Report) -> None:
    unknown = UnknownFieldSet(message)
    count = len(unknown)
    if not count:
        return
    numbers = sorted({unknown[index].field_number for index in range(min(count, _MOST_NUMBERS))})
    told = ", ".join(map(str, numbers))
    help = "neither generation has such a field, and loaders drop it"
    report.error("AM360", f"{_where(path)} has a field of the number {told}", help)


def _inner(message: Any, fields: dict[str, tuple[FieldDescriptor, ...]]) -> Iterator[_Step]:
    """The messages right below one."""
    descriptor = message.DESCRIPTOR
    known = fields.get(descriptor.full_name)
    if known is None:
        known = fields[descriptor.full_name] = tuple(field for field in descriptor.fields if _holds_messages(field))
    for field in known:
        inner = field.message_type
        assert inner is not None
        if inner.GetOptions().map_entry:
            entries = getattr(message, field.name)
            yield from ((field.name, str(key), entries[key]) for key in entries)
        elif field.is_repeated:
            found: Sequence[Any] = getattr(message, field.name)
            yield from ((field.name, number, each) for number, each in enumerate(found))
        elif message.HasField(field.name):
            yield field.name, None, getattr(message, field.name)


def _holds_messages(field: FieldDescriptor) -> bool:
    inner = field.message_type
    if inner is None:
        return False
    return not inner.GetOptions().map_entry or inner.fields_by_name["value"].message_type is not None


def _where(path: Sequence[_Step]) -> str:
    """Where a message stands, from the nearest op on."""
    ops = [number for number, (_, _, message) in enumerate(path) if message.DESCRIPTOR.name == "OpDef"]
    begin = shown(path[ops[-1]][2].name) if ops else "the model"
    steps = path[ops[-1] + 1 :] if ops else path
    told = [f"`{field}`" if key is None else f"`{field}[{str(key)[:40]}]`" for field, key, _ in steps[-4:]]
    return ", ".join([begin, *told])
