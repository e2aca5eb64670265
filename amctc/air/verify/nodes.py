"""Conventions of single ops: constants have a value, inputs of the graph have an index."""

from __future__ import annotations

from amctc.air.descriptors import is_absent, type_name
from amctc.air.schema import GraphDef, OpDef
from amctc.air.verify.attributes import AttributeChecker
from amctc.air.verify.descriptors import integer, same_tensor, told_tensor
from amctc.air.verify.edges import inputs_of
from amctc.air.verify.names import names_of, optional_inputs
from amctc.air.verify.report import Report, Where, shown

CONSTANTS = frozenset({"Const", "Constant"})
INPUTS = frozenset({"Data", "RefData"})
"""Types of the nodes that stand for an input of the graph, and are numbered."""

VALUE = "value"
_OTHER_FILE = "location"
"""The attribute of a constant whose data lies in a file of its own, which models beyond 2 GiB have."""

_FED_FROM_OUTSIDE = frozenset({"Data", "RefData", "AippData"})


def check_constant(where: str, op: OpDef, checker: AttributeChecker, report: Report) -> None:
    """AM378 to AM380 for an op of `CONSTANTS`, and all that is to be said of its `value`."""
    if VALUE not in op.attr or op.attr[VALUE].WhichOneof("value") != "t":
        what = "no `value`" if VALUE not in op.attr else "a `value` that is no tensor"
        report.error("AM378", f"{where} has {what}", "a constant has its tensor in the attribute `value`")
        return
    tensor = op.attr[VALUE].t
    apart = not tensor.data and _OTHER_FILE in op.attr
    checker.tensor(f"{where}, its value", tensor, required=not apart)
    if apart:
        place = shown(op.attr[_OTHER_FILE].s.decode(errors="replace"))
        report.warning("AM389", f"{where} has its data in another file, {place}, which is not looked at")
    if type_name(tensor.desc) == "DT_UNDEFINED":
        report.error("AM379", f"{where}, its value has no element type, so that its data means nothing")
    if not op.output_desc:
        report.error("AM380", f"{where} has no output descriptor", "it has one, a copy of that of its value")
    elif not same_tensor(tensor.desc, op.output_desc[0]):
        found = f"{told_tensor(tensor.desc)}, but its output {told_tensor(op.output_desc[0])}"
        report.error("AM380", f"{where} has a value of {found}", "the output is what the value is")


def check_data_nodes(graph: GraphDef, where: Where, report: Report) -> None:
    """AM381 and AM388: the inputs of a graph are numbered from 0, and each gives what it takes."""
    indices: dict[int, int] = {}
    missing: list[int] = []
    inputs = [number for number, op in enumerate(graph.op) if op.type in INPUTS]
    for number in inputs:
        op, place = graph.op[number], where(number)
        index = integer(op.attr, "index")
        if index is None:
            missing.append(number)
        elif not 0 <= index < len(inputs):
            numbers = f"inputs are numbered from 0 to {len(inputs) - 1}"
            report.error("AM381", f"{place} has the `index` {index}", numbers)
        elif index in indices:
            report.error("AM381", f"{place} has the `index` {index}, as has {where(indices[index])}")
        else:
            indices[index] = number
        if op.input_desc and op.output_desc and not same_tensor(op.input_desc[0], op.output_desc[0]):
            told = f"{told_tensor(op.input_desc[0])}, but gives {told_tensor(op.output_desc[0])}"
            report.warning("AM388", f"{place} takes {told}", "both descriptors of an input say the same")
    tell = report.warning if len(inputs) == 1 else report.error
    help = "GE itself needs it; a single input is the first in any case" if len(inputs) == 1 else None
    for number in missing:
        tell("AM381", f"{where(number)} has no whole number `index`", help)


def check_slots(where: str, op: OpDef, report: Report) -> None:
    """AM386 and AM387: warnings of inputs without an edge and of tensors without an element type."""
    texts = inputs_of(op)
    names = {slot: name for name, slot in names_of(op, "input").items()}
    optional = optional_inputs(op)
    for slot, desc in enumerate(op.input_desc):
        linked = slot < len(texts) and texts[slot] != ""
        if linked and not desc.dtype:
            report.warning("AM387", f"{where}, input {slot} has an edge, but no element type")
        named = names.get(slot, "")
        if not linked and not is_absent(desc) and named not in optional and op.type not in _FED_FROM_OUTSIDE:
            what = f"input {slot}, {shown(named)}," if named else f"input {slot}"
            help = "an input that is left out has the layout `FORMAT_RESERVED` and no element type"
            report.warning("AM386", f"{where}, {what} has no edge, but a descriptor of a tensor", help)
    for slot, desc in enumerate(op.output_desc):
        if not desc.dtype:
            report.warning("AM387", f"{where}, output {slot} has no element type")
