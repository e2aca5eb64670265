"""What a graph takes and gives: `input` and `output`, which name nodes."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.air.schema import GraphDef, OpDef
from amctc.air.verify.edges import read_end
from amctc.air.verify.report import Report, counted, shown

_NET_OUTPUT = "NetOutput"
_NEWER_ATTRIBUTES = ("_ir_attr_names", "_ir_inputs_key", "_ir_outputs_key")
_NEWER_DESCRIPTOR = "format_for_int"


def check_ends(graph: GraphDef, nodes: Mapping[str, int], place: str, report: Report) -> None:
    """AM382 and AM383. `place` names the graph."""
    _check_list(graph, nodes, place, "input", "AM382", report)
    _check_list(graph, nodes, place, "output", "AM383", report)
    listed = {text.rpartition(":")[0] for text in graph.input}
    unlisted = [op.name for op in graph.op if op.type == "Data" and op.name not in listed]
    if unlisted and (listed or is_newer(graph)):
        help = "list every Data node; the loader of 2026 adds what is missing"
        report.error("AM382", f"`input` of {place} does not list {shown(unlisted[0])}", help)
    if not graph.output and not any(op.type == _NET_OUTPUT for op in graph.op):
        help = "list the outputs as `node:output`, or end the graph in a NetOutput"
        report.error("AM383", f"{place} gives nothing: it has neither an `output` nor a NetOutput", help)


def is_newer(graph: GraphDef) -> bool:
    """Whether the generation of 2026 has written a graph: what only it writes is in there."""
    return any(any(name in op.attr for name in _NEWER_ATTRIBUTES) or _has_numbers(op) for op in graph.op)


def _has_numbers(op: OpDef) -> bool:
    return any(_NEWER_DESCRIPTOR in desc.attr for descs in (op.input_desc, op.output_desc) for desc in descs)


def _check_list(graph: GraphDef, nodes: Mapping[str, int], place: str, field: str, code: str, report: Report) -> None:
    for text in getattr(graph, field):
        end = read_end(text)
        if isinstance(end, str):
            help = "an entry is `node:output`; loaders drop what is not, or take the output 0"
            report.error(code, f"`{field}` of {place}: {shown(text)} {end}", help)
            continue
        number = nodes.get(end.node)
        if number is None:
            report.error(code, f"`{field}` of {place}: {shown(text)} names no node of the graph")
            continue
        count = len(graph.op[number].output_desc)
        if not 0 <= end.index < count:
            help = f"{shown(end.node)} has {counted(count, 'output descriptor')}"
            report.error(code, f"`{field}` of {place}: {shown(text)} is an output that there is not", help)
        elif field == "input" and end.index:
            report.error(code, f"`{field}` of {place}: {shown(text)} has an index, which loaders drop", "write `:0`")
