"""Whether the layers and types that a policy names are there, and may be what it wants them to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from amctc.diagnostics import Collector, Diagnostic, Label, Level
from amctc.dialects.op import OpDef, Quantizable
from amctc.dialects.table import op_table
from amctc.ir import Graph, Node
from amctc.policy.json_schema import parameter_names
from amctc.policy.rules import Policy
from amctc.policy.said import Said, nearest

_MOST_SUGGESTIONS = 50  # finding the nearest name is slow in a file where every name is wrong


class Candidate(NamedTuple):
    """A layer that can be quantized."""

    node: Node
    row: OpDef
    quantizable: Quantizable


class NameChecker:
    """Checks the names of one policy against one graph."""

    def __init__(self, graph: Graph, collector: Collector) -> None:
        self._graph = graph
        self._collector = collector
        self._suggestions = 0

    @cached_property
    def quantizable(self) -> Mapping[str, Candidate]:
        """The layers that can be quantized, in graph order."""
        found: dict[str, Candidate] = {}
        for node in self._graph.nodes:
            row = op_table().get(node.op)
            if row is not None and row.quantizable is not None:
                found[node.name] = Candidate(node, row, row.quantizable)
        return found

    @cached_property
    def fusable(self) -> frozenset[str]:
        """Linear layers take others in, and BatchNorm, Scale and Bias go in (seed 001, 工具实现的融合功能)."""
        rows = ((node.name, op_table().get(node.op)) for node in self._graph.nodes)
        return frozenset(n for n, row in rows if row is not None and (row.linear is not None or row.affine is not None))

    @cached_property
    def types(self) -> Mapping[str, OpDef]:
        """The ops of the graph's dialects by layer type."""
        dialects = {node.dialect for node in self._graph.nodes} - {"quant"}
        return {row.type: row for row in op_table().values() if row.dialect in dialects}

    def check(self, policy: Policy) -> None:
        """Report every name that is wrong (AM220 to AM223, AM228) and every override in vain (AM225)."""
        for name in (*policy.skip_layers, *(override.name for override in policy.override_layer_configs)):
            self._quantizable_layer(name)
        for name in (*policy.skip_layer_types, *(override.name for override in policy.override_layer_types)):
            self._quantizable_type(name)
        for name in policy.skip_fusion_layers:
            self._fusable_layer(name)
        for layer in policy.layers or ():
            self._json_layer(layer.name)
        self._overrides_in_vain(policy)

    def _quantizable_layer(self, name: Said[str]) -> None:
        if name.value not in self._graph:
            self._report("AM220", f"the model has no layer `{name.value}`", name, self._nearest(name, self.quantizable))
            return
        if name.value not in self.quantizable:
            self._not_quantizable(name)

    def _json_layer(self, name: Said[str]) -> None:
        if name.value not in self._graph:
            message = f"`{name.value}` is neither a layer of the model nor a parameter"
            help = self._nearest(name, (*self.quantizable, *parameter_names()))
            self._report("AM228", message, name, help)
            return
        if name.value not in self.quantizable:
            self._not_quantizable(name)

    def _not_quantizable(self, name: Said[str]) -> None:
        kind = self._graph.node(name.value).type
        help = "`amctc ops` lists the types that can be quantized"
        self._report("AM221", f"layer `{name.value}` is of type `{kind}`, which cannot be quantized", name, help)

    def _quantizable_type(self, name: Said[str]) -> None:
        row = self.types.get(name.value)
        if row is None:
            known = [kind for kind, other in self.types.items() if other.quantizable is not None]
            self._report("AM222", f"there is no layer type `{name.value}`", name, self._nearest(name, known))
        elif row.quantizable is None:
            help = "`amctc ops` lists the types that can be quantized"
            self._report("AM221", f"layers of type `{name.value}` cannot be quantized", name, help)

    def _fusable_layer(self, name: Said[str]) -> None:
        if name.value not in self._graph:
            self._report(
                "AM220", f"the model has no layer `{name.value}`", name, self._nearest(name, sorted(self.fusable))
            )
        elif name.value not in self.fusable:
            kind = self._graph.node(name.value).type
            help = "take it out of `skip_fusion_layers`"
            self._report("AM223", f"layer `{name.value}` is of type `{kind}`, which is never fused", name, help)

    def _overrides_in_vain(self, policy: Policy) -> None:
        skipped_layers = {name.value: name for name in policy.skip_layers}
        skipped_types = {name.value: name for name in policy.skip_layer_types}
        for override in policy.override_layer_types:
            self._in_vain(override.name, "type", skipped_types.get(override.name.value), "skip_layer_types")
        for override in policy.override_layer_configs:
            name = override.name.value
            if name in skipped_layers:
                self._in_vain(override.name, "layer", skipped_layers[name], "skip_layers")
            elif name in self._graph:
                skip = skipped_types.get(self._graph.node(name).type)
                self._in_vain(override.name, "layer", skip, "skip_layer_types")

    def _in_vain(self, name: Said[str], what: str, skip: Said[str] | None, where: str) -> None:
        if skip is None:
            return
        self._collector.add(
            Diagnostic(
                "AM225",
                f"the override of {what} `{name.value}` has no effect, because `{where}` wins over it",
                Level.WARNING,
                name.span,
                related=(Label(skip.span, "skipped here"),) if skip.span is not None else (),
                help="take one of the two out",
            )
        )

    def _nearest(self, name: Said[str], known: Iterable[str]) -> str | None:
        self._suggestions += 1
        return nearest(name.value, known) if self._suggestions <= _MOST_SUGGESTIONS else None

    def _report(self, code: str, message: str, name: Said[str], help: str | None) -> None:
        self._collector.add(Diagnostic(code, message, span=name.span, help=help))


def first_skip(names: Iterable[Said[str]]) -> Said[str] | None:
    """The first name that stands in a file."""
    return next((name for name in names if name.span is not None), None)
