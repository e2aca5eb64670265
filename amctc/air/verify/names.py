"""The names of inputs and outputs, which an op has as attributes: lists of names beside lists of slots."""

from __future__ import annotations

from amctc.air.schema import OpDef
from amctc.air.verify.report import Report, counted

_MANDATORY = "ops find their inputs and outputs by these names"


def check_names(where: str, op: OpDef, report: Report) -> None:
    """AM373: `_input_name_*`, `_output_name_*`, `_ir_inputs_*` and `_ir_outputs_*` of one op."""
    _check_slots(where, op, "input", len(op.input_desc), report)
    _check_slots(where, op, "output", len(op.output_desc), report)
    for end in ("inputs", "outputs"):
        _read_pair(where, op, f"_ir_{end}_key", f"_ir_{end}_value", report)


def names_of(op: OpDef, end: str) -> dict[str, int]:
    """The slot of each named `input` or `output`, whatever else may be wrong with the two lists."""
    return dict(zip(_texts(op, f"_{end}_name_key"), _slots(op, f"_{end}_name_value"), strict=False))


def optional_inputs(op: OpDef) -> frozenset[str]:
    """The names that `_opt_input` lists."""
    return frozenset(_texts(op, "_opt_input"))


def _check_slots(where: str, op: OpDef, end: str, count: int, report: Report) -> None:
    key, value = f"_{end}_name_key", f"_{end}_name_value"
    if not _read_pair(where, op, key, value, report):
        return
    if key not in op.attr:
        if count:
            report.error("AM373", f"{where} has {counted(count, end)}, but no `{key}`", _MANDATORY)
        return
    names, slots = _texts(op, key), _slots(op, value)
    if len(set(names)) < len(names):
        report.error("AM373", f"{where}: `{key}` has a name twice")
    outside = [slot for slot in slots if not 0 <= slot < count]
    if outside:
        told = counted(count, f"{end} descriptor")
        report.error("AM373", f"{where}: `{value}` has the slot {outside[0]}, of {told}")
    elif len(set(slots)) < len(slots):
        report.error("AM373", f"{where}: `{value}` has a slot twice")
    elif len(slots) < count:
        report.error("AM373", f"{where} has {counted(count, end)}, but `{key}` names {len(names)}", _MANDATORY)


def _read_pair(where: str, op: OpDef, key: str, value: str, report: Report) -> bool:
    """Whether two lists that belong together are as long as each other; told if they are not."""
    for name in (key, value):
        if name in op.attr and op.attr[name].WhichOneof("value") != "list":
            report.error("AM373", f"{where}: `{name}` is not a list")
            return False
    counts = len(_texts(op, key)), len(_slots(op, value))
    if counts[0] == counts[1]:
        return True
    message = f"{where}: `{key}` has {counted(counts[0], 'name')}, but `{value}` {counted(counts[1], 'number')}"
    report.error("AM373", message, "loaders drop both lists then")
    return False


def _texts(op: OpDef, name: str) -> list[str]:
    if name not in op.attr or op.attr[name].WhichOneof("value") != "list":
        return []
    return [text.decode(errors="replace") for text in op.attr[name].list.s]


def _slots(op: OpDef, name: str) -> list[int]:
    if name not in op.attr or op.attr[name].WhichOneof("value") != "list":
        return []
    return list(op.attr[name].list.i)
