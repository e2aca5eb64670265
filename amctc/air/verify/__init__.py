"""What is wrong with a GE model: all that a loader of 2021 or 2026 refuses or changes, and what both overlook.

Time and memory are linear in the size of the message; docs/ge-files.md lists the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from amctc.air.files import read_air
from amctc.air.schema import GraphDef, ModelDef, OpDef
from amctc.air.text_dump import is_text_dump, read_text_dump
from amctc.air.verify.attributes import UNTYPED_LISTS, AttributeChecker
from amctc.air.verify.edges import check_edges
from amctc.air.verify.ends import check_ends
from amctc.air.verify.names import check_names
from amctc.air.verify.nodes import CONSTANTS, VALUE, check_constant, check_data_nodes, check_slots
from amctc.air.verify.report import Enough, Report, Where, shown
from amctc.air.verify.subgraphs import check_subgraphs
from amctc.air.verify.unknown import check_unknown_fields
from amctc.diagnostics import Diagnostic, DiagnosticError, Level

MODEL_ATTRIBUTES: Mapping[str, int | bytes] = MappingProxyType(
    {
        **dict.fromkeys(("memory_size", "p2p_memory_size", "stream_num", "event_num", "label_num", "weight_size"), 0),
        "target_type": b"MINI",
    }
)
"""The attributes of a model as GE writes them, whole numbers and a text."""

_LONGEST_PLACE = 200

ROOT = "the graph"
"""What the first graph is called in messages."""


def verify_air(model: ModelDef, file: str | None = None, *, weights: bool = True) -> list[Diagnostic]:
    """Everything that is wrong with a model, errors (AM360 to AM384) and warnings (AM381, AM385 to AM389).

    `file` is named in each diagnostic. Without `weights` constants need no value, as in a text dump of level 2.
    Of one code 20 diagnostics are told, and how many more there are; after 1000 errors the rest is not looked at.
    """
    report = Report(file)
    with suppress(Enough):
        _verify(model, weights, report)
    return report.diagnostics()


def check_air(model: ModelDef, file: str | None = None) -> list[Diagnostic]:
    """The warnings of `verify_air`. Raises `DiagnosticError` with everything found if an error is among it."""
    found = verify_air(model, file)
    if any(diagnostic.level is Level.ERROR for diagnostic in found):
        raise DiagnosticError(*found)
    return found


def verify_file(path: str | Path) -> list[Diagnostic]:
    """What is wrong with a `.air` file or a text dump (`.txt`); one that cannot be read is that too."""
    try:
        if not is_text_dump(path):
            return verify_air(read_air(path), str(path))
        model = read_text_dump(path)
        return verify_air(model, str(path), weights=_has_weights(model))
    except DiagnosticError as refusal:
        return list(refusal.diagnostics)


def _verify(model: ModelDef, weights: bool, report: Report) -> None:
    check_unknown_fields(model, report)
    if not model.graph:
        report.error("AM361", "the model has no graph", "loaders refuse it")
        return
    _check_model(model, report)
    check_subgraphs(model, report)
    waiting = [(ROOT, graph) for graph in model.graph[:1]]
    waiting += [(f"the graph {shown(graph.name)}", graph) for graph in model.graph[1:]]
    checker = AttributeChecker(report, lambda where, graph: waiting.append((f"the graph of {where}", graph)))
    checker.attributes("the model", model.attr)
    # Graphs in attributes are put behind the others while these are looked at.
    for place, graph in waiting:
        _check_graph(graph, place, weights, checker, report)


def _has_weights(model: ModelDef) -> bool:
    """Whether any constant has a value, or there are none."""
    constants = [op for graph in model.graph for op in graph.op if op.type in CONSTANTS]
    return not constants or any(VALUE in op.attr for op in constants)


def _check_model(model: ModelDef, report: Report) -> None:
    """AM362: what loaders drop or set anew, since they read a graph and not a model."""
    for name in ("name", "version", "custom_version"):
        if getattr(model, name):
            report.error("AM362", f"the model has a `{name}`", "loaders drop it; GE writes files without one")
    missing = [f"`{name}`" for name in MODEL_ATTRIBUTES if name not in model.attr]
    if missing:
        help = 'GE writes `target_type` "MINI" and 0 for the others, and so do loaders that save the file again'
        report.error("AM362", f"the model lacks the attributes {', '.join(missing)}", help)
    for name in sorted(model.attr):
        attr = model.attr[name]
        if name not in MODEL_ATTRIBUTES:
            report.error("AM362", f"the model has the attribute {shown(name)}", "loaders drop it")
        elif (attr.i if attr.WhichOneof("value") == "i" else attr.s) != MODEL_ATTRIBUTES[name]:
            report.error("AM362", f"the model's attribute `{name}` is not what GE writes", "loaders set it anew")


def _check_graph(graph: GraphDef, place: str, weights: bool, checker: AttributeChecker, report: Report) -> None:
    where = _places(graph, place)
    nodes: dict[str, int] = {}
    ids: dict[int, int] = {}
    repeated = 0
    for number, op in enumerate(graph.op):
        if not op.name:
            report.error("AM363", f"{where(number)} has no name", "edges name the nodes that they come from")
        elif op.name in nodes:
            report.error("AM364", f"{where(number)} has the name of another node", "edges name nodes")
        if not op.type:
            report.error("AM363", f"{where(number)} has no type", "nothing tells what to run for it")
        nodes.setdefault(op.name, number)
        repeated += op.id in ids
        if repeated == 1 and op.id in ids:
            first = f"{where(number)} has the id {op.id}, as has {where(ids[op.id])}"
            report.warning("AM385", first, "ids are places in the order of execution, from 0")
        ids.setdefault(op.id, number)
        _check_op(op, where(number), weights, checker, report)
    checker.attributes(place, graph.attr)
    check_edges(graph, nodes, where, report)
    check_data_nodes(graph, where, report)
    check_ends(graph, nodes, place, report)


def _check_op(op: OpDef, place: str, weights: bool, checker: AttributeChecker, report: Report) -> None:
    if not op.has_out_attr and (op.input_desc or op.output_desc):
        help = "without it the loader of 2021 drops the descriptors, and refuses the edges"
        report.error("AM365", f"{place} has descriptors, but no `has_out_attr`", help)
    constant = op.type in CONSTANTS
    attrs = {name: op.attr[name] for name in op.attr if not (constant and name == VALUE)}
    checker.attributes(place, attrs, UNTYPED_LISTS)
    for end, descs in (("input", op.input_desc), ("output", op.output_desc)):
        for slot, desc in enumerate(descs):
            checker.descriptor(f"{place}, {end} {slot}", desc)
    check_names(place, op, report)
    check_slots(place, op, report)
    if constant and (weights or VALUE in op.attr):
        check_constant(place, op, checker, report)


def _places(graph: GraphDef, place: str) -> Where:
    """What ops are called in messages: their names, or their places where they have none."""
    behind = "" if place == ROOT else f" of {place[:_LONGEST_PLACE]}"
    return lambda number: (shown(graph.op[number].name) if graph.op[number].name else f"op {number}") + behind
